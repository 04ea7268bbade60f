"""Weights that a pretraining has found: what a training starts from in place of random ones.

They lie beside the recipe that names them; `model.start_weights` of the recipe is their digest, so
that they are part of the identity of the training.
"""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from kfp_vision.components.shared.architectures.zoo import keeps_head
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.training_result import START_FILE
from kfp_vision.components.shared.datasets.labelled import LabelledImages
from kfp_vision.components.shared.recipe.document import Recipe
from kfp_vision.components.shared.recipe.initial_weights import START_WEIGHTS
from kfp_vision.components.shared.tasks import task_of
from kfp_vision.components.shared.tasks.baselines import Samples
from kfp_vision.components.shared.tasks.frozen_baseline import fit_head
from kfp_vision.components.shared.training.checkpoints import read_checkpoint, write_checkpoint
from kfp_vision.components.shared.training.pretrained_head import head_rows, set_head
from kfp_vision.components.shared.training.trainer import Trainer

__all__ = [
    "feature_reader",
    "read_start",
    "start_from",
    "weights_digest",
    "write_start",
]


def write_start(weights: Sequence[np.ndarray], folder: Path) -> str:
    """Writes the weights of a model of `build_model` and returns their digest."""
    write_checkpoint(folder / START_FILE, weights, {})
    return weights_digest(weights)


def weights_digest(weights: Sequence[np.ndarray]) -> str:
    """Returns a name for the values of some weights."""
    digest = hashlib.sha256()
    for each in weights:
        digest.update(np.ascontiguousarray(each).tobytes())
    return digest.hexdigest()[:16]


def read_start(recipe: Recipe, folder: Path) -> list[np.ndarray] | None:
    """Returns the weights that a recipe names; None where it names none, or they are not there.

    Args:
        recipe: Of the training.
        folder: Of its recipe.json.
    """
    setting = recipe.get("model", START_WEIGHTS)
    found = read_checkpoint(folder / START_FILE) if setting else None
    if setting is None or found is None or weights_digest(found[0]) != setting.value:
        return None
    return found[0]


def feature_reader(model: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
    """Returns what computes the features that the head of a model reads, float32 [B, F].

    Args:
        model: Of `build_model`; its weights are those at the time of the call.
    """
    body = keras.Model(model.inputs, model.layers[-1].input)

    def compute(images: tf.Tensor) -> tf.Tensor:
        features = body(tf.cast(images, tf.float32), training=False)
        return tf.cast(tf.reshape(features, [tf.shape(features)[0], -1]), tf.float32)

    shape = tf.TensorSpec([None, *model.input_shape[1:]], tf.uint8)
    compiled = tf.function(compute, input_signature=[shape], autograph=False)
    return lambda images: np.asarray(compiled(images))


def start_from(
    trainer: Trainer,
    weights: Sequence[np.ndarray],
    recipe: Recipe,
    info: DatasetInfo,
    images: LabelledImages,
    rows: np.ndarray,
) -> None:
    """Gives a trainer weights to start from, and a new head that fits the features of some images.

    A model file that has the classes of the task keeps its own head.

    Args:
        trainer: Has not taken a step.
        weights: Of `write_start`.
        recipe: Complete.
        info: Of the dataset.
        images: With labels.
        rows: Which of them the head is fitted to, int; of many, those of `head_rows`.
    """
    trainer.model.set_weights(weights)
    name, task = recipe.value("model", "architecture"), task_of(info)
    if not keeps_head(name, task, len(info.classes)):
        read = feature_reader(trainer.model)
        batches = images.batches(head_rows(rows, trainer.model))
        parts = [(read(pixels), targets["label"]) for pixels, targets in batches]
        samples = Samples(*(np.concatenate(each) for each in zip(*parts, strict=True)))
        balanced = recipe.value("data", "class_weights") is not None
        set_head(trainer.model, fit_head(samples, None, len(info.classes), balanced))
    trainer.restart_average()
