"""The lesson: what the teacher says of every picture that a student will see.

Both see the same crop, flip and colours of a picture, each in its own size (Beyer et al., 2022,
arXiv:2106.05237, section 3.2, "consistent teaching"). The teacher is asked once a picture, and what
it says is on disk. Shapes: M pictures, B of a batch, C outputs.
"""

import dataclasses
import hashlib
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from kfp_vision.components.distillation.pictures import Pictures, take_pictures
from kfp_vision.components.shared.augmentation.augment import augment
from kfp_vision.components.shared.augmentation.draw import draw_seed, view_keys
from kfp_vision.components.shared.augmentation.policy import Mixing, Policy, policy_tensors
from kfp_vision.components.shared.datasets.computed_rows import compute_rows
from kfp_vision.components.shared.datasets.loader import ImageSource
from kfp_vision.components.shared.runtime.code_version import code_digest

__all__ = ["ViewTeacher", "largest_lesson", "lesson_policy"]

_LESSON_BYTES = 2**30
# The largest and the smallest of float16, nearly: of a logit nothing is lost.
_LARGEST = 6e4


class ViewTeacher:
    """A model that is asked about augmented pictures."""

    def __init__(self, model: keras.Model, source: ImageSource, policy: Policy, seed: int) -> None:
        """Compiles at the first call.

        Args:
            model: float32 pixels 0..255 in, raw outputs of the task out.
            source: The images in the size that the model takes.
            policy: Of the student: a `lesson_policy`.
            seed: Of the student's augmentation.
        """
        self._source, self._seed = source, seed
        content = f"{code_digest()} {model.input_shape} {seed} {policy.to_json()}"
        self._digest = hashlib.sha256(content.encode())
        for each in (*model.get_weights(), *source.table["sha256"].to_pylist()):
            self._digest.update(each)
        tensors, word = policy_tensors(policy), draw_seed(seed, 0)[0]
        transform = tf.function(augment, jit_compile=True)

        def ask(images: tf.Tensor, rows: tf.Tensor, views: tf.Tensor) -> tf.Tensor:
            seen = transform(images, tensors, view_keys(word, rows, views)).images
            return tf.cast(model(seen, training=False), tf.float32)

        self._ask = tf.function(ask)

    @property
    def digest(self) -> str:
        """Of the model, the images and their views."""
        return self._digest.hexdigest()

    def __call__(self, pictures: Pictures, numbers: np.ndarray) -> np.ndarray:
        """Returns the raw outputs of some pictures, float16 [B, C]."""
        size, parts = self._source.images_per_batch, []
        for start in range(0, len(numbers), size):
            # The augmentation is compiled for one size: the last batch is filled up.
            part = numbers[np.arange(start, start + size).clip(max=len(numbers) - 1)]
            keys = (tf.constant(each[part]) for each in (pictures.rows, pictures.views))
            outputs = self._ask(take_pictures(self._source, pictures, part), *keys).numpy()
            parts.append(np.clip(outputs, -_LARGEST, _LARGEST).astype(np.float16))
        return np.concatenate(parts)[: len(numbers)]

    def seconds_per_picture(self, pictures: Pictures) -> float:
        """Returns the time of a picture, measured on a batch after what is compiled."""
        numbers = np.arange(min(len(pictures), self._source.images_per_batch))
        self(pictures, numbers)
        started = time.monotonic()
        self(pictures, numbers)
        return (time.monotonic() - started) / len(numbers)

    def teach(
        self, pictures: Pictures, checkpoint_dir: Path, on_part: Callable[[], None]
    ) -> np.ndarray:
        """Returns what is said of all pictures, float16 [M, C].

        What was asked before a task was killed is not asked again.

        Args:
            pictures: Of the images.
            checkpoint_dir: Outlives a killed task.
            on_part: Is called when a part begins: those before it are on disk.
        """
        digest = self._digest.copy()
        digest.update(pictures.tobytes())
        folder = checkpoint_dir / f"lesson-{digest.hexdigest()[:16]}"

        def ask(numbers: np.ndarray) -> np.ndarray:
            on_part()
            return self(pictures, numbers)

        return compute_rows(ask, len(pictures), folder, "ask the teacher")


def lesson_policy(policy: Policy) -> Policy:
    """Returns the augmentation of a lesson: without mixing, for the pictures are mixes already.

    The teacher says what it sees in one picture, and the student would be told of mixes of two.
    """
    return dataclasses.replace(policy, mixing=Mixing())


def largest_lesson(num_outputs: int) -> int:
    """Returns the pictures whose outputs are held in a GiB of memory."""
    return _LESSON_BYTES // (2 * num_outputs)
