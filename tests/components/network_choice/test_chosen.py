"""The recipe of a fine-tuned network whose targets lie in the image."""

import dataclasses
import math
from pathlib import Path

import pytest

from kfp_vision.components.network_choice.candidates import line_up
from kfp_vision.components.network_choice.choose import _reason_to_skip, _without_foreign
from kfp_vision.components.network_choice.chosen import dense_recipe
from kfp_vision.components.shared.architectures.names import DEFAULT_PRETRAINED
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json
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
        "training": ("batch_size", "learning_rate", "epochs"),
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
