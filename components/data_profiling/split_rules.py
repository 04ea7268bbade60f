"""Rules about splits that cannot do what they are for: train, choose the model, measure it."""

import numpy as np

from kfp_vision.components.data_profiling.measurements import EXAMPLES, Measurements, Observation
from kfp_vision.components.shared.metrics.intervals import PER_IMAGE, images_worth, wilson_interval

__all__ = [
    "few_distinct_images",
    "missing_split",
    "no_unlabeled_images",
    "test_one_class",
    "test_too_small",
    "validation_one_class",
    "validation_too_small",
]

# Below, a split shows too little of the world.
_FEW_IMAGES = 10


def missing_split(measured: Measurements) -> Observation | None:
    """No images that choose or measure the model."""
    missing = [name for name in ("validation", "test") if not measured.num_images(name)]
    if not missing:
        return None
    return Observation(
        "fail",
        "A dataset must have validation images, which choose the model, and test images, which "
        f"measure it. There are none for {' and '.join(missing)}: classes of fewer than 3 distinct "
        "images are not divided. Add images.",
        len(missing),
        acceptable=False,
    )


def no_unlabeled_images(measured: Measurements) -> Observation | None:
    """A URI of images without labels that leads to none: allowed, because they may come later."""
    if not measured.unlabeled_uri or measured.num_images("unlabeled"):
        return None
    return Observation(
        "warn",
        "`unlabeled_uri` holds no image that can be used: none is learned. Received: "
        f"{measured.unlabeled_uri}. Check that it is the folder that was meant.",
        1,
    )


def test_one_class(measured: Measurements) -> Observation | None:
    """Test images that every constant answer gets right."""
    if (labels := _only_labels(measured, "test")) is None:
        return None
    return Observation(
        "fail",
        "The test images must differ in a label, else a model that looks at nothing is right. "
        f"Every one of the {measured.num_images('test')} has: {labels}. Add test images of the "
        "other classes, or leave the test split out and one is made.",
        measured.num_images("test"),
        np.flatnonzero(measured.split == "test")[:EXAMPLES],
        acceptable=False,
    )


def validation_one_class(measured: Measurements) -> Observation | None:
    """Validation images that every constant answer gets right."""
    if (labels := _only_labels(measured, "validation")) is None:
        return None
    return Observation(
        "fail",
        "The validation images must differ in a label, else the worst model looks best and its "
        f"confidence is set wrongly. Every one of the {measured.num_images('validation')} has: "
        f"{labels}. Add images of the other classes, or leave the validation split out and one is "
        "made.",
        measured.num_images("validation"),
        np.flatnonzero(measured.split == "validation")[:EXAMPLES],
    )


def test_too_small(measured: Measurements) -> Observation | None:
    """So few test images that even a perfect model would be rejected."""
    if not (figures := _no_better_than_constant(measured, "test")):
        return None
    total = measured.num_images("test")
    return Observation(
        "fail",
        f"The test images must tell a perfect model from a constant answer. {total} are too few: "
        f"{figures}. No model could pass. Add test images, of the rarer classes first.",
        total,
        np.flatnonzero(measured.split == "test")[:EXAMPLES],
        acceptable=False,
    )


def validation_too_small(measured: Measurements) -> Observation | None:
    """So few validation images that they choose by chance."""
    if not (figures := _no_better_than_constant(measured, "validation")):
        return None
    total = measured.num_images("validation")
    # What the import has made is as large as the data allow.
    is_given = measured.origin.get("validation") == "given"
    return Observation(
        "fail" if is_given else "warn",
        "The validation images must tell a perfect model from a constant answer, else chance "
        f"chooses the model. {total} are too few: {figures}. Add some, or leave the validation "
        "split out and one is made.",
        total,
        np.flatnonzero(measured.split == "validation")[:EXAMPLES],
    )


def few_distinct_images(measured: Measurements) -> Observation | None:
    """Splits of many images that are nearly the same few."""
    distinct = {
        name: len(np.unique(measured.near[measured.split == name]))
        for name in ("train", "validation", "test")
        if measured.num_images(name) >= _FEW_IMAGES
    }
    few = [name for name, count in distinct.items() if count < _FEW_IMAGES]
    if not few:
        return None
    parts = ", ".join(
        f"{measured.num_images(name)} of {name} show {distinct[name]}" for name in few
    )
    return Observation(
        "fail" if min(distinct.values()) == 1 else "warn",
        f"A split should hold at least {_FEW_IMAGES} different pictures; near duplicates count as "
        f"one, and with a single one training stops. Received: {parts}. Add other scenes.",
        len(few),
        np.flatnonzero(np.isin(measured.split, few))[:EXAMPLES],
    )


def _no_better_than_constant(measured: Measurements, split: str) -> str:
    """Returns what a perfect model and a constant answer reach, or "" where they can be told."""
    total = measured.num_images(split)
    if not total or _only_labels(measured, split) is not None:
        return ""
    counts = measured.counts[split]
    floor = _constant_answer(measured, counts, total)
    low, _ = wilson_interval(1.0, images_worth(measured.primary, counts, total))
    if low > floor:
        return ""
    metric = measured.primary.replace("_", " ")
    return (
        f"{metric} {low:.2f} to 1 (95 % interval) when all are right, {floor:.2f} for a constant "
        "answer"
    )


def _only_labels(measured: Measurements, split: str) -> str | None:
    """Returns the labels that all images of a split share, or None where a label differs."""
    total = measured.num_images(split)
    # Of a single image the rules of too few images say more.
    if total < 2 or ((measured.counts[split] > 0) & (measured.counts[split] < total)).any():
        return None
    shared = [
        name for name, count in zip(measured.classes, measured.counts[split], strict=True) if count
    ]
    return ", ".join(shared) or "no label"


def _constant_answer(measured: Measurements, counts: np.ndarray, total: int) -> float:
    """Returns what a constant answer reaches in the primary metric."""
    if measured.primary in PER_IMAGE:
        return float(counts.max() / total)
    present = counts[counts > 0]
    if not len(present):
        return 1.0
    # Its average precision is the frequency of the label; its balanced accuracy is 1 / C.
    return 1 / len(present) if measured.one_class else float((present / total).mean())
