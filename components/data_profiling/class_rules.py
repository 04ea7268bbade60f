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
    "class_not_in_validation",
    "constant_images",
    "empty_class",
    "few_images",
    "imbalance",
    "label_in_every_image",
    "one_class",
    "small_set",
    "unreadable_files",
]

# Shares above which a finding stops the pipeline.
_MAX_UNSEEN = 0.01
_MAX_REJECTED = 0.5
_MAX_UNMEASURED = 0.1
_MAX_CONSTANT = 0.5
# Codes of what the import leaves out and nobody meant as an image of its own: of the system, beside
# an image or listed twice. A ZIP file of a Mac has a hidden file for each image.
_HARMLESS = frozenset({"duplicate_row", "empty_class", "hidden", "mask", "not_a_file"})
# Below, a class cannot be learned, or a split cannot measure.
_FEW_IMAGES = 10
_SMALL_SET = 100


def unreadable_files(measured: Measurements) -> Observation | None:
    """Files that import left out; the share is that of images that are lost."""
    total = sum(measured.rejected.values())
    if not total:
        return None
    lost = sum(count for code, count in measured.rejected.items() if code not in _HARMLESS)
    share = lost / max(lost + len(measured.split), 1)
    reasons = ", ".join(f"{count} {code}" for code, count in sorted(measured.rejected.items()))
    return Observation(
        "fail" if share > _MAX_REJECTED else "warn",
        f"Files left out: {reasons}. {share:.1%} of the images are lost (above "
        f"{_MAX_REJECTED:.0%} training stops). `rejected.parquet` of the dataset lists all with "
        f"the reason, {', '.join(measured.rejected_paths)} among them.",
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
        f"of them has: {', '.join(present) or 'no label'}. Check that labels were read from the "
        "right folders or column, and add images of other classes.",
        len(present),
        acceptable=False,
    )


def label_in_every_image(measured: Measurements) -> Observation | None:
    """Labels that are on every training image: there is no image without to learn from."""
    if measured.one_class:
        return None
    always = measured.counts["train"] == measured.num_train
    held_out = [name for name in ("validation", "test") if name in measured.counts]
    without = sum(
        (measured.num_images(name) - measured.counts[name] for name in held_out),
        start=np.zeros(len(measured.classes), np.int64),
    )
    total = sum(measured.num_images(name) for name in held_out)
    level: Level = "fail" if (without[always] > _MAX_UNSEEN * total).any() else "warn"
    return _classes(
        measured,
        always,
        level,
        "on every training image, so that nothing shows what an image without looks like",
        "Add training images without, or remove the label.",
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
        f"in the held-out splits ({share:.1%} of their labels; above {_MAX_UNSEEN:.0%} training "
        "stops) but not in train",
        "Add training images of them, or remove them from the held-out splits.",
    )


def class_not_in_test(measured: Measurements) -> Observation | None:
    """Classes that nothing measures."""
    return _not_held_out(measured, "test", "measures them")


def class_not_in_validation(measured: Measurements) -> Observation | None:
    """Classes that play no part in the choice of the model."""
    return _not_held_out(measured, "validation", "chooses the model by them")


def _not_held_out(measured: Measurements, split: str, purpose: str) -> Observation | None:
    if split not in measured.counts:
        return None
    train = measured.counts["train"]
    missing = (measured.counts[split] == 0) & (train > 0)
    share = train[missing].sum() / max(train.sum(), 1)
    # What the import has divided lacks only classes that are too small to be divided.
    is_given = measured.origin.get(split) == "given"
    return _classes(
        measured,
        missing,
        "fail" if is_given and share > _MAX_UNMEASURED else "warn",
        f"in train ({share:.1%} of its labels) but not in {split}, so that nothing {purpose}",
        f"Add images of them, or leave the {split} split out and one is made.",
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
    share = len(rows) / len(measured.split)
    return Observation(
        "fail" if share > _MAX_CONSTANT else "warn",
        f"An image must show something. {len(rows)} images have one gray level all over, at 8x8 "
        f"pixels ({share:.1%} of all; above {_MAX_CONSTANT:.0%} training stops). Check how they "
        "were written or decoded, and remove them.",
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
    how_little = (
        "the intervals of the report say how little"
        if measured.is_spatial
        else "with 100, an accuracy of 0.9 is known to +-0.06"
    )
    return Observation(
        "warn",
        f"A split should have at least {_SMALL_SET} images, else its figures say little: "
        f"{how_little}. Images: {parts}.",
        sum(small.values()),
    )


def _classes(
    measured: Measurements, chosen: np.ndarray, level: Level, what: str, advice: str = ""
) -> Observation | None:
    names = [name for name, is_chosen in zip(measured.classes, chosen, strict=True) if is_chosen]
    if not names:
        return None
    shown = ", ".join(names[:EXAMPLES]) + (", ..." if len(names) > EXAMPLES else "")
    return Observation(level, f"Classes {what}: {shown}. {advice}".strip(), len(names))
