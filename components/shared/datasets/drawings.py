"""Pictures with labels drawn into them.

Shapes: pixels uint8 [H, W, C] with 1 or 3 channels, pictures uint8 [H, W, 3].
"""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter
from pycocotools import mask as coco_mask

from kfp_vision.components.shared.datasets.palette import class_colour

__all__ = [
    "MASK_FADE",
    "found_points",
    "draw_boxes",
    "draw_masks",
    "draw_points",
    "draw_segments",
    "picture",
    "rgb_image",
    "side_by_side",
]

_SIDE, _QUALITY, _GAP = 480, 80, 4
# Of the colour of its class, what a mask lacks within.
MASK_FADE = 0.65
# A keypoint of which the score is below is drawn as a circle: the model guesses.
_SURE = 0.3


def rgb_image(pixels: np.ndarray) -> Image.Image:
    """Returns an image to draw into."""
    return Image.fromarray(np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3))))


def draw_boxes(image: Image.Image, boxes: np.ndarray, labels: np.ndarray) -> None:
    """Draws boxes into an RGB image, in the colours of their classes.

    Args:
        image: Is changed.
        boxes: [M, 4] as (left, top, right, bottom), pixels.
        labels: Their classes, int [M].
    """
    canvas, limits = ImageDraw.Draw(image), np.array([image.width, image.height] * 2) - 1
    width = max(1, round(min(image.size) / 200))
    for box, label in zip(np.clip(boxes, 0, limits).tolist(), labels.tolist(), strict=True):
        canvas.rectangle(box, outline=class_colour(label), width=width)


def found_points(points: np.ndarray) -> np.ndarray:
    """Returns keypoints [..., 3] as (x, y, score) with the marks of `draw_points`."""
    return np.concatenate([points[..., :2], 1.0 + (points[..., 2:] >= _SURE)], -1)


def draw_points(image: Image.Image, points: np.ndarray) -> None:
    """Draws keypoints into an RGB image, each in the colour of its position.

    Args:
        image: Is changed.
        points: [M, K, 3] as (x, y, mark), pixels; the mark is 0 for none, 1 for a circle, 2 for a
            full one: that of a visibility.
    """
    canvas, radius = ImageDraw.Draw(image), max(2, round(min(image.size) / 80))
    for each in points.tolist():
        for place, (x, y, mark) in enumerate(each):
            colour = class_colour(place + 1)
            circle = [x - radius, y - radius, x + radius, y + radius]
            if mark:
                canvas.ellipse(circle, fill=colour if mark > 1 else None, outline=colour)


def draw_segments(
    image: Image.Image, codes: Sequence[Mapping[str, Any]], labels: np.ndarray
) -> None:
    """Blends masks of objects into an RGB image, each in the colour of its class, with an edge.

    Args:
        image: Is changed.
        codes: Their run-length codes, as pycocotools has them, of masks of any size.
        labels: Their classes, int [M].
    """
    for code, label in zip(codes, labels.tolist(), strict=True):
        mask = Image.fromarray(coco_mask.decode(code) * np.uint8(255)).resize(image.size)
        window = mask.getbbox()
        if window is None:
            continue
        # With a pixel of what is around it, where there is one.
        left, top, right, bottom = window
        window = (
            max(0, left - 1),
            max(0, top - 1),
            min(image.width, right + 1),
            min(image.height, bottom + 1),
        )
        mask = mask.crop(window)
        # A full line along the edge: masks that touch are told apart.
        inner = mask.filter(ImageFilter.MinFilter(3)).point(lambda value: value * MASK_FADE)
        image.paste(class_colour(label), window, ImageChops.subtract(mask, inner))


def draw_masks(pixels: np.ndarray, mask: np.ndarray, opacity: float) -> np.ndarray:
    """Returns the image with the classes of a mask in their colours.

    Args:
        pixels: The image.
        mask: uint8 [H, W]; 255 is left as it is.
        opacity: Of the colours, 0 to 1.
    """
    colours = Image.fromarray(mask, "P")
    colours.putpalette([value for label in range(256) for value in class_colour(label)])
    plain = rgb_image(pixels)
    blended = Image.blend(plain, colours.convert("RGB"), opacity)
    blended.paste(plain, mask=Image.fromarray((mask == 255) * np.uint8(255)))
    return np.asarray(blended)


def side_by_side(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Returns pictures of one height beside each other, with a white gap."""
    gap = np.full((pictures[0].shape[0], _GAP, 3), 255, np.uint8)
    parts = [part for each in pictures for part in (gap, each)][1:]
    return np.concatenate(parts, axis=1)


def picture(pixels: np.ndarray) -> str:
    """Returns a data URI of a JPEG of at most 480 pixels a side."""
    image = Image.fromarray(pixels)
    image.thumbnail((_SIDE, _SIDE), Image.Resampling.BOX)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")
