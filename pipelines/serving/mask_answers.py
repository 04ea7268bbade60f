"""What a segmentation says of an image: the share of each class, a mask, and a picture of both.

Shapes: photo uint8 [H, W, 1 or 3], of which a side may be less than that of the image;
probabilities float32 [h, w, C] at the size of the model.
"""

import io
from typing import Any

import numpy as np
from PIL import Image

from kfp_vision.components.shared.artifacts.model_card import ModelCard
from kfp_vision.components.shared.datasets.captions import with_legend
from kfp_vision.components.shared.datasets.drawings import draw_masks
from kfp_vision.components.shared.tasks.masks import likeliest_classes
from kfp_vision.pipelines.serving.box_answers import picture_file

__all__ = ["describe_mask", "mask_columns", "mask_files"]

_OPACITY = 0.6


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
    card: ModelCard, photo: np.ndarray, size: tuple[int, int], probabilities: np.ndarray
) -> dict[str, bytes]:
    """Returns folder and suffix -> content: a PNG of class numbers, and the image with its classes.

    Args:
        card: Of the model.
        photo: The image, which is drawn into.
        size: (height, width) of the image, which is that of the mask.
        probabilities: Of each pixel.
    """
    shown = likeliest_classes(probabilities, photo.shape[:2])
    names = [(label, card.classes[label]) for label in np.unique(shown).tolist()]
    drawn = with_legend(Image.fromarray(draw_masks(photo, shown, _OPACITY)), names)
    file = io.BytesIO()
    Image.fromarray(likeliest_classes(probabilities, size)).save(file, "PNG")
    return {"masks/*.png": file.getvalue(), **picture_file(drawn)}
