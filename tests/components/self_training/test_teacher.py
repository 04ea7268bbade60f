"""Asking a model: its outputs and distances against independent ones, each image asked once."""

import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
from scipy.spatial.distance import cdist

from kfp_vision.components.self_training.teacher import Teacher, nearest_distances
from kfp_vision.components.shared.datasets import computed_rows
from kfp_vision.components.shared.datasets.loader import ImageSource


@pytest.fixture
def source(few_digits_dir: Path) -> ImageSource:
    return ImageSource(few_digits_dir, "train+validation", (16, 16), 1)


@pytest.fixture(scope="module")
def model(trained_models: dict[str, str]) -> keras.Model:
    return keras.models.load_model(trained_models["own_head"], compile=False, safe_mode=True)


def test_outputs_are_those_of_the_model_and_features_those_before_its_last_layer(source, model):
    images = source.take(np.arange(len(source)))
    outputs, features = Teacher(model)(images)
    np.testing.assert_allclose(
        outputs, model.predict(images.astype("float32"), verbose=0), atol=1e-5
    )
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1.0, rtol=1e-5)
    last = model.layers[-1]
    logits = keras.Model(model.inputs, last.input).predict(images.astype("float32"), verbose=0)
    scale = np.linalg.norm(logits, axis=1, keepdims=True)
    np.testing.assert_allclose(features, logits / scale, atol=1e-5)


def test_distances_are_cosine_distances_to_the_nearest():
    generator = np.random.default_rng(0)
    features, bank = generator.normal(size=(20, 8)), generator.normal(size=(7, 8))
    unit = [each / np.linalg.norm(each, axis=1, keepdims=True) for each in (features, bank)]
    expected = cdist(features, bank, "cosine").min(axis=1)
    np.testing.assert_allclose(nearest_distances(*unit), expected, atol=1e-12)


def test_a_killed_task_asks_no_image_twice(source, model, tmp_path, monkeypatch):
    monkeypatch.setattr(computed_rows, "_ROWS_PER_FILE", 16)
    teacher, bank = Teacher(model), np.eye(64)[:3]

    def say(rows: np.ndarray, name: str, on_part: Callable[[], None] = lambda: None) -> np.ndarray:
        return np.column_stack(teacher.say(source, rows, tmp_path / name, bank, True, on_part))

    every, parts = np.arange(80), []
    whole = say(every, "whole", lambda: parts.append(1))
    assert whole.shape == (80, 10 + 1 + 64)
    np.testing.assert_allclose(whole[:, 11:], teacher.features(source, every), atol=1e-6)
    assert len(parts) == 5
    some = np.array([3, 17, 70])
    said = say(some, "some")
    np.testing.assert_allclose(said, whole[some], atol=1e-6)
    asked: list[int] = []
    take = source.take

    def dies(rows: np.ndarray) -> np.ndarray:
        if len(asked) >= 40:
            raise KeyboardInterrupt
        asked.extend(rows.tolist())
        return take(rows)

    monkeypatch.setattr(source, "take", dies)
    with pytest.raises(KeyboardInterrupt):
        say(every, "killed")
    again: list[int] = []

    def goes_on(rows: np.ndarray) -> np.ndarray:
        again.extend(rows.tolist())
        return take(rows)

    monkeypatch.setattr(source, "take", goes_on)
    said = say(every, "killed")
    np.testing.assert_allclose(said, whole, atol=1e-6)
    assert sorted(asked + again) == list(range(80))


def test_an_image_takes_as_long_as_reading_it_and_asking_about_it(source, model, monkeypatch):
    take, teacher = source.take, Teacher(model)
    source.images_per_batch = 10

    now = 0.0

    def slow(rows: np.ndarray) -> np.ndarray:
        nonlocal now
        # The first batch compiles, and does not count.
        now += 0.01 * len(rows) if now else 9.0
        return take(rows)

    monkeypatch.setattr(source, "take", slow)
    monkeypatch.setattr(time, "monotonic", lambda: now)
    assert teacher.seconds_per_image(source, np.arange(30)) == pytest.approx(0.01)
    assert teacher.seconds_per_image(source, np.arange(4)) == pytest.approx(0.01)
