"""What an instance segmentation says of an image: objects with masks, and a picture of them.

Shapes: as in box_answers.py, and `masks` float32 [N, S, S] of the windows of the boxes.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from kfp_vision.components.shared.artifacts.model_card import ModelCard
from kfp_vision.components.shared.datasets.captions import with_legend
from kfp_vision.components.shared.datasets.drawings import draw_segments, rgb_image
from kfp_vision.components.shared.tasks.segments import paste_masks
from kfp_vision.pipelines.serving.box_answers import (
    describe_objects,
    is_shown,
    list_objects,
    picture_file,
)

__all__ = ["describe_segments", "segment_files"]


def describe_segments(
    card: ModelCard, found: Mapping[str, np.ndarray], size: tuple[int, int]
) -> dict[str, Any]:
    """Returns what boxes have; the objects have `segmentation`, a run-length code as COCO has it.

    Args:
        card: Of the model.
        found: `boxes`, `scores`, `classes` and `masks` of an image.
        size: (height, width) of the image, in whose pixels boxes and masks are.
    """
    codes = _codes(card, found, size)
    objects = [
        {**each, "segmentation": {**code, "counts": code["counts"].decode("ascii")}}
        for each, code in zip(list_objects(card, found, size), codes, strict=True)
    ]
    return describe_objects(objects)


def _codes(
    card: ModelCard, found: Mapping[str, np.ndarray], size: tuple[int, int]
) -> list[dict[str, Any]]:
    boxes, masks = (found[name][is_shown(card, found)] for name in ("boxes", "masks"))
    return paste_masks(boxes, masks, np.array(card.image_size), np.array(size))


def segment_files(
    card: ModelCard, photo: np.ndarray, size: tuple[int, int], found: Mapping[str, np.ndarray]
) -> dict[str, bytes]:
    """Returns folder and suffix -> content: the image with the masks and a legend.

    Args:
        card: Of the model.
        photo: The image, which is drawn into.
        size: As of `describe_segments`.
        found: The same.
    """
    drawn = rgb_image(photo)
    labels = found["classes"][is_shown(card, found)].astype(int)
    draw_segments(drawn, _codes(card, found, photo.shape[:2]), labels)
    shown = [(label, card.classes[label]) for label in np.unique(labels).tolist()]
    return picture_file(with_legend(drawn, shown))
