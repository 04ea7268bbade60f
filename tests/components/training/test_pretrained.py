"""Pretrained networks: a head that is solved, and a training that starts from it."""

import json
from pathlib import Path

import keras
import numpy as np
import pyarrow.parquet as pq
import pytest

from kfp_vision.components.shared.architectures.norms import norm_layers
from kfp_vision.components.shared.architectures.zoo import build_model
from kfp_vision.components.shared.datasets.loader import ImageSource
from kfp_vision.components.shared.recipe.document import Recipe, Setting, write_recipe
from kfp_vision.components.shared.recipe.user_choices import UserChoices
from kfp_vision.components.shared.tasks import get_task
from kfp_vision.components.training.train import train_model

NAME = "efficientnet_lite0_imagenet"


def train(dataset: Path, folder: Path, trainable: str, cache: Path, **training: object) -> Path:
    values = {"class_weights": None, "primary_metric": "accuracy", "positive_class": None}
    recipe = Recipe({"data": {name: Setting(value, "test") for name, value in values.items()}})
    recipe = recipe.with_settings("model", {"trainable": Setting(trainable, "test")})
    users = {name: Setting(value, "test", source="user") for name, value in training.items()}
    write_recipe(recipe.with_settings("training", users), folder / "in.json")
    config = UserChoices(architecture=NAME, image_size=32)
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
    return train(digits_dir, tmp_path_factory.mktemp("tuned"), "all", cache, **settings)


def accuracy(folder: Path, dataset: Path) -> float:
    model = keras.models.load_model(folder / "model.keras", safe_mode=True)
    source = ImageSource(dataset, "validation", (32, 32), 1)
    logits = model.predict(source.take(np.arange(len(source))).astype(np.float32), verbose=0)
    labels = np.array(source.table["labels"].to_pylist())[:, 0]
    return float((logits.argmax(axis=1) == labels).mean())


def test_the_model_with_a_solved_head_does_what_its_features_promised(headed, digits_dir):
    summary = json.loads((headed / "training.json").read_text())
    assert summary["validation"]["accuracy"] > 0.8
    assert accuracy(headed, digits_dir) == pytest.approx(summary["validation"]["accuracy"])
    assert summary["steps"] == 1
    assert summary["images_seen"] == 1000


def test_a_fine_tuned_network_starts_from_the_solved_head(tuned, headed, digits_dir):
    rows = pq.read_table(tuned / "curves.parquet").to_pylist()
    curve = {
        row["step"]: row["value"]
        for row in rows
        if (row["split"], row["metric"]) == ("validation", "accuracy")
    }
    solved = json.loads((headed / "training.json").read_text())["validation"]["accuracy"]
    assert curve[0] == pytest.approx(solved, abs=0.01)
    assert list(curve) == [0, 1, 2, 3, 4]
    # The start is one of the checkpoints that the best is chosen of.
    best = json.loads((tuned / "training.json").read_text())["validation"]["accuracy"]
    assert best == max(curve.values())
    assert accuracy(tuned, digits_dir) == pytest.approx(best)


def test_batch_normalisation_stays_as_it_was_pretrained(tuned):
    model = keras.models.load_model(tuned / "model.keras", safe_mode=True)
    fresh = build_model(NAME, get_task("multiclass"), (32, 32, 1), 10)
    layers = list(zip(norm_layers(model), norm_layers(fresh), strict=True))
    assert len(layers) > 40
    for layer, other in layers:
        for value, expected in zip(layer.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_array_equal(value, expected)
