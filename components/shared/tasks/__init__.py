"""One file per task; everything in which tasks differ, behind the protocol of `protocol.py`."""

import dataclasses
import importlib
from typing import Any, Literal

from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.tasks.protocol import (
    Outputs,
    ReadTargets,
    Records,
    Targets,
    Task,
)

__all__ = [
    "TASKS",
    "Outputs",
    "ReadTargets",
    "Records",
    "Targets",
    "Task",
    "TaskFacts",
    "TaskName",
    "get_task",
    "task_of",
]


@dataclasses.dataclass(frozen=True)
class TaskFacts:
    """What is known of a task without loading Keras.

    Attributes:
        implementation: `module:class`.
        metrics: Those that can decide, the higher the better; the first does unless classes are
            weighted.
        reason: Why the first one decides.
        weighted_metric: Decides where the loss weights the classes; empty where it never does.
        unweighted_reason: Why the loss never weights them.
        one_class: Whether every image is of exactly one class; else of any number.
        has_positive_class: Whether ranking metrics are of one class; else averaged over all.
        is_spatial: As of `Task`. What learns from the features of whole images is then left out.
        output: What an exported model returns, for people; `most` is that of objects.
        columns: Those of the store beside what every task has, keys of `objects.COLUMNS`.
    """

    implementation: str
    metrics: tuple[str, ...]
    reason: str
    weighted_metric: str = ""
    unweighted_reason: str = ""
    one_class: bool = False
    has_positive_class: bool = False
    is_spatial: bool = False
    output: str = "calibrated probabilities, [batch, classes]"
    columns: tuple[str, ...] = ()


_BINARY = TaskFacts(
    f"{__name__}.classification:BinaryClassification",
    ("accuracy", "balanced_accuracy", "auroc", "average_precision"),
    "The loss is not weighted: every image counts the same.",
    weighted_metric="balanced_accuracy",
    one_class=True,
    has_positive_class=True,
)
_OF_OBJECTS = (
    "boxes: (left, top, right, bottom) in pixels of the input, [batch, {most}, 4]; scores, highest "
    "first, and classes, as numbers: [batch, {most}]"
)
TaskName = Literal[
    "binary",
    "multiclass",
    "multilabel",
    "detection",
    "instance_segmentation",
    "semantic_segmentation",
    "keypoints",
]
TASKS: dict[str, TaskFacts] = {
    "binary": _BINARY,
    "multiclass": dataclasses.replace(
        _BINARY,
        implementation=f"{__name__}.classification:MulticlassClassification",
        has_positive_class=False,
    ),
    "multilabel": TaskFacts(
        f"{__name__}.multilabel:MultilabelClassification",
        ("mean_average_precision", "micro_f1", "macro_f1"),
        "Every class counts the same.",
        unweighted_reason="mean average precision ranks the images of each class on their own, and "
        "a weight on the whole class changes no ranking.",
    ),
    "detection": TaskFacts(
        f"{__name__}.detection:Detection",
        ("map", "map50", "map75"),
        "Every class counts the same, and the more, the better its boxes fit.",
        unweighted_reason="average precision ranks the detections of each class on their own.",
        is_spatial=True,
        columns=("boxes", "box_classes", "crowd"),
        output=_OF_OBJECTS,
    ),
    "instance_segmentation": TaskFacts(
        f"{__name__}.instance_segmentation:InstanceSegmentation",
        ("mask_map", "mask_map50", "mask_map75"),
        "Every class counts the same, and the more, the better its masks fit.",
        unweighted_reason="average precision ranks the masks of each class on their own.",
        is_spatial=True,
        columns=("boxes", "box_classes", "crowd", "segments"),
        output=f"{_OF_OBJECTS}; masks: [batch, {{most}}, 28, 28] of each box enlarged by half "
        "around its middle, of the object from 0.5",
    ),
    "semantic_segmentation": TaskFacts(
        f"{__name__}.semantic_segmentation:SemanticSegmentation",
        ("mean_iou", "mean_dice", "pixel_accuracy"),
        "Every class counts the same, however few its pixels.",
        unweighted_reason="the Dice loss counts every class of an image the same.",
        is_spatial=True,
        columns=("mask",),
        output="mask_probabilities: calibrated probabilities of every pixel of the input, [batch, "
        "height, width, classes]",
    ),
    "keypoints": TaskFacts(
        f"{__name__}.keypoints:Keypoints",
        ("pck", "oks_map", "oks_map50", "oks_map75"),
        "Every labelled keypoint counts the same.",
        unweighted_reason="the shares of keypoints and the ranking of objects know no weights.",
        is_spatial=True,
        columns=("boxes", "box_classes", "crowd", "keypoints"),
        output=f"{_OF_OBJECTS}; keypoints: (x, y, score) in pixels of the input, [batch, {{most}}, "
        "keypoints, 3]",
    ),
}


def get_task(name: str, *known: Any) -> Task:
    """Returns the task called `name`.

    Args:
        name: A key of `TASKS`.
        known: What its class is made with: of a task that has a positive class its label, which the
            metrics alone need; of keypoints their names and the pairs that a mirror image swaps; of
            objects then how many the image shows that has the most.

    Raises:
        ValueError: There is no such task.
    """
    if name not in TASKS:
        raise ValueError(f"`task` must be one of {sorted(TASKS)}. Received: {name!r}")
    module, kind = TASKS[name].implementation.split(":")
    task: Task = getattr(importlib.import_module(module), kind)(*known)
    return task


def task_of(info: DatasetInfo, positive_class: str | None = None) -> Task:
    """Returns the task of a dataset.

    Args:
        info: Of the dataset.
        positive_class: The recipe's `data.positive_class`, for metrics; None where there is none.
    """
    if positive_class is not None:
        return get_task(info.task, info.classes.index(positive_class))
    if info.keypoint_names:
        return get_task(info.task, info.keypoint_names, info.keypoint_swaps, info.most_objects)
    if "boxes" in TASKS[info.task].columns:
        return get_task(info.task, info.most_objects)
    return get_task(info.task)
