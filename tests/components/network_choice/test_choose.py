"""The stage on real digits: what it compares, what it leaves alone, and that it resumes."""

import json
import subprocess
import sys

import pytest

from kfp_vision.components.network_choice import choosing, trials
from kfp_vision.components.network_choice.choose import choose_network
from kfp_vision.components.shared.architectures.names import DEFAULT_PRETRAINED
from kfp_vision.components.shared.artifacts.cost import StageCost
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json
from kfp_vision.components.shared.recipe.budget import with_budget
from kfp_vision.components.shared.recipe.document import (
    Recipe,
    Setting,
    read_recipe,
    write_recipe,
)
from kfp_vision.components.shared.recipe.policies import AUGMENTATION, DEFAULT_POLICY
from kfp_vision.components.shared.recipe.user_choices import UserChoices
from kfp_vision.components.shared.training.setup import complete_recipe

pytestmark = pytest.mark.long

# One size: every other one has a step of its own to compile.
CONFIG = UserChoices(image_size=32)


@pytest.fixture(scope="session")
def digits_recipe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("profile")
    # A trial of the first round gets a 45th of it.
    values = {"class_weights": None, "primary_metric": "accuracy", "positive_class": None}
    data = {name: Setting(value, "by hand") for name, value in values.items()}
    recipe = with_budget(Recipe({"data": data}), "balanced", max_minutes=1.0)
    write_recipe(recipe, folder / "recipe.json")
    return folder / "recipe.json"


@pytest.fixture(scope="session")
def chosen(digits_dir, digits_recipe, tmp_path_factory):
    output, checkpoints = (tmp_path_factory.mktemp(name) for name in ("choice", "checkpoints"))
    result = choose_network(digits_dir, digits_recipe, output, checkpoints, CONFIG)
    return result, output, checkpoints


def test_frozen_networks_fine_tuned_ones_and_one_from_scratch_are_compared(chosen):
    result, _, _ = chosen
    kinds = {(each.is_pretrained, each.trainable) for each in result.candidates}
    assert kinds == {(True, "head"), (True, "all"), (False, "all")}
    assert sum(each.chosen for each in result.candidates) == 1
    assert result.num_held_out == 300
    assert result.skipped == ""
    # Ten balanced classes: whoever knows nothing loses ln 10.
    assert min(each.losses[0] for each in result.candidates) < 1.0
    (best,) = (each for each in result.candidates if each.behind is None)
    assert best.projected == min(each.projected for each in result.candidates)


def test_the_choice_is_in_the_recipe_and_every_stage_after_it_keeps_it(chosen, digits_dir):
    result, output, _ = chosen
    recipe = read_recipe(output / "recipe.json")
    (winner,) = (each for each in result.candidates if each.chosen)
    held = recipe.sections["model"]
    assert held["architecture"].value == winner.architecture
    assert held["image_size"].value == winner.image_size
    assert held["trainable"].value == winner.trainable
    weights = "pretrained" if winner.is_pretrained else "random"
    assert held["initial_weights"].value == weights
    users = {name for name, setting in held.items() if setting.source == "user"}
    assert users == {"image_size"}
    assert {setting.source for name, setting in held.items() if name not in users} == {"learned"}
    info = read_json(DatasetInfo, digits_dir / "dataset.json")
    again = complete_recipe(recipe, info, CONFIG)
    assert again.sections["model"] == recipe.sections["model"]


def test_trials_that_had_ended_are_not_run_again(chosen, digits_dir, digits_recipe, tmp_path):
    result, _, checkpoints = chosen
    files = {path: path.stat().st_mtime_ns for path in checkpoints.glob("choice-*/*.npz")}
    again = choose_network(digits_dir, digits_recipe, tmp_path, checkpoints, CONFIG)
    assert again.candidates == result.candidates
    assert {path: path.stat().st_mtime_ns for path in checkpoints.glob("choice-*/*.npz")} == files


def test_the_network_of_the_user_is_not_overruled(digits_dir, digits_recipe, tmp_path):
    config = UserChoices(architecture="separable")
    result = choose_network(digits_dir, digits_recipe, tmp_path, tmp_path, config)
    assert result.skipped == "`architecture` is `separable`, which is trained from scratch"
    assert "model" not in read_recipe(tmp_path / "recipe.json").sections


def test_without_weights_it_says_what_to_install(digits_dir, digits_recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(choosing, "DEFAULT_PRETRAINED", "resnet_rs_18_imagenet")
    result = choose_network(digits_dir, digits_recipe, tmp_path, tmp_path, UserChoices())
    assert result.skipped.startswith("there is no pretrained network at hand")
    assert "`resnet_rs_18` has no weights" in result.skipped


def test_twelve_images_in_all(twelve_digits_dir, digits_recipe, tmp_path):
    result = choose_network(twelve_digits_dir, digits_recipe, tmp_path, tmp_path, UserChoices())
    assert result.skipped == (
        "10 images are too few to tell networks apart, which takes 40, so a frozen network gets a "
        "head, which takes the least of both"
    )
    model = read_recipe(tmp_path / "recipe.json").sections["model"]
    assert (model["architecture"].value, model["trainable"].value) == (DEFAULT_PRETRAINED, "head")
    assert json.loads((tmp_path / "cost.json").read_text())["images_seen"] == 0


def test_a_choice_made_on_other_images_is_not_used(digits_dir, digits_recipe, tmp_path):
    recipe = read_recipe(digits_recipe).with_settings(
        "model",
        {"trainable": Setting("head", "chosen before", context={"data": "other images"})},
    )
    write_recipe(recipe, tmp_path / "start.json")
    config = UserChoices(architecture="separable")
    result = choose_network(digits_dir, tmp_path / "start.json", tmp_path, tmp_path, config)
    assert result.notes == [
        "The network of the recipe that the run starts from is not used: it was chosen on other "
        "images, or another split."
    ]


def test_a_choice_made_on_these_images_is_not_made_again(digits_dir, chosen, tmp_path):
    _, output, _ = chosen
    result = choose_network(digits_dir, output / "recipe.json", tmp_path, tmp_path, UserChoices())
    assert result.skipped == "the recipe that the run starts from holds the choice for these images"
    before, after = (read_recipe(folder / "recipe.json") for folder in (output, tmp_path))
    assert after == before


def test_what_does_not_fit_into_memory_loses_and_is_named(
    digits_dir, digits_recipe, tmp_path, monkeypatch
):
    # 8 MiB: a frozen network is not asked, trainings are.
    monkeypatch.setattr(trials, "available_memory_bytes", lambda: 2**23)
    result = choose_network(digits_dir, digits_recipe, tmp_path, tmp_path, CONFIG)
    assert [each.trainable for each in result.candidates if each.chosen] == ["head"]
    assert result.notes == [
        f"`{name}` does not fit into memory."
        for name in (
            "separable-32x32-random-all",
            "efficientnet_lite0_imagenet-32x32-pretrained-all",
        )
    ]


def test_a_network_of_the_user_does_not_start_the_framework(digits_dir, digits_recipe, tmp_path):
    code = (
        "import sys; from pathlib import Path;"
        "from kfp_vision.components.network_choice.choose import choose_network;"
        "from kfp_vision.components.shared.recipe.user_choices import UserChoices;"
        "dataset, recipe, output = map(Path, sys.argv[1:]);"
        "choose_network(dataset, recipe, output, output, UserChoices(architecture='separable'));"
        "sys.exit(bool({'tensorflow', 'keras'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, digits_dir, digits_recipe, tmp_path]
    assert subprocess.run(command).returncode == 0


def test_a_size_below_that_of_pretrained_networks_trains_from_scratch(
    digits_dir, digits_recipe, tmp_path
):
    config = UserChoices(image_size=16)
    result = choose_network(digits_dir, digits_recipe, tmp_path, tmp_path, config)
    assert result.skipped == (
        "pretrained networks need 32 pixels a side and `image_size` is 16, so one is trained from "
        "scratch"
    )


def test_without_time_nothing_is_compared(digits_dir, digits_recipe, tmp_path):
    spent = [StageCost("profile_dataset", 50.0, 0)]
    result = choose_network(
        digits_dir, digits_recipe, tmp_path, tmp_path, UserChoices(), spent=spent
    )
    assert result.skipped.startswith("the budget leaves 10 s, and a comparison takes 45")


def test_a_network_that_diverges_is_not_chosen(digits_dir, digits_recipe, tmp_path):
    config = UserChoices(image_size=32, learning_rate=1e20, architecture=DEFAULT_PRETRAINED)
    result = choose_network(digits_dir, digits_recipe, tmp_path, tmp_path, config)
    assert [each.trainable for each in result.candidates if each.chosen] == ["head"]
    assert result.candidates[-1].projected is None


def test_flips_and_shifts_are_tried_on_the_fine_tuned_network_alone(chosen):
    result, output, checkpoints = chosen
    recipe = read_recipe(output / "recipe.json")
    is_tuned = recipe.value("model", "trainable") == "all" and result.augmentation is not None
    assert is_tuned == any(
        each.chosen and each.is_pretrained and each.trainable == "all" and len(each.losses) > 1
        for each in result.candidates
    )
    used = recipe.get(AUGMENTATION, DEFAULT_POLICY)
    assert (used is not None) == (is_tuned and result.augmentation.is_used)
    tried = [len(each.losses) for each in result.candidates if each.is_pretrained][-1] > 1
    num_trials = sum(len(each.losses) for each in result.candidates) + tried
    assert len(list(checkpoints.glob("choice-*/*.npz"))) == num_trials
