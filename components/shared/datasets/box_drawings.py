"""Pictures with boxes drawn into them.

Shapes: pixels uint8 [H, W, C] with 1 or 3 channels, pictures uint8 [H, W, 3].
"""

import numpy as np
from PIL import Image, ImageDraw

from kfp_vision.components.shared.datasets.drawings import class_colour

__all__ = ["draw_boxes"]


def draw_boxes(pixels: np.ndarray, boxes: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns the image with boxes in the colours of their classes.

    Args:
        pixels: The image.
        boxes: [M, 4] as (left, top, right, bottom), pixels.
        labels: Their classes, int [M].
    """
    image = Image.fromarray(np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3))))
    canvas, limits = ImageDraw.Draw(image), np.array([image.width, image.height] * 2) - 1
    width = max(1, round(min(image.size) / 200))
    for box, label in zip(np.clip(boxes, 0, limits).tolist(), labels.tolist(), strict=True):
        canvas.rectangle(box, outline=class_colour(label), width=width)
    return np.asarray(image)
