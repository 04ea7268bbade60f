"""Outlines of objects -> masks in the compressed run-length code of COCO.

The code counts pixels column by column, runs of 0 and 1 in turn. pycocotools reads it without a
check and writes beyond its memory where counts do not fit the image: every code is checked here.
"""

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from kfp_vision.components.data_import.objects.annotations import RunLengths
from kfp_vision.components.shared.tasks.segments import run_lengths

__all__ = ["encode_outline", "mask_extent", "pack_counts"]

# Corners further out, in sizes of the image, are pulled in: rasters are as long as their edges.
_FURTHEST = 4.0


def pack_counts(counts: object, height: int, width: int) -> RunLengths:
    """Returns the mask of run lengths, compressed or a list; with no code where they do not fit."""
    try:
        packed = counts.encode("ascii") if isinstance(counts, str) else counts
        lengths: list[int] = (
            run_lengths(packed).tolist() if isinstance(packed, bytes) else [*map(int, packed)]  # type: ignore[call-overload]
        )
        is_whole = 0 < sum(lengths) == height * width <= (Image.MAX_IMAGE_PIXELS or 0)
        if min(lengths, default=-1) < 0 or not is_whole or min(height, width) < 1:
            return RunLengths(height, width, b"")
        if not isinstance(packed, bytes):
            plain = {"size": [height, width], "counts": lengths}
            packed = coco_mask.frPyObjects(plain, height, width)["counts"]
    except (TypeError, ValueError, OverflowError):
        return RunLengths(height, width, b"")
    return RunLengths(height, width, packed)


def encode_outline(
    outline: tuple[bytes, ...] | RunLengths, scale: tuple[float, float], height: int, width: int
) -> bytes | None:
    """Returns the code of the mask of an outline; None where the outline cannot be read.

    Args:
        outline: Polygons, or a mask.
        scale: (vertical, horizontal) from the coordinates of polygons to pixels.
        height: Of the image as it is decoded, in pixels.
        width: The same.
    """
    if isinstance(outline, RunLengths):
        return _fit(outline, height, width)
    polygons = [np.frombuffer(each, np.float32).astype(np.float64) for each in outline]
    polygons = [each * np.tile(scale[::-1], len(each) // 2) for each in polygons]
    if not polygons or not all(np.isfinite(each).all() and len(each) >= 6 for each in polygons):
        return None
    limits = np.array([width, height]) * _FURTHEST
    clipped = [np.clip(each.reshape(-1, 2), -limits, limits).ravel().tolist() for each in polygons]
    parts = coco_mask.frPyObjects(clipped, height, width)
    counts: bytes = coco_mask.merge(parts)["counts"]
    return counts


def _fit(mask: RunLengths, height: int, width: int) -> bytes | None:
    """Returns the code of a mask at the size of the image; None where it has another shape."""
    if not mask.counts:
        return None
    if (mask.height, mask.width) == (height, width):
        return mask.counts
    if abs(mask.height * width / mask.width - height) > 1:
        return None
    pixels = coco_mask.decode({"size": [mask.height, mask.width], "counts": mask.counts})
    resized = Image.fromarray(pixels).resize((width, height), Image.Resampling.NEAREST)
    counts: bytes = coco_mask.encode(np.asfortranarray(resized))["counts"]
    return counts


def mask_extent(counts: bytes, height: int, width: int) -> tuple[float, float, float, float] | None:
    """Returns left, top, right and bottom of what a mask covers; None where it is empty."""
    code = {"size": [height, width], "counts": counts}
    if not coco_mask.area(code):
        return None
    left, top, wide, high = coco_mask.toBbox(code).tolist()
    return left, top, left + wide, top + high
