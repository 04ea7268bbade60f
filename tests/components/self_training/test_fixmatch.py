"""A step in which a network teaches itself, against one of another teacher that says the same."""

import dataclasses
from typing import Any, cast

import keras
import numpy as np
import pytest

from kfp_vision.components.self_training.fixmatch import FIXMATCH, SelfTaughtTrainer
from kfp_vision.components.shared.augmentation.policy import Operation, Policy
from kfp_vision.components.shared.recipe import hyperparameters
from kfp_vision.components.shared.recipe.document import Recipe
from kfp_vision.components.shared.tasks import get_task
from kfp_vision.components.shared.tasks.protocol import TeachableTask
from kfp_vision.components.shared.training.soft_targets import TaughtTask
from kfp_vision.components.shared.training.trainer import Trainer

_SHIFTS = Policy(always=(Operation("translate_x", 0.0, 0.5),))


def _step(kind: type[Trainer], scale: float, says: bool) -> tuple[Any, Any, Any]:
    """Returns weights before and after a step on images without labels, and its loss."""
    keras.utils.set_random_seed(0)
    pixels = keras.Input((4, 4, 1))
    flat = keras.layers.Flatten()(keras.layers.Rescaling(scale / 255)(pixels))
    model = keras.Model(pixels, keras.layers.Dense(3)(flat))
    settings = hyperparameters.from_recipe(hyperparameters.resolve(Recipe(), {}, 1000))
    settings = dataclasses.replace(settings, label_smoothing=0.0, ema_momentum=0.0)
    task = TaughtTask(cast(TeachableTask, get_task("multiclass")), FIXMATCH.teaching)
    trainer = kind(model, task, settings, policy=_SHIFTS)
    images = np.random.default_rng(0).integers(0, 256, (1, 16, 4, 4, 1), np.uint8)
    targets: dict[str, np.ndarray] = {"label": np.zeros((1, 16), np.int32)}
    said = trainer.outputs(images[0]) if says else np.zeros((16, 3), np.float32)
    targets |= {"teacher": said[None], "is_labelled": np.zeros((1, 16), np.float32)}
    before = model.get_weights()
    figures = trainer.run_steps(images, targets, np.array([0.1], np.float32))
    return before, model.get_weights(), float(figures.losses[0])


def test_a_network_that_is_sure_teaches_what_it_says_of_images_as_they_are():
    _, own, loss = _step(SelfTaughtTrainer, 40.0, says=False)
    _, other, expected = _step(Trainer, 40.0, says=True)
    assert loss == pytest.approx(expected, rel=1e-5)
    # The images are shifted: what is said of them as they are is not what is said then.
    assert loss > 0.1
    for first, second in zip(own, other, strict=True):
        np.testing.assert_allclose(first, second, rtol=1e-5, atol=1e-6)


def test_a_network_that_is_nowhere_sure_teaches_itself_nothing():
    _, _, loss = _step(SelfTaughtTrainer, 0.01, says=False)
    assert loss == 0.0
