"""Model files of the user: what is done with their weights follows from real trials on digits."""

from pathlib import Path
from typing import Any

import keras
import pytest

from kfp_vision.components.network_choice.choose import choose_network
from kfp_vision.components.shared.architectures.frozen_features import build_backbone
from kfp_vision.components.shared.architectures.names import DEFAULT_PRETRAINED
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json
from kfp_vision.components.shared.artifacts.network_choice import NetworkChoice
from kfp_vision.components.shared.recipe.budget import with_budget
from kfp_vision.components.shared.recipe.document import (
    Recipe,
    Setting,
    read_recipe,
    write_recipe,
)
from kfp_vision.components.shared.recipe.user_choices import UserChoices
from kfp_vision.components.shared.training.setup import complete_recipe

pytestmark = pytest.mark.long

TWO_TRAININGS = {(True, "all"), (False, "all")}


def choose(
    dataset: Path,
    folder: Path,
    file: str,
    image_size: int = 0,
    max_minutes: float = 1.0,
    **model: Any,
) -> tuple[NetworkChoice, Recipe]:
    """Returns the choice and the complete recipe after it; `model` is what the user has set."""
    values = {"class_weights": None, "primary_metric": "accuracy", "positive_class": None}
    recipe = Recipe({"data": {name: Setting(value, "test") for name, value in values.items()}})
    users = {name: Setting(value, "test", source="user") for name, value in model.items()}
    recipe = with_budget(recipe, "balanced", max_minutes).with_settings("model", users)
    write_recipe(recipe, folder / "in.json")
    config = UserChoices(architecture=file, image_size=image_size)
    result = choose_network(dataset, folder / "in.json", folder / "out", folder / "kept", config)
    info = read_json(DatasetInfo, dataset / "dataset.json")
    after = complete_recipe(read_recipe(folder / "out" / "recipe.json"), info, config)
    assert after.value("model", "architecture") == file
    return result, after


def kinds(result: NetworkChoice) -> set[tuple[bool, str]]:
    return {(each.is_pretrained, each.trainable) for each in result.candidates}


def rates(recipe: Recipe) -> tuple[float, int, float]:
    names = ("learning_rate", "batch_size", "first_layer_rate")
    rate, batch_size, first_layer_rate = (recipe.value("training", name) for name in names)
    return round(rate, 9), batch_size, first_layer_rate


def test_weights_that_know_such_images_are_kept(few_digits_dir, trained_models, tmp_path):
    result, recipe = choose(few_digits_dir, tmp_path, trained_models["headless"])
    assert kinds(result) == {(True, "head"), *TWO_TRAININGS}
    held = recipe.sections["model"]
    assert (held["initial_weights"].value, held["initial_weights"].source) == (
        "pretrained",
        "learned",
    )
    assert len(held["initial_weights"].evidence) == 3
    assert held["image_size"].value == [16, 16]
    assert result.notes[0].startswith("The weights of the model file are worth keeping")


def test_weights_of_an_initialisation_are_trained_as_from_scratch(
    digits_dir, small_model, tmp_path
):
    result, recipe = choose(digits_dir, tmp_path, small_model)
    held = recipe.sections["model"]["initial_weights"]
    assert (held.value, held.source) == ("random", "learned")
    assert set(held.evidence) == {"loss", "shuffled_loss"}
    assert rates(recipe) == (3e-3, 64, 1.0)
    # No training is needed to see it.
    assert result.candidates == []
    assert "no better on held-out images than one on those of the same weights" in result.skipped


def test_a_file_with_the_classes_of_the_task_is_given_no_other_head(
    few_digits_dir, trained_models, tmp_path
):
    result, recipe = choose(few_digits_dir, tmp_path, trained_models["own_head"])
    assert kinds(result) == TWO_TRAININGS
    assert recipe.value("model", "trainable") == "all"
    # The first trial of few steps starts from what the file knows.
    (tuned,) = (each for each in result.candidates if each.is_pretrained)
    assert (tuned.losses[0] or 9.0) < 1.0


def test_what_the_user_says_of_the_weights_is_not_measured(
    few_digits_dir, trained_models, small_model, tmp_path
):
    result, recipe = choose(few_digits_dir, tmp_path, small_model, initial_weights="random")
    assert result.skipped == "`model.initial_weights` is `random`, set by the user"
    assert rates(recipe) == (3e-3, 10, 1.0)
    file = trained_models["own_head"]
    result, recipe = choose(few_digits_dir, tmp_path, file, initial_weights="pretrained")
    assert result.skipped == (
        "`model.initial_weights` is set by the user and the file keeps its own head, so the model "
        "file is trained by the rules of pretrained networks"
    )
    assert rates(recipe) == (3e-4, 10, 0.1)


def test_weights_that_the_user_calls_pretrained_are_frozen_or_fine_tuned(
    few_digits_dir, small_model, tmp_path
):
    result, recipe = choose(few_digits_dir, tmp_path, small_model, initial_weights="pretrained")
    assert kinds(result) == {(True, "head"), (True, "all")}
    assert recipe.sections["model"]["initial_weights"].source == "user"


def test_too_few_images_say_nothing_of_weights(twelve_digits_dir, small_model, tmp_path):
    result, recipe = choose(twelve_digits_dir, tmp_path, small_model)
    assert result.skipped == (
        "10 images are too few to tell networks apart, which takes 40, so the model file is "
        "trained as from scratch"
    )
    held = recipe.sections["model"]["initial_weights"]
    assert (held.value, held.source) == ("random", "default")


def test_a_choice_for_another_file_at_the_same_path_is_not_used(
    twelve_digits_dir, trained_models, small_model, tmp_path
):
    info = read_json(DatasetInfo, twelve_digits_dir / "dataset.json")
    context = {"data": info.fingerprint, "architecture": "digest of another file"}
    learned = {"initial_weights": "pretrained", "trainable": "all"}
    model = {name: Setting(value, "test", context=context) for name, value in learned.items()}
    write_recipe(Recipe({"model": model}), tmp_path / "in.json")
    config = UserChoices(architecture=small_model)
    folders = tmp_path / "out", tmp_path / "kept"
    result = choose_network(twelve_digits_dir, tmp_path / "in.json", *folders, config)
    assert result.notes == [
        "The network of the recipe that the run starts from is not used: the model file is another."
    ]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_no_initialisation_is_taken_for_more(digits_by_class_dir, small_model, tmp_path, seed):
    keras.utils.set_random_seed(seed)
    again = keras.models.clone_model(keras.models.load_model(small_model))
    again.save(tmp_path / "again.keras")
    result, _ = choose(digits_by_class_dir, tmp_path, str(tmp_path / "again.keras"))
    assert result.candidates == []


@pytest.mark.slow
def test_a_file_with_weights_of_imagenet_is_not_trained_as_from_scratch(digits_dir, tmp_path):
    file = tmp_path / "lite0.keras"
    build_backbone(DEFAULT_PRETRAINED).save(file)
    result, recipe = choose(digits_dir, tmp_path, str(file), image_size=64, max_minutes=3.0)
    assert len(result.candidates) == 3
    assert recipe.value("model", "initial_weights") == "pretrained"
