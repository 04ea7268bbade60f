"""Training by what a teacher says: its outputs beside the labels, and in place of missing ones.

Shapes: N images of a split, those with labels first; M answers of a teacher, each to one of them; C
outputs; B images of a batch.
"""

import dataclasses
from typing import Any

import keras
import numpy as np

from kfp_vision.components.shared.datasets.labelled import LabelledImages
from kfp_vision.components.shared.datasets.loader import ImageSource
from kfp_vision.components.shared.tasks import Outputs, Targets
from kfp_vision.components.shared.tasks.protocol import TeachableTask

__all__ = ["Answers", "TaughtTask", "Teaching", "taught_images"]

# Times outputs: the likeliest answer has a probability of 1 then.
_CERTAIN = 1e4


@dataclasses.dataclass(frozen=True)
class Teaching:
    """How much a teacher counts; variables in place of numbers serve a compiled step for all.

    Attributes:
        temperature: T, that softens the outputs of teacher and student.
        label_share: Share of the label in the loss of an image that has one, in [0, 1].
        threshold: Of its confidence: where it is sure, what it holds likeliest is a label, and
            elsewhere it teaches nothing. 0 for what it says, as it says it.
        feature_weight: Of its features in the loss, where the trainer learns them.
    """

    temperature: Any = 1.0
    label_share: Any = 0.5
    threshold: float = 0.0
    feature_weight: Any = 0.0


class TaughtTask:
    """A task whose loss follows a teacher; in all else the task.

    Its targets are those of `taught_images`.
    """

    def __init__(self, task: TeachableTask, teaching: Teaching) -> None:
        """Wraps a task."""
        self._task, self._teaching = task, teaching

    def __getattr__(self, name: str) -> Any:
        """Returns what the task has."""
        return getattr(self._task, name)

    def loss(
        self,
        targets: Targets,
        outputs: Outputs,
        *,
        label_smoothing: float = 0.0,
        class_weights: Any | None = None,
    ) -> Any:
        """Returns share * label loss + (1 - share) * taught loss, [B]; no label has no share.

        Source: Hinton et al., 2015, arXiv:1503.02531, section 2. With a threshold: Sohn et al.,
        2020, arXiv:2001.07685, equation 4.
        """
        labels = self._task.loss(
            targets, outputs, label_smoothing=label_smoothing, class_weights=class_weights
        )
        taught = self._taught(targets["teacher"], outputs)
        share = self._teaching.label_share * targets["is_labelled"]
        return share * labels + (1.0 - share) * taught

    def _taught(self, teacher: Outputs, outputs: Outputs) -> Any:
        temperature, threshold = self._teaching.temperature, self._teaching.threshold
        if not threshold:
            return self._task.taught_loss(teacher, outputs, temperature)
        hard = _CERTAIN * teacher
        # The divergence from a certain answer is the logarithm of its probability; of several
        # labels the mean.
        confidence = keras.ops.exp(-self._task.taught_loss(hard, teacher, 1.0))
        is_sure = keras.ops.cast(confidence >= threshold, "float32")
        return is_sure * self._task.taught_loss(hard, outputs, temperature)


@dataclasses.dataclass(frozen=True)
class Answers:
    """What a teacher says of images.

    Attributes:
        rows: Which image each answer is to, int32 [M]; an image may have several.
        outputs: Raw, of the teacher, float16 [M, C]; may be memory-mapped.
    """

    rows: np.ndarray
    outputs: np.ndarray


def taught_images(
    source: ImageSource, labelled: LabelledImages, answers: Answers
) -> LabelledImages:
    """Returns M images with the targets of a `TaughtTask`.

    Beside those of the task, which are of the first image where there is no label, these are
    `teacher` float32 [B, C] and `is_labelled` float32 [B].

    Args:
        source: Images, those with a label first.
        labelled: The images that have one.
        answers: To images of the source.
    """

    def read(positions: np.ndarray) -> dict[str, np.ndarray]:
        rows = answers.rows[positions]
        is_labelled = rows < len(labelled)
        return {
            **labelled.read_targets(np.where(is_labelled, rows, 0)),
            "teacher": answers.outputs[positions].astype(np.float32),
            "is_labelled": is_labelled.astype(np.float32),
        }

    return LabelledImages(source, read, answers.rows)
