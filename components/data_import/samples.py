"""What readers yield: samples and rejections, in a listing that streams."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np

from kfp_vision.components.shared.runtime.storage import Folder

__all__ = [
    "SPLIT_NAMES",
    "Listing",
    "Rejection",
    "Sample",
    "Source",
    "Target",
    "TargetReader",
    "require_classes",
]

# The names that sources use, in lower case -> the names of `SPLITS`.
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
    "eval": "test",
    "evaluation": "test",
    "unlabeled": "unlabeled",
    "unlabelled": "unlabeled",
}

# The parameter that leads to the folder of a path.
Source = Literal["dataset_uri", "unlabeled_uri"]


class Target(NamedTuple):
    """What a source says of one image beside its pixels, in the columns of the task.

    Attributes:
        labels: Classes that the image shows, by name.
        columns: Name of a column of the task -> its value.
        changes: What was left out or changed, once for each: keys of `objects.annotations.CHANGES`.
    """

    labels: tuple[str, ...]
    columns: dict[str, Any]
    changes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Sample:
    """One image of a source, not decoded yet.

    Attributes:
        path: Relative to the root of `source`; for arrays `<name>/<row>`.
        labels: Class names; empty for an image without any.
        split: One of `SPLITS`, or None when the source does not say.
        content: The folder to read `path` in, the bytes of an image file, or an array
            [height, width] or [height, width, channels].
        read_target: Called with height and width of the decoded image and the EXIF orientation that
            it was turned from, for tasks with columns of their own: returns the target, whose
            labels then count, or the reason why there is none.
        load_target: Called before the image is decoded, where the target is in a file of its own:
            reads it and returns `read_target`, or the reason why there is none.
        source: Where the image is from.
    """

    path: str
    labels: tuple[str, ...]
    split: str | None
    content: Folder | bytes | np.ndarray
    read_target: "TargetReader | None" = None
    load_target: "Callable[[], TargetReader | Rejection] | None" = None
    source: Source = "dataset_uri"


@dataclasses.dataclass(frozen=True, slots=True)
class Rejection:
    """One file that is left out: a row of `rejected.parquet`."""

    path: str
    code: str
    message: str
    source: Source = "dataset_uri"


TargetReader = Callable[[int, int, int], Target | Rejection]


@dataclasses.dataclass(frozen=True)
class Listing:
    """What a reader found.

    Attributes:
        samples: In a fixed order; iterated once.
        total: Number of samples and rejections, for progress; 0 when not known.
        notes: What was detected, one sentence each.
        classes: Those that the source names, where it says so before its images are read.
        splits: The same of splits.
        label_sets: Distinct label tuples of images with labels, the same; without those of files
            that are not called like images.
        task: What the annotations are for, a key of `shared.tasks.TASKS`; empty for labels of whole
            images, which say it themselves.
        class_order: Class names where the source numbers them; the position is the number.
        other_tasks: What the annotations are for as well -> the listing for that task.
        keypoint_names, keypoint_swaps: As of `DatasetInfo`.
        with_classes: Returns the same with samples and classes, where many files have to be read
            for it; None where they are here.
    """

    samples: Iterable[Sample | Rejection]
    total: int
    notes: list[str]
    classes: frozenset[str] = frozenset()
    splits: frozenset[str] = frozenset()
    label_sets: frozenset[tuple[str, ...]] = frozenset()
    task: str = ""
    class_order: tuple[str, ...] = ()
    other_tasks: "Mapping[str, Callable[[], Listing]]" = dataclasses.field(default_factory=dict)
    keypoint_names: tuple[str, ...] = ()
    keypoint_swaps: tuple[tuple[int, int], ...] = ()
    with_classes: "Callable[[], Listing] | None" = None


def require_classes(classes: Iterable[str], uri: str, hint: str = "") -> None:
    """Refuses a source in which there is nothing to tell apart.

    Args:
        classes: Their names, with repetition.
        uri: Of the source.
        hint: What may be the cause, a sentence; empty when nothing is known.

    Raises:
        ValueError: There are fewer than two classes.
    """
    found = sorted(set(classes))
    if len(found) < 2:
        raise ValueError(
            f"A classifier needs images of at least two classes. Received: {found} in {uri!r}. "
            f"{hint or 'Images without labels go into `unlabeled_uri`.'}"
        )
