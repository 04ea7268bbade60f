"""The lesson: what the teacher says of every picture that a student will see.

Both see the same crop, flip and colours of a picture, each in its own size (Beyer et al., 2022,
arXiv:2106.05237, section 3.2, "consistent teaching"). The teacher is asked once a picture, and what
it says and sees is on disk. Shapes: M pictures, B of a batch, C outputs, F features of the teacher
and K of them, along their principal axes.
"""

import dataclasses
import hashlib
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from kfp_vision.components.distillation.features import PrincipalAxes, with_features
from kfp_vision.components.distillation.pictures import Pictures, take_pictures
from kfp_vision.components.shared.augmentation.augment import augment
from kfp_vision.components.shared.augmentation.draw import draw_seed, view_keys
from kfp_vision.components.shared.augmentation.known_policies import trivial_augment
from kfp_vision.components.shared.augmentation.policy import Policy, policy_tensors
from kfp_vision.components.shared.datasets.computed_rows import compute_rows
from kfp_vision.components.shared.datasets.loader import ImageSource
from kfp_vision.components.shared.runtime.code_version import code_digest
from kfp_vision.components.shared.runtime.storage import kept_folder
from kfp_vision.components.shared.training.checkpoints import read_checkpoint, write_checkpoint

__all__ = ["ViewTeacher", "largest_lesson", "lesson_policy"]

_LESSON_BYTES = 2**30
# K, and pictures that tell the axes.
_MOST_FEATURES, _SAMPLE = 64, 2048
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
        both = with_features(model)
        self.num_outputs, width = (each.shape[-1] for each in both.outputs)
        self.num_features = min(width, _MOST_FEATURES)
        tensors, word = policy_tensors(policy), draw_seed(seed, 0)[0]
        transform = tf.function(augment, jit_compile=True, autograph=False)

        def ask(images: tf.Tensor, rows: tf.Tensor, views: tf.Tensor) -> tuple[tf.Tensor, ...]:
            seen = transform(images, tensors, view_keys(word, rows, views)).images
            return tuple(tf.cast(each, tf.float32) for each in both(seen, training=False))

        self._ask = tf.function(ask, autograph=False)

    @property
    def digest(self) -> str:
        """Of the model, the images and their views."""
        return self._digest.hexdigest()

    def __call__(self, pictures: Pictures, numbers: np.ndarray) -> tuple[np.ndarray, ...]:
        """Returns raw outputs [B, C] and features [B, F] of some pictures, float32."""
        size, parts = self._source.images_per_batch, []
        for start in range(0, len(numbers), size):
            # The augmentation is compiled for one size: the last batch is filled up.
            part = numbers[np.arange(start, start + size).clip(max=len(numbers) - 1)]
            keys = (tf.constant(each[part]) for each in (pictures.rows, pictures.views))
            said = self._ask(take_pictures(self._source, pictures, part), *keys)
            parts.append([each.numpy() for each in said])
        return tuple(np.concatenate(each)[: len(numbers)] for each in zip(*parts, strict=True))

    def seconds_per_picture(self, pictures: Pictures) -> float:
        """Returns the time of a picture, measured on a batch after what is compiled."""
        numbers = np.arange(min(len(pictures), self._source.images_per_batch))
        self(pictures, numbers)
        started = time.monotonic()
        self(pictures, numbers)
        return (time.monotonic() - started) / len(numbers)

    def teach(
        self, pictures: Pictures, checkpoint_dir: Path, on_part: Callable[[], None]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns outputs [M, C] and features along their axes [M, K] of all pictures, float16.

        What was asked before a task was killed is not asked again.

        Args:
            pictures: Of the images.
            checkpoint_dir: Outlives a killed task.
            on_part: Is called when a part begins: those before it are on disk.
        """
        digest = self._digest.copy()
        digest.update(pictures.tobytes())
        folder = kept_folder(checkpoint_dir / f"lesson-{digest.hexdigest()[:16]}")
        axes = self._axes(pictures, folder / "axes.npz")

        def ask(numbers: np.ndarray) -> np.ndarray:
            on_part()
            outputs, features = self(pictures, numbers)
            rows = np.column_stack([outputs, axes(features)])
            return rows.clip(-_LARGEST, _LARGEST).astype(np.float16)

        said = compute_rows(ask, len(pictures), folder, "ask the teacher")
        return said[:, : self.num_outputs], said[:, self.num_outputs :]

    def _axes(self, pictures: Pictures, path: Path) -> PrincipalAxes:
        """Returns those of the first pictures: of a file, for all parts must be along the same."""
        held = read_checkpoint(path)
        if held is not None:
            return PrincipalAxes(*held[0])
        _, features = self(pictures, np.arange(min(len(pictures), _SAMPLE)))
        axes = PrincipalAxes.of(features, self.num_features)
        write_checkpoint(path, [axes.mean, axes.axes], {})
        return axes


def lesson_policy(policy: Policy) -> Policy:
    """Returns the augmentation of a lesson: what happens to every image, and one wide operation.

    No label has to survive it, for the teacher says what it sees: TrivialAugment (Müller and
    Hutter, 2021, arXiv:2103.10158). Without mixing: the pictures are mixes already.
    """
    return dataclasses.replace(trivial_augment(), always=policy.always)


def largest_lesson(num_values: int) -> int:
    """Returns the pictures whose outputs and features, so many, are held in a GiB of memory."""
    return _LESSON_BYTES // (2 * num_values)
