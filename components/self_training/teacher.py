"""A trained model that is asked about images: what it says of them, and how it sees them.

Shapes: B images of a batch, C outputs, F features.
"""

import functools
import hashlib
import math
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from kfp_vision.components.shared.datasets.computed_rows import compute_rows
from kfp_vision.components.shared.datasets.loader import ImageSource

__all__ = ["Teacher", "nearest_distances"]

# Features that are compared with a bank at once.
_ROWS = 1024


class Teacher:
    """Raw outputs of a model, and its features before the last layer, scaled to unit length."""

    def __init__(self, model: keras.Model) -> None:
        """Compiles at the first call.

        Args:
            model: float32 pixels 0..255 in, raw outputs of the task out.
        """
        self.model = model
        both = keras.Model(model.inputs, [model.outputs[0], model.layers[-1].input])

        def ask(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            outputs, features = both(tf.cast(images, tf.float32), training=False)
            flat = tf.reshape(features, [tf.shape(features)[0], -1])
            return outputs, tf.math.l2_normalize(tf.cast(flat, tf.float32), axis=-1)

        shape = tf.TensorSpec([None, *model.input_shape[1:]], tf.uint8)
        self._ask = tf.function(ask, input_signature=[shape], autograph=False)

    @property
    def num_features(self) -> int:
        """F."""
        return math.prod(self.model.layers[-1].input.shape[1:])

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of its weights, and of the size of the images."""
        digest = hashlib.sha256(str(self.model.input_shape).encode())
        for array in self.model.get_weights():
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns outputs [B, C] and features [B, F] of images uint8 [B, H, W, K]."""
        outputs, features = self._ask(images)
        return outputs.numpy(), features.numpy()

    def features(self, source: ImageSource, rows: np.ndarray) -> np.ndarray:
        """Returns the features of some images, float32 [N, F]; all are held in memory."""
        parts = [self(source.take(part))[1] for part in _batches(rows, source)]
        return np.concatenate(parts)

    def say(
        self,
        source: ImageSource,
        asked: np.ndarray,
        folder: Path,
        bank: np.ndarray,
        with_features: bool,
        on_part: Callable[[], None],
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns of some images of a source outputs [N, C], distances [N], features [N, F].

        Args:
            source: The images.
            asked: Which of them, int [N].
            folder: Of this model, these images and bank alone; outlives a killed task.
            bank: Features [M, F]; the distance to the nearest one is measured.
            with_features: Otherwise those that are returned are [N, 0].
            on_part: Called before a part of the outputs is kept.
        """

        def compute(places: np.ndarray) -> np.ndarray:
            parts = []
            for part in _batches(asked[places], source):
                outputs, features = self(source.take(part))
                kept = features if with_features else features[:, :0]
                columns = [outputs, nearest_distances(features, bank), kept]
                parts.append(np.column_stack(columns).astype(np.float32))
            on_part()
            return np.concatenate(parts)

        said = compute_rows(compute, len(asked), folder, "ask the teacher")
        outputs = self.model.output_shape[-1]
        return said[:, :outputs], said[:, outputs], said[:, outputs + 1 :]

    def seconds_per_image(self, source: ImageSource, rows: np.ndarray) -> float:
        """Returns what it takes to read an image and to ask about it.

        Args:
            source: The images.
            rows: Some that have not been read yet, int: a few batches.
        """
        # The first batch compiles.
        first, *others = _batches(rows, source)
        self(source.take(first))
        timed, began = others or [first], time.monotonic()
        for part in timed:
            self(source.take(part))
        return (time.monotonic() - began) / sum(map(len, timed))


def nearest_distances(features: np.ndarray, bank: np.ndarray) -> np.ndarray:
    """Returns 1 - the largest cosine to a feature of the bank, [N], in [0, 2].

    Args:
        features: Of unit length, [N, F].
        bank: Of unit length, [M, F].

    Reference: Sun et al., 2022, arXiv:2204.06507, section 3, with the first neighbour.
    """
    distances = np.empty(len(features), features.dtype)
    for start in range(0, len(features), _ROWS):
        part = slice(start, start + _ROWS)
        distances[part] = 1.0 - (features[part] @ bank.T).max(axis=1)
    return distances


def _batches(rows: np.ndarray, source: ImageSource) -> list[np.ndarray]:
    size = source.images_per_batch
    return [rows[start : start + size] for start in range(0, len(rows), size)]
