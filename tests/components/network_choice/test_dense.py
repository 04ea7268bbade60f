"""The size and the recipe of a fine-tuned network whose targets lie in the image."""

import dataclasses
import math
from pathlib import Path

import pytest

from kfp_vision.components.network_choice import dense
from kfp_vision.components.network_choice.candidates import from_scratch, line_up
from kfp_vision.components.network_choice.choose import _reason_to_skip, _without_foreign
from kfp_vision.components.network_choice.dense import choose_dense, dense_recipe, larger
from kfp_vision.components.network_choice.time_left import TimeLeft
from kfp_vision.components.shared.architectures.names import DEFAULT_PRETRAINED
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json
from kfp_vision.components.shared.artifacts.network_choice import NetworkChoice
from kfp_vision.components.shared.recipe.document import Recipe, Setting
from kfp_vision.components.shared.recipe.policies import policy_setting
from kfp_vision.components.shared.recipe.user_choices import UserChoices
from kfp_vision.components.shared.training.setup import complete_recipe

_SHIFTS = {"translate_x", "translate_y"}


@pytest.mark.parametrize(
    ("names", "swaps", "epochs", "used"),
    [
        ([], [], math.inf, {*_SHIFTS, "horizontal_flip"}),
        (["nose", "left ear", "right ear"], [[1, 2]], math.inf, {*_SHIFTS, "horizontal_flip"}),
        # Whether the first is the left one of the second nobody has said.
        (["1", "2"], [], math.inf, _SHIFTS),
        ([], [], 9.0, set()),
    ],
)
def test_images_are_mirrored_where_there_is_time_and_keypoints_have_no_unknown_sides(
    names: list[str], swaps: list[list[int]], epochs: float, used: set[str], digits_dir: Path
) -> None:
    info = dataclasses.replace(
        read_json(DatasetInfo, digits_dir / "dataset.json"),
        task="keypoints" if names else "detection",
        keypoint_names=names,
        keypoint_swaps=swaps,
    )
    data = {"class_weights": Setting(None, "test"), "primary_metric": Setting("map", "test")}
    tuned = line_up(info, DEFAULT_PRETRAINED, None, None).tuned
    given = UserChoices(architecture=DEFAULT_PRETRAINED)
    complete = complete_recipe(Recipe({"data": data}), info, given)
    policy = policy_setting(dense_recipe(complete, info, tuned, "test", epochs))
    operations = policy.value["always"] if policy else []
    assert {operation["transform"] for operation in operations} == used


def test_what_follows_a_rule_says_so_and_is_used_again_for_the_same_images(
    digits_dir: Path,
) -> None:
    info = read_json(DatasetInfo, digits_dir / "dataset.json")
    info = dataclasses.replace(info, task="detection")
    data = {"class_weights": Setting(None, "test"), "primary_metric": Setting("map", "test")}
    tuned = line_up(info, DEFAULT_PRETRAINED, None, None).tuned
    complete = complete_recipe(Recipe({"data": data}), info, UserChoices())
    recipe = dense_recipe(complete, info, tuned, "nothing was compared", math.inf)
    ruled = {
        "model": ("architecture", "initial_weights", "image_size", "trainable"),
        "training": ("batch_size", "learning_rate"),
        "augmentation": ("default_policy",),
    }
    sources = {
        recipe.sections[each][name].source for each, names in ruled.items() for name in names
    }
    assert sources == {"rule"}
    for fingerprint, is_kept in ((info.fingerprint, True), ("another", False)):
        there = dataclasses.replace(info, fingerprint=fingerprint)
        again, notes = _without_foreign(recipe, there, UserChoices())
        assert bool(_reason_to_skip(again, "auto")) == is_kept
        assert bool(notes) != is_kept
        found = complete_recipe(again, there, UserChoices())
        for section, names in ruled.items():
            same = [found.get(section, name) == recipe.get(section, name) for name in names]
            assert same == [is_kept] * len(names)


@pytest.mark.parametrize(
    ("native", "usual_side", "most", "size"),
    [
        # Area over that of 259 x 194 px that there is time for; images of 640 x 480 px are filled.
        ((480, 640), 0.01, 1.0, (194, 259)),
        ((480, 640), 0.01, 1.5, (222, 296)),
        ((480, 640), 0.01, 100.0, (480, 640)),
        ((480, 640), None, 100.0, (480, 640)),
        # The area of a square of 640 px, and one with objects of 32 px a side.
        ((1500, 2000), 0.01, 100.0, (554, 739)),
        ((1500, 2000), 0.01, 6.0, (443, 591)),
        ((1500, 2000), 0.1, 100.0, (277, 370)),
        ((1500, 2000), 0.2, 100.0, (194, 259)),
        # Small images are not enlarged, and those that just do not fit get all of their pixels.
        ((194, 259), 0.01, 100.0, (194, 259)),
        ((210, 280), 0.01, 100.0, (210, 280)),
    ],
)
def test_objects_get_the_pixels_that_are_of_use_and_there_is_time_for(
    digits_dir, native, usual_side, most, size
):
    info = read_json(DatasetInfo, digits_dir / "dataset.json")
    info = dataclasses.replace(info, median_height=native[0], median_width=native[1])
    start = from_scratch(info, DEFAULT_PRETRAINED, None)
    assert (start.height, start.width) == (194, 259)
    found = larger(start, info, usual_side, lambda area: area <= most)
    assert (found.height, found.width) == size
    assert dataclasses.replace(found, height=194, width=259) == start


def _choose_for_masks(
    digits_dir: Path, users_size: list[int] | None, seconds: float = 1e6, num_images: int = 0
) -> tuple[Recipe, NetworkChoice]:
    info = read_json(DatasetInfo, digits_dir / "dataset.json")
    info = dataclasses.replace(
        info,
        task="semantic_segmentation",
        median_height=480,
        median_width=640,
        splits={**info.splits, "train": num_images or info.splits["train"]},
    )
    data = {"class_weights": Setting(None, "test"), "primary_metric": Setting("mean_iou", "test")}

    def recipe_of(candidate):
        given = Recipe({"data": data})
        return complete_recipe(candidate.in_recipe(given), info, UserChoices())

    candidates = line_up(info, DEFAULT_PRETRAINED, None, users_size)
    left = TimeLeft(info, seconds, start_up_s=5.0)
    return choose_dense(digits_dir, candidates, recipe_of, left, users_size)


@pytest.mark.parametrize(
    ("seconds", "free_gib", "users_size", "size"),
    [
        (1e6, 1000.0, None, [480, 640]),
        (1e6, 8.0, None, [194, 259]),
        (900.0, 1000.0, None, [194, 259]),
        (1e6, 1000.0, [96, 128], [96, 128]),
    ],
)
def test_masks_get_all_pixels_where_time_and_memory_allow(
    seconds, free_gib, users_size, size, digits_dir, monkeypatch
):
    monkeypatch.setattr(dense, "available_memory_bytes", lambda: free_gib * 2**30)
    recipe, choice = _choose_for_masks(digits_dir, users_size, seconds)
    assert recipe.value("model", "image_size") == size
    assert ("for which there is time" in choice.skipped) == (size == [480, 640])


@pytest.mark.parametrize(("epochs", "size"), [(150, [194, 259]), (170, [480, 640])])
def test_few_images_need_time_for_two_trainings_of_eighty_epochs_to_get_all_pixels(
    epochs, size, digits_dir, monkeypatch
):
    monkeypatch.setattr(dense, "available_memory_bytes", lambda: 2**40)
    monkeypatch.setattr(TimeLeft, "epochs", lambda self, multiply_adds: float(epochs))
    recipe, _ = _choose_for_masks(digits_dir, None, num_images=100)
    assert recipe.value("model", "image_size") == size
    assert recipe.value("training", "epochs") == 400
