"""What a detection says of an image: its objects with their boxes, and a picture of them.

Shapes: pixels uint8 [H, W, K] at the size of the model; `boxes` float32 [N, 4] in pixels of that
size, `scores` [N] and `classes` [N] as `model.json` describes them.
"""

import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from kfp_vision.components.shared.artifacts.model_card import ModelCard
from kfp_vision.components.shared.datasets.drawings import draw_boxes, rgb_image

__all__ = ["box_columns", "box_files", "describe_boxes"]

# Objects below are not named: most detections are guesses that no one would draw.
_LEAST_SCORE = 0.3
_QUALITY = 85


def box_columns(card: ModelCard) -> dict[str, type]:
    """Returns the columns of a row, but for `path` and `error`, and their types."""
    return {"predicted": str, "confidence": float, "objects": str}


def describe_boxes(
    card: ModelCard, found: Mapping[str, np.ndarray], size: tuple[int, int]
) -> dict[str, Any]:
    """Returns the classes that are there, the highest score, and the objects as JSON.

    Args:
        card: Of the model.
        found: `boxes`, `scores` and `classes` of an image.
        size: (height, width) of the image, in whose pixels the boxes are.
    """
    shown = found["scores"] >= _LEAST_SCORE
    classes, scores = found["classes"][shown].astype(int), found["scores"][shown]
    scale = np.array([size[1], size[0]]) / [card.image_size[1], card.image_size[0]]
    boxes = np.round(found["boxes"][shown] * np.tile(scale, 2), 1)
    objects = [
        {"class": card.classes[label], "score": round(float(score), 4), "box": box}
        for label, score, box in zip(classes, scores, boxes.tolist(), strict=True)
    ]
    return {
        "predicted": "|".join(card.classes[label] for label in np.unique(classes)),
        "confidence": round(float(scores.max()), 6) if len(scores) else "",
        "objects": json.dumps(objects, ensure_ascii=False),
    }


def box_files(
    card: ModelCard, pixels: np.ndarray, size: tuple[int, int], found: Mapping[str, np.ndarray]
) -> dict[str, bytes]:
    """Returns folder and suffix -> content: the image with the boxes of its objects.

    Args:
        card: Of the model.
        pixels: The image as the model saw it.
        size: (height, width) of the image, which is that of the picture.
        found: As of `describe_boxes`.
    """
    shown = found["scores"] >= _LEAST_SCORE
    scale = np.array([size[1], size[0]] * 2) / np.array([pixels.shape[1], pixels.shape[0]] * 2)
    large = rgb_image(pixels).resize(size[::-1], Image.Resampling.BICUBIC)
    draw_boxes(large, found["boxes"][shown] * scale, found["classes"][shown].astype(int))
    file = io.BytesIO()
    large.save(file, "JPEG", quality=_QUALITY)
    return {"pictures/*.jpg": file.getvalue()}
