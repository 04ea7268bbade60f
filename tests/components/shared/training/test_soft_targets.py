"""Learning from a teacher: its loss against closed forms, and which image each target is of."""

from pathlib import Path
from typing import cast

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import expit, rel_entr, softmax

from kfp_vision.components.shared.augmentation.known_policies import shifts
from kfp_vision.components.shared.datasets.labelled import open_labelled
from kfp_vision.components.shared.datasets.loader import ImageSource
from kfp_vision.components.shared.recipe import hyperparameters
from kfp_vision.components.shared.recipe.document import Recipe
from kfp_vision.components.shared.tasks import get_task
from kfp_vision.components.shared.tasks.protocol import TeachableTask
from kfp_vision.components.shared.training.soft_targets import (
    Answers,
    TaughtTask,
    Teaching,
    taught_images,
)
from kfp_vision.components.shared.training.trainer import Trainer

_GENERATOR = np.random.default_rng(0)
_TEACHER, _STUDENT = (
    _GENERATOR.normal(0, 3, (16, 5)).astype(np.float32) for _ in ("teacher", "student")
)


def _task(name: str) -> TeachableTask:
    return cast(TeachableTask, get_task(name))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_taught_loss_is_the_divergence_of_softened_probabilities(temperature: float) -> None:
    losses = _task("multiclass").taught_loss(_TEACHER, _STUDENT, temperature)
    p, q = (softmax(each / temperature, axis=1) for each in (_TEACHER, _STUDENT))
    np.testing.assert_allclose(losses, temperature**2 * rel_entr(p, q).sum(axis=1), rtol=2e-4)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_taught_loss_of_many_labels_is_that_of_each_class(temperature: float) -> None:
    losses = _task("multilabel").taught_loss(_TEACHER, _STUDENT, temperature)
    p, q = (expit(each / temperature) for each in (_TEACHER, _STUDENT))
    expected = temperature**2 * (rel_entr(p, q) + rel_entr(1 - p, 1 - q)).mean(axis=1)
    np.testing.assert_allclose(losses, expected, rtol=2e-3)


def test_gradient_at_a_high_temperature_is_the_difference_of_the_logits() -> None:
    # Hinton et al., 2015, equation 4: (z - v) / C for logits of mean 0.
    teacher, student = (each - each.mean(axis=1, keepdims=True) for each in (_TEACHER, _STUDENT))
    outputs = tf.Variable(student)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(_task("multiclass").taught_loss(teacher, outputs, 1000.0))
    gradient = tape.gradient(loss, outputs)
    np.testing.assert_allclose(gradient, (student - teacher) / 5, atol=0.01)


def test_label_and_teacher_share_the_loss_and_no_label_has_no_share() -> None:
    plain = _task("multiclass")
    task = TaughtTask(plain, Teaching(temperature=2.0, label_share=0.25))
    is_labelled = np.arange(16) % 2 == 0
    targets = {
        "label": np.zeros(16, np.int32),
        "teacher": _TEACHER,
        "is_labelled": is_labelled.astype(np.float32),
    }
    label = np.asarray(plain.loss(targets, _STUDENT))
    taught = np.asarray(plain.taught_loss(_TEACHER, _STUDENT, 2.0))
    expected = np.where(is_labelled, 0.25 * label + 0.75 * taught, taught)
    np.testing.assert_allclose(task.loss(targets, _STUDENT), expected, rtol=1e-6)
    assert task.name == "multiclass"
    assert keras.ops.shape(task.decode(_STUDENT)) == (16, 5)


def test_targets_are_those_of_the_image_of_each_answer(digits_dir: Path) -> None:
    labelled = open_labelled(digits_dir, "train", (16, 16, 1), get_task("multiclass"), 10)
    source = ImageSource(digits_dir, "train+test", (16, 16), 1)
    last = len(source) - 1
    rows = np.array([3, last, 3, 0], np.int32)
    outputs = _GENERATOR.normal(size=(4, 10)).astype(np.float16)
    taught = taught_images(source, labelled, Answers(rows, outputs))
    assert len(taught) == 4
    order = np.array([[2, 1], [3, 0]])
    images, targets = taught.take(order)
    np.testing.assert_array_equal(images, source.take(rows[order]))
    np.testing.assert_array_equal(targets["teacher"], outputs[order].astype(np.float32))
    np.testing.assert_array_equal(targets["is_labelled"], [[1, 0], [1, 1]])
    with_label = targets["is_labelled"] == 1
    expected = labelled.read_targets(rows[order][with_label])["label"]
    np.testing.assert_array_equal(targets["label"][with_label], expected)


def test_an_image_is_augmented_anew_in_every_pass(digits_dir: Path) -> None:
    labelled = open_labelled(digits_dir, "train", (16, 16, 1), get_task("multiclass"), 10)
    source = ImageSource(digits_dir, "train", (16, 16), 1)
    answers = Answers(np.arange(16, dtype=np.int32), np.zeros((16, 10), np.float16))
    images, targets = taught_images(source, labelled, answers).take(np.tile(np.arange(16), (3, 1)))
    pixels = keras.Input((16, 16, 1))
    flat = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(pixels))
    settings = hyperparameters.from_recipe(hyperparameters.resolve(Recipe(), {}, 1000))
    task = TaughtTask(_task("multiclass"), Teaching(label_share=1.0))
    model = keras.Model(pixels, keras.layers.Dense(10)(flat))
    trainer = Trainer(model, task, settings, policy=shifts())
    losses = trainer.run_steps(images, targets, np.zeros(3, np.float32)).losses
    assert len(set(losses.tolist())) == 3


@pytest.mark.parametrize("name", ["multiclass", "multilabel"])
def test_with_a_threshold_a_sure_teacher_labels_and_another_teaches_nothing(name: str) -> None:
    plain = _task(name)
    task = TaughtTask(plain, Teaching(label_share=1.0, threshold=0.9))
    sure, unsure = np.array([[6.0, -6.0, -6.0]]), np.array([[1.0, -6.0, 0.5]])
    outputs = np.array([[0.3, -0.2, 0.4]], np.float32)
    label = np.array([0]) if name == "multiclass" else np.array([[1, 0, 0]], np.uint8)
    targets = {"label": label, "is_labelled": np.zeros(1, np.float32)}
    expected = plain.loss(targets, outputs)
    losses = [
        np.asarray(task.loss({**targets, "teacher": each.astype(np.float32)}, outputs))
        for each in (sure, unsure)
    ]
    np.testing.assert_allclose(losses[0], expected, rtol=1e-5)
    np.testing.assert_array_equal(losses[1], 0.0)
