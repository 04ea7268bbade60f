"""What is asked of the images, of which of them, and what becomes of the answers."""

import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

from kfp_vision.components.self_training import pool as pool_module
from kfp_vision.components.self_training.pool import Pool
from kfp_vision.components.self_training.teacher import Teacher
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json
from kfp_vision.components.shared.datasets.loader import ImageSource
from kfp_vision.components.shared.datasets.store import SplitWriter, open_split
from kfp_vision.components.shared.recipe.document import Recipe, Setting
from kfp_vision.components.shared.recipe.user_choices import UserChoices
from kfp_vision.components.shared.training.setup import complete_recipe


def opened(dataset: Path, architecture: str, folder: Path) -> Pool:
    info = read_json(DatasetInfo, dataset / "dataset.json")
    values = {"class_weights": None, "primary_metric": "accuracy", "positive_class": None}
    recipe = Recipe({"data": {name: Setting(value, "test") for name, value in values.items()}})
    recipe = complete_recipe(recipe, info, UserChoices(architecture=architecture, epochs=1))
    return Pool(dataset, info, recipe, folder, None)


@pytest.fixture(scope="module")
def teacher() -> Teacher:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((16, 16, 1))
    flat = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(inputs))
    return Teacher(keras.Model(inputs, keras.layers.Dense(10)(flat)))


def _sorted_by_class(dataset: Path, folder: Path) -> Path:
    """Returns the dataset with its validation images class by class, as folders of classes are."""
    shutil.copytree(dataset, folder)
    rows = open_split(dataset, "validation").to_pylist()
    (folder / "validation.arrow").unlink()
    with SplitWriter(folder, "validation") as writer:
        for row in sorted(rows, key=lambda row: row["labels"]):
            writer.write(row)
    return folder


def test_what_counts_as_alike_is_that_of_images_of_all_classes(
    few_labels_dir, small_model, teacher, tmp_path, monkeypatch
):
    dataset = _sorted_by_class(few_labels_dir, tmp_path / "dataset")
    pool = opened(dataset, small_model, tmp_path / "kept")
    monkeypatch.setattr(pool_module, "_BANK", 30)
    labels = pool.validation.read_targets(np.arange(200))["label"]
    assert len(np.unique(labels[:30])) <= 2
    looked_at: list[int] = []
    features = teacher.features

    def record(source: ImageSource, rows: np.ndarray) -> np.ndarray:
        if source is pool.validation.source:
            looked_at.extend(rows.tolist())
        return features(source, rows)

    monkeypatch.setattr(teacher, "features", record)
    pool.ask(teacher, np.arange(60))
    assert len(set(looked_at)) == 30
    assert len(np.unique(labels[looked_at])) >= 8
