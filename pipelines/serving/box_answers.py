"""What a detection says of an image: its objects with their boxes, and a picture of them.

Shapes: photo uint8 [H, W, 1 or 3], of which a side may be less than that of the image; `boxes`
float32 [N, 4] in pixels of the model's input, `scores` [N] and `classes` [N] as `model.json`
describes them.
"""

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from kfp_vision.components.shared.artifacts.model_card import ModelCard
from kfp_vision.components.shared.datasets.captions import draw_names
from kfp_vision.components.shared.datasets.drawings import draw_boxes, rgb_image

__all__ = [
    "box_columns",
    "box_files",
    "boxes_drawn",
    "describe_boxes",
    "describe_objects",
    "input_pixel",
    "is_shown",
    "list_objects",
    "picture_file",
]

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
    return describe_objects(list_objects(card, found, size))


def list_objects(
    card: ModelCard, found: Mapping[str, np.ndarray], size: tuple[int, int]
) -> list[dict[str, Any]]:
    """Returns class, score and box of what is sure enough to be named.

    Args:
        card: As of `describe_boxes`.
        found: The same.
        size: The same.
    """
    shown = is_shown(card, found)
    # The grid of the model may reach a little beyond the image.
    inside = np.clip(found["boxes"][shown] * np.tile(input_pixel(card, size), 2), 0, size[::-1] * 2)
    boxes = np.round(inside, 1)
    return [
        {"class": card.classes[label], "score": round(float(score), 4), "box": box}
        for label, score, box in zip(
            found["classes"][shown].astype(int), found["scores"][shown], boxes.tolist(), strict=True
        )
    ]


def is_shown(card: ModelCard, found: Mapping[str, np.ndarray]) -> np.ndarray:
    """Returns which objects of an image are named, bool [N]: most others are guesses."""
    shown: np.ndarray = found["scores"] >= (card.least_score or 0.0)
    return shown


def input_pixel(card: ModelCard, size: tuple[int, int]) -> np.ndarray:
    """Returns (width, height) of a pixel of the model's input in those of the image."""
    return np.array([size[1], size[0]]) / [card.image_size[1], card.image_size[0]]


def describe_objects(objects: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns the columns of `box_columns` from what `list_objects` returns."""
    scores = [each["score"] for each in objects]
    return {
        "predicted": "|".join(sorted({each["class"] for each in objects})),
        "confidence": max(scores, default=""),
        "objects": json.dumps(objects, ensure_ascii=False),
    }


def box_files(
    card: ModelCard, photo: np.ndarray, size: tuple[int, int], found: Mapping[str, np.ndarray]
) -> dict[str, bytes]:
    """Returns folder and suffix -> content: the image with the boxes of its objects.

    Args:
        card: Of the model.
        photo: The image, which is drawn into.
        size: As of `describe_boxes`.
        found: The same.
    """
    return picture_file(boxes_drawn(card, photo, found))


def boxes_drawn(card: ModelCard, photo: np.ndarray, found: Mapping[str, np.ndarray]) -> Image.Image:
    """Returns the image with boxes, classes and scores; arguments as of `box_files`."""
    shown, drawn = is_shown(card, found), rgb_image(photo)
    boxes = found["boxes"][shown] * np.tile(input_pixel(card, photo.shape[:2]), 2)
    labels = found["classes"][shown].astype(int)
    draw_boxes(drawn, boxes, labels)
    names = [
        f"{card.classes[label]} {score:.2f}"
        for label, score in zip(labels, found["scores"][shown], strict=True)
    ]
    draw_names(drawn, boxes, labels, names)
    return drawn


def picture_file(image: Image.Image) -> dict[str, bytes]:
    """Returns folder and suffix -> content of a picture."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=_QUALITY)
    return {"pictures/*.jpg": file.getvalue()}
