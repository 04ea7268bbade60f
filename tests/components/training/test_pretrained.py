"""Pretrained networks: a head that is solved, and a training that starts from it."""

import json
from pathlib import Path

import keras
import numpy as np
import pyarrow.parquet as pq
import pytest

from kfp_vision.components.shared.architectures.norms import norm_layers
from kfp_vision.components.shared.architectures.zoo import build_model
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json
from kfp_vision.components.shared.datasets.loader import ImageSource
from kfp_vision.components.shared.recipe.document import (
    Recipe,
    Setting,
    read_recipe,
    write_recipe,
)
from kfp_vision.components.shared.recipe.user_choices import UserChoices
from kfp_vision.components.shared.tasks import get_task
from kfp_vision.components.training.refit import fit_head_again
from kfp_vision.components.training.train import train_model

pytestmark = pytest.mark.long

NAME = "efficientnet_lite0_imagenet"
LITE0 = UserChoices(architecture=NAME, image_size=32)


def train(
    dataset: Path,
    folder: Path,
    trainable: str,
    cache: Path,
    config: UserChoices = LITE0,
    **training: object,
) -> Path:
    values = {"class_weights": None, "primary_metric": "accuracy", "positive_class": None}
    recipe = Recipe({"data": {name: Setting(value, "test") for name, value in values.items()}})
    model = {"trainable": trainable, "initial_weights": "pretrained"}
    recipe = recipe.with_settings("model", {k: Setting(v, "test") for k, v in model.items()})
    users = {name: Setting(value, "test", source="user") for name, value in training.items()}
    write_recipe(recipe.with_settings("training", users), folder / "in.json")
    train_model(dataset, folder / "in.json", folder / "model", cache, config)
    return folder / "model"


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("checkpoints")


@pytest.fixture(scope="module")
def headed(digits_dir, cache, tmp_path_factory):
    return train(digits_dir, tmp_path_factory.mktemp("headed"), "head", cache)


@pytest.fixture(scope="module")
def tuned(digits_dir, cache, tmp_path_factory):
    settings = {"steps": 4, "batch_size": 16, "learning_rate": 1e-4, "first_layer_rate": 0.01}
    return train(digits_dir, tmp_path_factory.mktemp("tuned"), "all", cache, LITE0, **settings)


def accuracy(file: Path | str, dataset: Path) -> float:
    model = keras.models.load_model(file, safe_mode=True)
    source = ImageSource(dataset, "validation", model.input_shape[1:3], 1)
    logits = model.predict(source.take(np.arange(len(source))).astype(np.float32), verbose=0)
    labels = np.array(source.table["labels"].to_pylist())[:, 0]
    return float((logits.argmax(axis=1) == labels).mean())


def validation_accuracies(folder: Path) -> dict[int, float]:
    rows = pq.read_table(folder / "curves.parquet").to_pylist()
    return {
        row["step"]: row["value"]
        for row in rows
        if (row["split"], row["metric"]) == ("validation", "accuracy")
    }


def test_the_model_with_a_solved_head_does_what_its_features_promised(headed, digits_dir):
    summary = json.loads((headed / "training.json").read_text())
    assert summary["validation"]["accuracy"] > 0.8
    assert accuracy(headed / "model.keras", digits_dir) == pytest.approx(
        summary["validation"]["accuracy"]
    )
    assert summary["steps"] == 1
    assert summary["images_seen"] == 1000


def test_a_fine_tuned_network_starts_from_the_solved_head(tuned, headed, digits_dir):
    curve = validation_accuracies(tuned)
    solved = json.loads((headed / "training.json").read_text())["validation"]["accuracy"]
    assert curve[0] == pytest.approx(solved, abs=0.01)
    assert list(curve) == [0, 1, 2, 3, 4]
    # The start is one of the checkpoints that the best is chosen of.
    best = json.loads((tuned / "training.json").read_text())["validation"]["accuracy"]
    assert best == max(curve.values())
    assert accuracy(tuned / "model.keras", digits_dir) == pytest.approx(best)


def test_batch_normalisation_stays_as_it_was_pretrained(tuned):
    model = keras.models.load_model(tuned / "model.keras", safe_mode=True)
    assert equal_norms(model, build_model(NAME, get_task("multiclass"), (32, 32, 1), 10)) > 40


def equal_norms(model: keras.Model, other: keras.Model) -> int:
    """Returns how many BatchNorm layers two networks have, all with the same weights."""
    layers = list(zip(norm_layers(model), norm_layers(other), strict=True))
    for layer, another in layers:
        for value, expected in zip(layer.get_weights(), another.get_weights(), strict=True):
            np.testing.assert_array_equal(value, expected)
    return len(layers)


def test_a_head_is_solved_on_the_features_of_a_model_file(digits_dir, trained_models, tmp_path):
    config = UserChoices(architecture=trained_models["headless"])
    folder = train(digits_dir, tmp_path, "head", tmp_path / "cache", config)
    summary = json.loads((folder / "training.json").read_text())
    assert summary["validation"]["accuracy"] > 0.9
    found = accuracy(folder / "model.keras", digits_dir)
    assert found == pytest.approx(summary["validation"]["accuracy"])


def test_a_model_file_with_its_own_classes_is_fine_tuned_from_its_own_head(
    digits_dir, trained_models, tmp_path
):
    file = trained_models["own_head"]
    config = UserChoices(architecture=file, epochs=1)
    folder = train(digits_dir, tmp_path, "all", tmp_path / "cache", config)
    curve = validation_accuracies(folder)
    assert curve[0] == pytest.approx(accuracy(file, digits_dir), abs=0.01)
    assert curve[0] > 0.9
    recipe = read_recipe(folder / "recipe.json")
    names = ("learning_rate", "batch_size", "first_layer_rate", "dropout")
    values = [recipe.value("training", name) for name in names]
    assert values == [pytest.approx(3e-4), 32, 0.1, 0.0]
    models = [keras.models.load_model(each) for each in (folder / "model.keras", file)]
    assert equal_norms(*models) == 2
    # Fitted to all images, a head would replace what the file knows.
    info = read_json(DatasetInfo, digits_dir / "dataset.json")
    again = fit_head_again(digits_dir, recipe, info, tmp_path / "cache", seed=0)
    assert (again.images, again.steps) == (0, 0)
    assert equal_norms(again.model, models[1]) == 2


def test_a_model_file_with_its_own_classes_gets_no_solved_head(
    digits_dir, trained_models, tmp_path
):
    config = UserChoices(architecture=trained_models["own_head"])
    with pytest.raises(ValueError, match="whose weights are pretrained and whose head is its own"):
        train(digits_dir, tmp_path, "head", tmp_path / "cache", config)
