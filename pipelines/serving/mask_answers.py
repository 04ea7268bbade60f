"""What a segmentation says of an image: the share of each class, a mask, and a picture of both.

Shapes: pixels uint8 [H, W, K] and probabilities float32 [H, W, C], at the size of the model.
"""

import io
from typing import Any

import numpy as np
from PIL import Image

from kfp_vision.components.shared.artifacts.model_card import ModelCard
from kfp_vision.components.shared.datasets.drawings import draw_masks, rgb_image

__all__ = ["describe_mask", "mask_columns", "mask_files"]

_OPACITY, _QUALITY = 0.6, 85


def mask_columns(card: ModelCard) -> dict[str, type]:
    """Returns the columns of a row, but for `path` and `error`, and their types."""
    shares: dict[str, type] = {f"share_{name}": float for name in card.classes}
    return {"predicted": str, "confidence": float, **shares}


def describe_mask(card: ModelCard, probabilities: np.ndarray) -> dict[str, Any]:
    """Returns the classes that are there, the mean confidence and the share of each class."""
    chosen = probabilities.argmax(-1)
    shares = np.bincount(chosen.ravel(), minlength=len(card.classes)) / chosen.size
    return {
        "predicted": "|".join(card.classes[index] for index in np.flatnonzero(shares)),
        "confidence": round(float(probabilities.max(-1).mean()), 6),
        **{
            f"share_{name}": round(float(share), 6)
            for name, share in zip(card.classes, shares, strict=True)
        },
    }


def mask_files(
    card: ModelCard, pixels: np.ndarray, size: tuple[int, int], probabilities: np.ndarray
) -> dict[str, bytes]:
    """Returns folder and suffix -> content: a PNG of class numbers, and the image with its classes.

    Args:
        card: Of the model.
        pixels: The image as the model saw it.
        size: (height, width) of the image, which is that of mask and picture.
        probabilities: Of each pixel.
    """
    mask = probabilities.argmax(-1).astype(np.uint8)
    large = Image.fromarray(mask).resize(size[::-1], Image.Resampling.NEAREST)
    photo = rgb_image(pixels).resize(size[::-1], Image.Resampling.BICUBIC)
    drawn = Image.fromarray(draw_masks(np.asarray(photo), np.asarray(large), _OPACITY))
    written = {}
    for name, image, kind in (("masks/*.png", large, "PNG"), ("pictures/*.jpg", drawn, "JPEG")):
        file = io.BytesIO()
        image.save(file, kind, quality=_QUALITY)
        written[name] = file.getvalue()
    return written
