"""Annotations of a photograph as its file holds it -> of the photograph as EXIF says it is upright.

Only orientations that swap the sides are here: of the others the size does not tell which is meant.
"""

import dataclasses

import numpy as np
from pycocotools import mask as coco_mask

from kfp_vision.components.data_import.objects.annotations import (
    AnnotatedImage,
    Annotation,
    RunLengths,
)

__all__ = ["is_as_stored", "is_taken_as_upright", "turn_annotations", "turn_pixels"]

# EXIF orientation -> whether upright x runs against stored y, and upright y against stored x.
_AGAINST = {5: (False, False), 6: (True, False), 7: (True, True), 8: (False, True)}


def is_as_stored(
    size: tuple[float, float] | None, height: int, width: int, orientation: int
) -> bool:
    """Returns whether a size is that of the photograph before it was turned, and not after.

    Args:
        size: Height and width that annotations are for; None where they are not listed.
        height: Of the upright photograph.
        width: The same.
        orientation: Of its EXIF data, from 1 to 8.
    """
    return orientation in _AGAINST and height != width and size == (width, height)


def is_taken_as_upright(
    size: tuple[float, float] | None, height: int, width: int, orientation: int
) -> bool:
    """Returns whether a photograph is turned, and no size tells what its annotations are for.

    The arguments are those of `is_as_stored`, which comes first.
    """
    is_told = orientation in _AGAINST and size is not None and height != width
    return orientation != 1 and not is_told


def turn_pixels(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Returns pixels [H, W] upright, [W, H], for an orientation that swaps the sides."""
    against_y, against_x = _AGAINST[orientation]
    turned = pixels.T
    turned = turned[:, ::-1] if against_y else turned
    return turned[::-1] if against_x else turned


def turn_annotations(image: AnnotatedImage, orientation: int) -> AnnotatedImage:
    """Returns an image whose size is listed with boxes, outlines and keypoints upright."""
    if image.size is None:
        raise ValueError(
            f"Only annotations for a known size can be turned. Received: {image.path!r} without."
        )
    height, width = image.size
    turned = [_turn(each, height, width, orientation) for each in image.annotations]
    return dataclasses.replace(image, annotations=turned, size=(width, height))


def _turn(annotation: Annotation, height: float, width: float, orientation: int) -> Annotation:
    against_y, against_x = _AGAINST[orientation]
    box, outline, keypoints = annotation.box, annotation.outline, annotation.keypoints
    if box is not None:
        left, top, right, bottom = box
        new_left, new_right = (height - bottom, height - top) if against_y else (top, bottom)
        new_top, new_bottom = (width - right, width - left) if against_x else (left, right)
        box = new_left, new_top, new_right, new_bottom
    if isinstance(outline, RunLengths):
        outline = _turn_mask(outline, orientation)
    elif outline is not None:
        outline = tuple(_turn_points(each, 2, height, width, orientation) for each in outline)
    if keypoints is not None and len(keypoints) % 12 == 0:
        keypoints = _turn_points(keypoints, 3, height, width, orientation)
    return dataclasses.replace(annotation, box=box, outline=outline, keypoints=keypoints)


def _turn_mask(mask: RunLengths, orientation: int) -> RunLengths:
    if not mask.counts:
        return mask
    pixels = coco_mask.decode({"size": [mask.height, mask.width], "counts": mask.counts})
    turned = coco_mask.encode(np.asfortranarray(turn_pixels(pixels, orientation)))
    return RunLengths(mask.width, mask.height, turned["counts"])


def _turn_points(
    values: bytes, numbers: int, height: float, width: float, orientation: int
) -> bytes:
    """Returns float32 points turned; each has `numbers` of which the first are x and y."""
    against_y, against_x = _AGAINST[orientation]
    points = np.frombuffer(values, np.float32).reshape(-1, numbers)
    x, y = points[:, 0], points[:, 1]
    turned = points.copy()
    turned[:, 0] = height - y if against_y else y
    turned[:, 1] = width - x if against_x else x
    return turned.tobytes()
