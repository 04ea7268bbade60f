"""What is asked of the images, of which of them, and what becomes of the answers."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from scipy.special import softmax

from kfp_vision.components.self_training import pool as pool_module
from kfp_vision.components.self_training.noisy_student import NOISY_STUDENT
from kfp_vision.components.self_training.pool import Pool, Said
from kfp_vision.components.self_training.student import soft_labels
from kfp_vision.components.self_training.teacher import Teacher
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json
from kfp_vision.components.shared.datasets.loader import ImageSource
from kfp_vision.components.shared.datasets.store import SplitWriter, open_split
from kfp_vision.components.shared.recipe.document import Recipe, Setting
from kfp_vision.components.shared.recipe.user_choices import UserChoices
from kfp_vision.components.shared.training.setup import complete_recipe


@pytest.fixture
def pool(few_judges_dir: Path, small_model: str, tmp_path: Path) -> Pool:
    """Of 100 training, 30 validation and 1000 images without labels."""
    return opened(few_judges_dir, small_model, tmp_path)


def opened(dataset: Path, architecture: str, folder: Path) -> Pool:
    info = read_json(DatasetInfo, dataset / "dataset.json")
    values = {"class_weights": None, "primary_metric": "accuracy", "positive_class": None}
    recipe = Recipe({"data": {name: Setting(value, "test") for name, value in values.items()}})
    recipe = complete_recipe(recipe, info, UserChoices(architecture=architecture, epochs=1))
    return Pool(dataset, info, recipe, folder, None, lambda: None)


@pytest.fixture(scope="module")
def teacher() -> Teacher:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((16, 16, 1))
    flat = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(inputs))
    return Teacher(keras.Model(inputs, keras.layers.Dense(10)(flat)))


def outputs_of(teacher: Teacher, images: Any, rows: np.ndarray) -> np.ndarray:
    return teacher(images.take(rows))[0]


def ask(pool: Pool, teacher: Teacher) -> Said:
    return pool.ask(teacher, np.arange(0, 100, 2))


def test_labels_are_sharpened_once_and_taught_as_they_were_judged(pool, teacher, monkeypatch):
    monkeypatch.setattr(pool_module, "MAX_NODES", 0)
    said = ask(pool, teacher)
    plain = outputs_of(teacher, pool.unlabeled, np.arange(1000))
    np.testing.assert_allclose(said.unlabeled, 2 * plain, rtol=1e-4, atol=1e-4)
    refined = pool.refine(said, np.arange(0, 100, 2))
    rows = said.filtered.rows
    judged = softmax(refined.unlabeled, axis=1)[rows]
    # Each class once by its share over the mean of what is said of it.
    shares = np.bincount(pool._labels[0:100:2], minlength=10) / 50
    sharp = softmax(2 * plain[rows].astype(np.float64), axis=1)
    expected = sharp * shares / sharp.mean(axis=0)
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(judged, expected, atol=2e-5)
    views = soft_labels(refined.unlabeled[rows], np.arange(100), 100, rows, NOISY_STUDENT)
    taught = softmax(views.outputs[views.rows >= 100].astype(np.float64), axis=1)
    np.testing.assert_allclose(taught, judged, atol=2e-3)


def test_neighbours_are_those_of_the_features_of_the_model(pool, teacher):
    said, known = ask(pool, teacher), np.arange(0, 100, 2)
    sources = (pool.train.source, pool.validation.source, pool.unlabeled)
    features = [teacher(each.take(np.arange(len(each))))[1] for each in sources]
    assert said.features is not None
    np.testing.assert_allclose(said.features, np.concatenate(features), atol=1e-6)
    refined, without = (
        pool.refine(each, known) for each in (said, dataclasses.replace(said, features=None))
    )
    # An image that has the label of its class as a neighbour is held likelier of it.
    truth = pool._labels[1:100:2]
    right = [softmax(each.held, axis=1)[np.arange(1, 100, 2), truth] for each in (refined, without)]
    assert right[0].mean() > 1.5 * right[1].mean()


def test_of_the_images_with_labels_those_that_judge_are_asked_about(pool, teacher):
    said = ask(pool, teacher)
    judging = np.arange(1, 100, 2)
    train = outputs_of(teacher, pool.train.source, judging)
    validation = outputs_of(teacher, pool.validation.source, np.arange(30))
    np.testing.assert_allclose(said.held[judging], 2 * train, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(said.held[100:], 2 * validation, rtol=1e-4, atol=1e-4)
    assert not said.held[0:100:2].any()


def test_a_sample_is_random_rising_and_that_of_its_seed(pool, teacher):
    pool.sample(200.7, 3)
    sample = pool.asked
    assert len(np.unique(sample)) == len(sample) == 200
    assert (np.diff(sample) > 0).all()
    # Not one end of them.
    assert sample.min() < 50
    assert sample.max() >= 950
    said = ask(pool, teacher)
    expected = 2 * outputs_of(teacher, pool.unlabeled, sample)
    np.testing.assert_allclose(said.unlabeled, expected, rtol=1e-4, atol=1e-4)
    assert len(said.filtered.is_copy) == 200
    paths = [pool.unlabeled.paths[row] for row in sample[said.filtered.is_foreign]]
    assert {each.path for each in said.foreign} <= set(paths)
    assert said.foreign
    pool.sample(200.7, 4)
    assert (pool.asked != sample).any()
    pool.sample(200.7, 3)
    np.testing.assert_array_equal(pool.asked, sample)


def test_without_a_limit_all_are_asked_about_that_fit_into_memory(pool, monkeypatch):
    pool.sample(np.inf, 0)
    np.testing.assert_array_equal(pool.asked, np.arange(1000))
    # Of ten classes each.
    monkeypatch.setattr(pool_module, "_MOST_OUTPUTS", 5000)
    pool.sample(np.inf, 0)
    assert len(pool.asked) == 500
    pool.sample(0.0, 0)
    assert len(pool.asked) == 1


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
    monkeypatch.setattr(pool_module, "MAX_NODES", 0)
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
