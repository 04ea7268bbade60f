"""What the tasks say of an image, given what a model returns for it."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from kfp_vision.components.shared.artifacts.model_card import ModelCard
from kfp_vision.components.shared.tasks import TASKS
from kfp_vision.pipelines.serving.box_answers import box_columns, box_files, describe_boxes
from kfp_vision.pipelines.serving.keypoint_answers import describe_keypoints, keypoint_files
from kfp_vision.pipelines.serving.mask_answers import describe_mask, mask_columns, mask_files
from kfp_vision.pipelines.serving.segment_answers import describe_segments, segment_files

__all__ = ["Answers", "answers_of"]

# As in predictions.parquet.
_PREFIX = "p_"


@dataclasses.dataclass(frozen=True)
class Answers:
    """What a task says of an image, given the output of the model for it.

    Attributes:
        columns: Those between `path` and `error`, and their types.
        describe: (card, output, (height, width) of the image) -> the columns.
        make_files: (card, photo, (height, width), output) -> files; None where there are none.
    """

    columns: Callable[[ModelCard], dict[str, type]]
    describe: Callable[[ModelCard, Any, tuple[int, int]], dict[str, Any]]
    make_files: Callable[[ModelCard, np.ndarray, tuple[int, int], Any], dict[str, bytes]] | None


def _label_columns(card: ModelCard) -> dict[str, type]:
    probabilities: dict[str, type] = {_PREFIX + name: float for name in card.classes}
    return {"predicted": str, "confidence": float, **probabilities}


def _describe(card: ModelCard, probabilities: np.ndarray) -> dict[str, Any]:
    """Returns what is predicted: the likeliest class, or all from 0.5 for multi-label."""
    chosen = np.array([probabilities.argmax()])
    if not TASKS[card.task].one_class:
        chosen = np.flatnonzero(probabilities >= 0.5)
    return {
        "predicted": "|".join(card.classes[index] for index in chosen),
        "confidence": round(float(probabilities[chosen].min()), 6) if len(chosen) else "",
        **{
            f"{_PREFIX}{name}": round(float(value), 6)
            for name, value in zip(card.classes, probabilities, strict=True)
        },
    }


_LABELS = Answers(_label_columns, lambda card, output, _: _describe(card, output), None)
_ANSWERS = {
    "semantic_segmentation": Answers(
        mask_columns, lambda card, output, _: describe_mask(card, output), mask_files
    ),
    "detection": Answers(box_columns, describe_boxes, box_files),
    "instance_segmentation": Answers(box_columns, describe_segments, segment_files),
    "keypoints": Answers(box_columns, describe_keypoints, keypoint_files),
}


def answers_of(card: ModelCard) -> Answers:
    """Returns those of the task of a model."""
    return _ANSWERS.get(card.task, _LABELS)
