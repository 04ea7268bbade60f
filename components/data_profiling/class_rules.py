"""Rules about classes, sizes of splits, and files or images that show nothing."""

import numpy as np

from kfp_vision.components.data_profiling.balance import MAX_IMBALANCE, imbalance_ratio
from kfp_vision.components.data_profiling.measurements import (
    EXAMPLES,
    Level,
    Measurements,
    Observation,
)

__all__ = [
    "class_not_in_test",
    "class_not_in_train",
    "constant_images",
    "empty_class",
    "few_images",
    "imbalance",
    "one_class",
    "small_set",
    "unreadable_files",
]

# Shares above which a finding stops the pipeline.
_MAX_UNSEEN = 0.01
_MAX_REJECTED = 0.5
# Below, a class cannot be learned, or a split cannot measure.
_FEW_IMAGES = 10
_SMALL_SET = 100


def unreadable_files(measured: Measurements) -> Observation | None:
    """Files that import left out."""
    total = sum(measured.rejected.values())
    if not total:
        return None
    share = total / (total + len(measured.split))
    reasons = ", ".join(f"{count} {code}" for code, count in sorted(measured.rejected.items()))
    return Observation(
        "fail" if share > _MAX_REJECTED else "warn",
        f"Files left out: {reasons} ({share:.1%} of all). `rejected.parquet` of the dataset "
        f"lists all with the reason, {', '.join(measured.rejected_paths)} among them.",
        total,
    )


def one_class(measured: Measurements) -> Observation | None:
    """No label that tells training images apart."""
    counts = measured.counts["train"]
    if ((counts > 0) & (counts < measured.num_train)).any():
        return None
    present = [name for name, count in zip(measured.classes, counts, strict=True) if count]
    return Observation(
        "fail",
        "The training images must differ in a label, else there is nothing to learn. Every one "
        f"of them has: {', '.join(present) or 'no label'}.",
        len(present),
    )


def empty_class(measured: Measurements) -> Observation | None:
    """Classes without any image."""
    total = np.sum(list(measured.counts.values()), axis=0)
    return _classes(measured, total == 0, "warn", "without an image in any split")


def class_not_in_train(measured: Measurements) -> Observation | None:
    """Classes that are tested but cannot be learned."""
    held_out = sum(
        (measured.counts[name] for name in ("validation", "test") if name in measured.counts),
        start=np.zeros(len(measured.classes), np.int64),
    )
    unseen = (measured.counts["train"] == 0) & (held_out > 0)
    share = held_out[unseen].sum() / max(held_out.sum(), 1)
    level: Level = "fail" if share > _MAX_UNSEEN else "warn"
    return _classes(
        measured,
        unseen,
        level,
        f"in the held-out splits ({share:.1%} of their labels) but not in train",
    )


def class_not_in_test(measured: Measurements) -> Observation | None:
    """Classes that nothing measures."""
    if "test" not in measured.counts:
        return None
    missing = (measured.counts["test"] == 0) & (measured.counts["train"] > 0)
    return _classes(
        measured, missing, "warn", "in train but not in test, so that nothing measures them"
    )


def few_images(measured: Measurements) -> Observation | None:
    """Classes with too few training images to learn them."""
    counts = measured.counts["train"]
    few = (counts > 0) & (counts < _FEW_IMAGES)
    return _classes(measured, few, "warn", f"with fewer than {_FEW_IMAGES} training images")


def constant_images(measured: Measurements) -> Observation | None:
    """Images that show nothing."""
    rows = np.flatnonzero((measured.signatures == measured.signatures[:, :1]).all(axis=1))
    if not len(rows):
        return None
    return Observation(
        "warn",
        f"Images of one gray level all over (at 8x8): {len(rows)}. They show nothing.",
        len(rows),
        rows[:EXAMPLES],
    )


def imbalance(measured: Measurements) -> Observation | None:
    """Classes of very different size."""
    counts = measured.counts["train"]
    ratio = imbalance_ratio(counts)
    if ratio <= MAX_IMBALANCE:
        return None
    present = np.flatnonzero(counts)
    large, small = present[counts[present].argmax()], present[counts[present].argmin()]
    return Observation(
        "warn",
        f"The largest class ({measured.classes[large]}, {counts[large]}) has "
        f"{ratio:.1f} times the images of the smallest ({measured.classes[small]}, "
        f"{counts[small]}). The recipe says what is done about it.",
        len(present),
    )


def small_set(measured: Measurements) -> Observation | None:
    """Splits too small to learn from or to measure with."""
    small = {
        name: int((measured.split == name).sum())
        for name in ("train", "validation", "test")
        if (measured.split == name).sum() < _SMALL_SET
    }
    if not small:
        return None
    parts = ", ".join(f"{name} {count}" for name, count in small.items())
    return Observation(
        "warn",
        f"A split should have at least {_SMALL_SET} images, else its figures say little: with 100, "
        f"an accuracy of 0.9 is known to +-0.06. Images: {parts}.",
        sum(small.values()),
    )


def _classes(
    measured: Measurements, chosen: np.ndarray, level: Level, what: str
) -> Observation | None:
    names = [name for name, is_chosen in zip(measured.classes, chosen, strict=True) if is_chosen]
    if not names:
        return None
    shown = ", ".join(names[:EXAMPLES]) + (", ..." if len(names) > EXAMPLES else "")
    return Observation(level, f"Classes {what}: {shown}.", len(names))
