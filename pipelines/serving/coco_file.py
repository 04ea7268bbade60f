"""The objects of all images in one file in the format of COCO, which annotation tools open.

Its `annotations` have a `score`: pycocotools takes them as results. Images and categories are
counted anew, from 1: names say which they are.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from kfp_vision.components.shared.artifacts.model_card import ModelCard
from kfp_vision.components.shared.datasets.drawings import found_points

__all__ = ["CocoFile"]


class CocoFile:
    """Collects images with their objects."""

    def __init__(self, card: ModelCard) -> None:
        """Has no image yet; the categories are the classes of the model, counted from 1."""
        self._numbers = {name: number for number, name in enumerate(card.classes, 1)}
        self._keypoint_names = list(card.keypoint_names)
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []

    def add(self, path: str, size: tuple[int, int], objects: Sequence[Mapping[str, Any]]) -> None:
        """Adds an image.

        Args:
            path: Of the image.
            size: (height, width) in pixels.
            objects: As the column `objects` of a row lists them.
        """
        number = len(self._images) + 1
        height, width = size
        self._images.append({"id": number, "file_name": path, "height": height, "width": width})
        for each in objects:
            left, top, right, bottom = each["box"]
            wide, high = round(right - left, 1), round(bottom - top, 1)
            annotation: dict[str, Any] = {
                "id": len(self._annotations) + 1,
                "image_id": number,
                "category_id": self._numbers[each["class"]],
                "bbox": [left, top, wide, high],
                "area": round(wide * high, 1),
                "iscrowd": 0,
                "score": each["score"],
            }
            if code := each.get("segmentation"):
                annotation |= {"area": int(coco_mask.area(code)), "segmentation": code}
            if points := each.get("keypoints"):
                # Visibility in COCO: 2 is seen, 1 is not, as the guess of a model.
                marked = found_points(np.array(list(points.values()), np.float64))
                flat = [value for x, y, mark in marked.tolist() for value in (x, y, int(mark))]
                annotation |= {"keypoints": flat, "num_keypoints": len(points)}
            self._annotations.append(annotation)

    def write(self, path: Path) -> None:
        """Writes the file, and the folder that it is in."""
        points = {"keypoints": self._keypoint_names} if self._keypoint_names else {}
        document = {
            "images": self._images,
            "annotations": self._annotations,
            "categories": [
                {"id": at, "name": name, **points} for name, at in self._numbers.items()
            ],
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")
