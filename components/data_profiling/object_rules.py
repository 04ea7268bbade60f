"""Rules about objects that are probably labelled wrongly."""

import numpy as np

from kfp_vision.components.data_profiling.measurements import EXAMPLES, Measurements, Observation
from kfp_vision.components.data_profiling.objects import overlapping_pairs
from kfp_vision.components.shared.metrics.object_precision import num_detections

__all__ = [
    "more_objects_than_found",
    "no_objects",
    "objects_clipped",
    "objects_left_out",
    "objects_of_two_classes",
    "objects_twice",
    "tiny_objects",
]

# Intersection over union above which two boxes are around one thing: boxes that two people draw
# around the same one overlap by 0.8 to 0.95.
_SAME_PLACE = 0.85
# Share of the objects above which the pipeline stops.
_MAX_LEFT_OUT = 0.2
# The same of boxes that reach out of their image, and where it is said.
_MAX_CLIPPED, _MANY_CLIPPED = 1 / 3, 0.05
# Pixels; nothing can be told of so few.
_TINY_AREA = 9.0


def no_objects(measured: Measurements) -> Observation | None:
    """Splits whose images show nothing that can be learned."""
    objects = measured.objects
    if objects is None:
        return None
    learned = ~objects.crowd
    if objects.keypoints is not None:
        learned &= (objects.keypoints[..., 2] > 0).any(axis=1)
    held = set(objects.split[learned].tolist())
    empty = [name for name in measured.counts if name not in held]
    if not empty:
        return None
    rows = np.flatnonzero(np.isin(measured.split, empty))
    return Observation(
        "fail",
        "Each split must have objects, else nothing is learned or measured there. Of the "
        f"{len(rows)} images of {' and '.join(empty)} none has one; crowds do not count, nor "
        "objects without a labelled keypoint where these are learned. Add images with objects, or "
        "leave the split out and one is made.",
        len(rows),
        rows[:EXAMPLES],
        acceptable=False,
    )


def objects_clipped(measured: Measurements) -> Observation | None:
    """Boxes that reach out of their image: often they are not in the format that was read."""
    if measured.objects is None:
        return None
    total, clipped = len(measured.objects.classes), measured.objects_clipped
    share = clipped / max(total, 1)
    if share < _MANY_CLIPPED:
        return None
    return Observation(
        "fail" if share > _MAX_CLIPPED else "warn",
        f"Boxes must lie within their image. {clipped} of {total} reach out of it and were clipped "
        f"(above {_MAX_CLIPPED:.0%} training stops). Check whether they are corners where width "
        "and height are meant, or of images of another size.",
        clipped,
    )


def objects_left_out(measured: Measurements) -> Observation | None:
    """Objects that import left out of images that it kept: there they are background."""
    total = sum(measured.objects_left_out.values())
    if measured.objects is None or not total:
        return None
    share = total / (total + len(measured.objects.classes))
    reasons = ", ".join(f"{count} {code}" for code, count in measured.objects_left_out.items())
    return Observation(
        "fail" if share > _MAX_LEFT_OUT else "warn",
        f"Objects left out: {reasons} ({share:.1%} of all; above {_MAX_LEFT_OUT:.0%} training "
        "stops). Where they are, the model learns that nothing is there. Correct them, or remove "
        "their images.",
        total,
    )


def more_objects_than_found(measured: Measurements) -> Observation | None:
    """Images that show more objects than a model returns."""
    objects = measured.objects
    if objects is None:
        return None
    counts = np.bincount(objects.image[~objects.crowd], minlength=len(measured.split))
    learned = np.bincount(objects.image[objects.split == "train"])
    most = num_detections(int(learned.max(initial=0)))
    rows = np.flatnonzero(counts > most)
    if not len(rows):
        return None
    beyond = int((counts[rows] - most).sum())
    return Observation(
        "warn",
        f"A model returns at most {most:,} objects of an image. {len(rows)} images have "
        f"more, up to {counts.max()}: {beyond:,} objects cannot be found. Cut these images into "
        "parts, and those of the test split above all.",
        len(rows),
        rows[:EXAMPLES],
    )


def objects_of_two_classes(measured: Measurements) -> Observation | None:
    """Objects that another one of another class covers almost wholly."""
    return _same_place(
        measured,
        same_class=False,
        message="Objects in one place should be of one class, unless one is a part of the other",
    )


def objects_twice(measured: Measurements) -> Observation | None:
    """Objects that another one of the same class covers almost wholly."""
    return _same_place(
        measured,
        same_class=True,
        message="An object should be labelled once: the second one is never found",
    )


def _same_place(measured: Measurements, *, same_class: bool, message: str) -> Observation | None:
    objects = measured.objects
    if objects is None:
        return None
    first, second = overlapping_pairs(objects, _SAME_PLACE).T
    chosen = (objects.classes[first] == objects.classes[second]) == same_class
    first, second = first[chosen], second[chosen]
    if not len(first):
        return None
    rows = np.unique(objects.image[first])
    names = [
        f"{measured.classes[a]} and {measured.classes[b]}"
        for a, b in np.unique(
            np.sort(np.stack([objects.classes[first], objects.classes[second]], axis=1)), axis=0
        )[:3].tolist()
    ]
    pairs = (
        "1 pair of boxes overlaps" if len(first) == 1 else f"{len(first)} pairs of boxes overlap"
    )
    images = "1 image" if len(rows) == 1 else f"{len(rows)} images"
    return Observation(
        "warn",
        f"{message}. {pairs} by {_SAME_PLACE:.0%} or more, in {images}: {', '.join(names)}. Look "
        "at them and remove one of each.",
        len(first),
        rows[:EXAMPLES],
    )


def tiny_objects(measured: Measurements) -> Observation | None:
    """Objects of so few pixels that they are slips of the hand."""
    objects = measured.objects
    if objects is None:
        return None
    tiny = np.flatnonzero((objects.areas < _TINY_AREA) & ~objects.crowd)
    if not len(tiny):
        return None
    rows = np.unique(objects.image[tiny])
    return Observation(
        "warn",
        f"An object should have at least {_TINY_AREA:.0f} pixels. {len(tiny)} of "
        f"{len(objects.areas)} have fewer, in {len(rows)} images. Remove those that are slips of "
        "the hand.",
        len(tiny),
        rows[:EXAMPLES],
    )
