"""A student with a projection that is thrown away: what it learns, and what is left of it."""

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any, cast

import keras
import numpy as np
import pytest

from kfp_vision.components.distillation.feature_trainer import FeatureTrainer
from kfp_vision.components.shared.recipe import hyperparameters
from kfp_vision.components.shared.recipe.document import Recipe
from kfp_vision.components.shared.tasks import get_task
from kfp_vision.components.shared.tasks.protocol import TeachableTask
from kfp_vision.components.shared.training.soft_targets import TaughtTask, Teaching
from kfp_vision.components.shared.training.trainer import Trainer

_STEPS, _BATCH = 40, 16


def _student(num_outputs: int) -> keras.Model:
    keras.utils.set_random_seed(0)
    pixels = keras.Input((4, 4, 1))
    flat = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(pixels))
    hidden = keras.layers.Dense(12, activation="relu")(flat)
    return keras.Model(pixels, keras.layers.Dense(num_outputs)(hidden))


def _lesson(name: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Returns batches whose teacher sees nine pixels and says the first ones."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (_STEPS, _BATCH, 4, 4, 1), np.uint8)
    features = images[..., 1:, 1:, 0].reshape(_STEPS, _BATCH, 9).astype(np.float32) / 64 - 2
    teacher = features[..., : 2 if name == "binary" else 3]
    label = (teacher > 0).astype(np.uint8) if name == "multilabel" else teacher.argmax(-1)
    return images, {
        "label": label if name == "multilabel" else label.astype(np.int32),
        "teacher": teacher,
        "features": features,
        "is_labelled": np.ones((_STEPS, _BATCH), np.float32),
    }


def _train(name: str, kind: Any) -> tuple[Trainer, keras.Model, np.ndarray]:
    images, targets = _lesson(name)
    model = _student(targets["teacher"].shape[-1])
    settings = hyperparameters.from_recipe(hyperparameters.resolve(Recipe(), {}, 1000))
    settings = dataclasses.replace(settings, label_smoothing=0.0, clip_norm=0.0)
    task = TaughtTask(cast(TeachableTask, get_task(name)), Teaching(2.0, 0.3))
    trainer = kind(model, task, settings)
    losses = trainer.run_steps(images, targets, np.full(_STEPS, 0.02, np.float32)).losses
    return trainer, model, losses


def _with_features(weight: float) -> Any:
    return functools.partial(FeatureTrainer, num_features=9, feature_weight=weight)


@pytest.mark.parametrize("name", ["binary", "multiclass", "multilabel"])
def test_without_a_weight_the_student_is_the_one_that_outputs_alone_have_taught(name: str) -> None:
    trainer, student, losses = _train(name, _with_features(0.0))
    alone, other, expected = _train(name, Trainer)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    for first, second in zip(student.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(first, second, rtol=1e-4, atol=1e-6)
    images, _ = _lesson(name)
    np.testing.assert_allclose(trainer.outputs(images[0]), alone.outputs(images[0]), atol=1e-5)


@pytest.mark.parametrize("name", ["binary", "multiclass", "multilabel"])
def test_with_a_weight_the_projection_and_the_student_below_it_learn_the_features(
    name: str,
) -> None:
    images, targets = _lesson(name)

    def distance(trainer: Trainer) -> float:
        projected = np.asarray(trainer.model(images[0].astype(np.float32))[1])
        return float(np.square(projected - targets["features"][0]).mean())

    plain, other, _ = _train(name, _with_features(0.0))
    trainer, student, losses = _train(name, _with_features(5.0))
    assert losses[-8:].mean() < losses[:8].mean()
    assert distance(trainer) < distance(plain)
    assert np.abs(student.get_weights()[0] - other.get_weights()[0]).max() > 0.01


def test_the_student_is_saved_without_the_projection(tmp_path: Path) -> None:
    trainer, student, _ = _train("multiclass", _with_features(5.0))
    assert len(trainer.model.weights) == len(student.weights) + 2
    student.save(tmp_path / "student.keras")
    saved = keras.models.load_model(tmp_path / "student.keras", compile=False, safe_mode=True)
    names = [type(layer).__name__ for layer in saved.layers]
    assert names == [type(layer).__name__ for layer in _student(3).layers]
    assert "projection" not in json.dumps(saved.get_config())
    for first, second in zip(saved.get_weights(), student.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)


def test_the_loss_of_a_batch_is_that_of_the_outputs_and_of_the_features() -> None:
    images, targets = _lesson("multiclass")
    batch = {name: values[0] for name, values in targets.items()}
    trainer, *_ = _train("multiclass", _with_features(5.0))
    without, *_ = _train("multiclass", _with_features(0.0))
    without.set_variables(trainer.model_variables())
    projected = np.asarray(trainer.model(images[0].astype(np.float32))[1])
    distance = np.square(projected - batch["features"]).mean()
    expected = without.mean_loss(images[0], batch) + 5.0 * distance
    assert trainer.mean_loss(images[0], batch) == pytest.approx(expected, rel=1e-4)
