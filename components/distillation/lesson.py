"""The lesson: which views a student sees of which images, and what the teacher says of each.

Teacher and student see the same crop, flip and colours of an image, each in its own size (Beyer et
al., 2022, arXiv:2106.05237, section 3.2, "consistent teaching"). The teacher is asked once a view,
and what it says is on disk. Shapes: N images, M views, B of a batch, C outputs.
"""

import dataclasses
import hashlib
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from kfp_vision.components.shared.augmentation.augment import augment
from kfp_vision.components.shared.augmentation.draw import draw_seed, view_keys
from kfp_vision.components.shared.augmentation.policy import Mixing, Policy, policy_tensors
from kfp_vision.components.shared.datasets.computed_rows import compute_rows
from kfp_vision.components.shared.datasets.loader import ImageSource
from kfp_vision.components.shared.runtime.code_version import code_digest
from kfp_vision.components.shared.training.soft_targets import Views

__all__ = ["MAX_VIEWS", "ViewTeacher", "list_views"]

# Of an image: a student that sees one more often has learned it.
MAX_VIEWS = 8
_LESSON_BYTES = 2**30
# The largest and the smallest of float16, nearly: of a logit nothing is lost.
_LARGEST = 6e4


def list_views(rows: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns images and views, int32 [M]: the first of every image before the second of any.

    Args:
        rows: Images that may be learned, int [N].
        count: M, at most; `MAX_VIEWS` of every image are the others' limit.
        seed: Of the order of the images in each pass over them.
    """
    generator = np.random.default_rng(seed)
    passes = -(-min(count, MAX_VIEWS * len(rows)) // len(rows))
    images = [generator.permutation(rows) for _ in range(passes)]
    views = np.repeat(np.arange(passes), len(rows))
    return (
        np.concatenate(images)[:count].astype(np.int32),
        views[:count].astype(np.int32),
    )


class ViewTeacher:
    """A model that is asked about augmented images."""

    def __init__(self, model: keras.Model, source: ImageSource, policy: Policy, seed: int) -> None:
        """Compiles at the first call.

        Args:
            model: float32 pixels 0..255 in, raw outputs of the task out.
            source: The images in the size that the model takes.
            policy: Of the student. Images are not mixed: the student mixes what is said of both.
            seed: Of the student's augmentation.
        """
        self._source, self._seed = source, seed
        plain = dataclasses.replace(policy, mixing=Mixing())
        content = f"{code_digest()} {model.input_shape} {seed} {plain.to_json()}"
        self._digest = hashlib.sha256(content.encode())
        for each in (*model.get_weights(), *source.table["sha256"].to_pylist()):
            self._digest.update(each)
        tensors, word = policy_tensors(plain), draw_seed(seed, 0)[0]
        transform = tf.function(augment, jit_compile=True)

        def ask(images: tf.Tensor, rows: tf.Tensor, views: tf.Tensor) -> tf.Tensor:
            seen = transform(images, tensors, view_keys(word, rows, views)).images
            return tf.cast(model(seen, training=False), tf.float32)

        self._ask = tf.function(ask)

    @property
    def digest(self) -> str:
        """Of the model, the images and their views."""
        return self._digest.hexdigest()

    def __call__(self, rows: np.ndarray, views: np.ndarray) -> np.ndarray:
        """Returns the raw outputs of some views, float16 [B, C]."""
        size, parts = self._source.images_per_batch, []
        for start in range(0, len(rows), size):
            # The augmentation is compiled for one size: the last batch is filled up.
            part = np.arange(start, start + size).clip(max=len(rows) - 1)
            images = self._source.take(rows[part])
            outputs = self._ask(images, tf.constant(rows[part]), tf.constant(views[part])).numpy()
            parts.append(np.clip(outputs, -_LARGEST, _LARGEST).astype(np.float16))
        return np.concatenate(parts)[: len(rows)]

    def seconds_per_view(self, rows: np.ndarray, views: np.ndarray) -> float:
        """Returns the time of a view, measured on a batch of them after what is compiled."""
        some = slice(0, self._source.images_per_batch)
        self(rows[some], views[some])
        started = time.monotonic()
        self(rows[some], views[some])
        return (time.monotonic() - started) / len(rows[some])

    def largest_lesson(self, num_outputs: int) -> int:
        """Returns the views whose outputs are held in a GiB of memory."""
        return _LESSON_BYTES // (2 * num_outputs)

    def teach(self, rows: np.ndarray, views: np.ndarray, checkpoint_dir: Path) -> Views:
        """Returns the lesson; what was asked before a task was killed is not asked again.

        Args:
            rows: Images, int32 [M].
            views: Of each, int32 [M].
            checkpoint_dir: Outlives a killed task.
        """
        digest = self._digest.copy()
        digest.update(rows.tobytes() + views.tobytes())
        said = compute_rows(
            lambda some: self(rows[some], views[some]),
            len(rows),
            checkpoint_dir / f"lesson-{digest.hexdigest()[:16]}",
            "ask the teacher",
        )
        return Views(rows, views, said)
