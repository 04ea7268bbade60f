"""Small pictures of images with what is labelled in them drawn: boxes, masks and keypoints.

Each column of the store has one drawer in `DRAWERS`; a row is what the columns of a task hold of
one image, see `shared/tasks/objects.py`.
"""

import io
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from PIL import Image

from kfp_vision.components.shared.datasets.drawings import (
    MASK_FADE,
    draw_boxes,
    draw_masks,
    draw_points,
    draw_segments,
    rgb_image,
)
from kfp_vision.components.shared.datasets.thumbnails import encode_picture

__all__ = ["DRAWERS", "draw_labels", "labelled_thumbnail"]

# Larger than thumbnails without labels: lines of one pixel must leave something of the image.
_SIDE = 160


def _draw_mask(image: Image.Image, row: Mapping[str, Any], scale: tuple[float, float]) -> None:
    """Blends the classes of all pixels into the image; 255 is none."""
    with Image.open(io.BytesIO(row["mask"])) as file:
        mask = np.asarray(file.resize(image.size, Image.Resampling.NEAREST), np.uint8)
    image.paste(Image.fromarray(draw_masks(np.asarray(image), mask, 1 - MASK_FADE)))


def _draw_segments(image: Image.Image, row: Mapping[str, Any], scale: tuple[float, float]) -> None:
    """Blends masks into the image, each in the colour of its class, with a line around it."""
    size = [round(image.height / scale[1]), round(image.width / scale[0])]
    codes = [{"size": size, "counts": counts} for counts in row["segments"]]
    draw_segments(image, codes, np.asarray(row["box_classes"], int))


def _draw_boxes(image: Image.Image, row: Mapping[str, Any], scale: tuple[float, float]) -> None:
    if row.get("segments"):
        return
    boxes = np.asarray(row["boxes"], np.float32).reshape(-1, 4) * np.tile(scale, 2)
    draw_boxes(image, boxes, np.asarray(row["box_classes"], int))


def _draw_keypoints(image: Image.Image, row: Mapping[str, Any], scale: tuple[float, float]) -> None:
    """Draws labelled points, each in the colour of its position; hidden ones as circles."""
    if not row["box_classes"]:
        return
    points = np.asarray(row["keypoints"], np.float32).reshape(len(row["box_classes"]), -1, 3)
    draw_points(image, points * np.array([*scale, 1.0]))


# Column -> what draws it into an RGB image, given the row and the scale of (x, y).
DRAWERS: dict[str, Callable[[Image.Image, Mapping[str, Any], tuple[float, float]], None]] = {
    "mask": _draw_mask,
    "segments": _draw_segments,
    "boxes": _draw_boxes,
    "keypoints": _draw_keypoints,
}


def draw_labels(pixels: np.ndarray, row: Mapping[str, Any], side: int = _SIDE) -> Image.Image:
    """Returns an image of at most `side` pixels a side with its labels drawn.

    Args:
        pixels: uint8 [height, width, channels], 1 or 3 channels.
        row: Columns of the task, in pixels of the image; what has no drawer is not drawn.
        side: In pixels.
    """
    image = rgb_image(pixels)
    image.thumbnail((side, side), Image.Resampling.BOX)
    scale = image.width / pixels.shape[1], image.height / pixels.shape[0]
    for column, draw in DRAWERS.items():
        if row.get(column) is not None:
            draw(image, row, scale)
    return image


def labelled_thumbnail(pixels: np.ndarray, row: Mapping[str, Any]) -> str:
    """Returns the data URI of what `draw_labels` returns."""
    return encode_picture(draw_labels(pixels, row))
