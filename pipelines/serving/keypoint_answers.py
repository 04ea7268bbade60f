"""What a model of keypoints says of an image: objects with keypoints, and a picture of them.

Shapes: as in box_answers.py, and `keypoints` float32 [N, K, 3] as (x, y, score).
"""

import csv
import io
from collections.abc import Mapping
from typing import Any

import numpy as np

from kfp_vision.components.shared.artifacts.model_card import ModelCard
from kfp_vision.components.shared.datasets.captions import with_legend
from kfp_vision.components.shared.datasets.drawings import draw_points, found_points
from kfp_vision.pipelines.serving.box_answers import (
    boxes_drawn,
    describe_objects,
    input_pixel,
    is_shown,
    list_objects,
    picture_file,
)

__all__ = ["describe_keypoints", "keypoint_files"]


def describe_keypoints(
    card: ModelCard, found: Mapping[str, np.ndarray], size: tuple[int, int]
) -> dict[str, Any]:
    """Returns what boxes have; the objects have keypoints, name -> [x, y, score].

    Args:
        card: Of the model.
        found: `boxes`, `scores`, `classes` and `keypoints` of an image.
        size: (height, width) of the image, in whose pixels boxes and keypoints are.
    """
    return describe_objects(_objects(card, found, size))


def _objects(
    card: ModelCard, found: Mapping[str, np.ndarray], size: tuple[int, int]
) -> list[dict[str, Any]]:
    inside = np.clip(found["keypoints"][..., :2] * input_pixel(card, size), 0, size[::-1])
    places = np.round(inside, 1)
    scores = np.round(found["keypoints"][..., 2:].astype(float), 4)
    points = np.concatenate([places.astype(float), scores], -1)[is_shown(card, found)]
    return [
        {**each, "keypoints": dict(zip(card.keypoint_names, held, strict=True))}
        for each, held in zip(list_objects(card, found, size), points.tolist(), strict=True)
    ]


def keypoint_files(
    card: ModelCard, photo: np.ndarray, size: tuple[int, int], found: Mapping[str, np.ndarray]
) -> dict[str, bytes]:
    """Returns folder and suffix -> content: a picture, and a CSV with a row a keypoint.

    Args:
        card: Of the model.
        photo: The image, which is drawn into.
        size: As of `describe_keypoints`.
        found: The same.
    """
    image = boxes_drawn(card, photo, found)
    points = found["keypoints"][is_shown(card, found)]
    places = points[..., :2] * input_pixel(card, photo.shape[:2])
    draw_points(image, found_points(np.concatenate([places, points[..., 2:]], -1)))
    if len(points):
        # The colours of points are those of their positions, see `draw_points`.
        image = with_legend(image, list(enumerate(card.keypoint_names, start=1)))
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(["object", "class", "object_score", "keypoint", "x", "y", "score"])
    for number, each in enumerate(_objects(card, found, size)):
        writer.writerows(
            [number, each["class"], each["score"], name, *held]
            for name, held in each["keypoints"].items()
        )
    return {**picture_file(image), "keypoints/*.csv": table.getvalue().encode()}
