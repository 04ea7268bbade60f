"""What explains the metrics of keypoints: those of boxes, and every keypoint by itself.

Shapes: N test images, D detections, M objects of an image at most, K keypoints.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from kfp_vision.components.shared.datasets.drawings import draw_points, found_points
from kfp_vision.components.shared.datasets.labelled import LabelledImages
from kfp_vision.components.shared.tasks.box_evidence import (
    LEAST_KEPT,
    BoxEvidence,
    or_none,
)
from kfp_vision.components.shared.tasks.protocol import Records
from kfp_vision.components.shared.tasks.records import join_records

__all__ = ["NEAR", "KeypointEvidence"]

# A keypoint is right when it is nearer than this share of the diagonal of the image.
NEAR = 0.05


class KeypointEvidence(BoxEvidence):
    """Takes the test images batch by batch and keeps their records and what was found."""

    measure = "pck"

    def __init__(
        self,
        classes: Sequence[str],
        names: Sequence[str],
        test: LabelledImages,
        num_shown: int,
        least_score: float,
    ) -> None:
        """Knows nothing yet.

        Args:
            classes: Names of the classes.
            names: K names.
            test: The images.
            num_shown: Best and worst images at most, half of each.
            least_score: Objects below are not drawn.
        """
        super().__init__(classes, test, num_shown, least_score)
        self._names = list(names)
        # What is labelled in every image and what was found, for `draw_points`.
        self._poses: list[tuple[np.ndarray, np.ndarray]] = []
        self._points: list[list[float]] = []

    def add(
        self, targets: Mapping[str, Any], found: Mapping[str, np.ndarray], record: Records
    ) -> None:
        """Adds the next images: their targets, what was found in them and their records."""
        super().add(targets, found, record)
        pixels = np.asarray(targets["image_size"]) / np.asarray(targets["input_size"])
        truth, there = np.asarray(targets["keypoints"]), np.asarray(targets["box_classes"]) >= 0
        for place, scores in enumerate(found["scores"]):
            points = found["keypoints"][place]
            drawn = found_points(points[scores >= self._least_score])
            self._poses.append((truth[place][there[place]], drawn))
            stored = points * [*pixels[place][::-1], 1.0]
            stored = np.concatenate([np.round(stored[..., :2], 1), points[..., 2:]], -1)
            self._points.append(stored[scores >= LEAST_KEPT].ravel().tolist())

    def table(self) -> pa.Table:
        """Returns what that of boxes has, and `keypoints`: x, y and score, one after the other."""
        return super().table().append_column("keypoints", [self._points])

    def fields(self) -> dict[str, Any]:
        """Returns the fields of `Evaluation`."""
        fields, records = super().fields(), join_records(self._records)
        # COCO has no small objects for keypoints.
        fields["per_class"] = [
            {name: value for name, value in row.items() if name != "ap_small"}
            for row in fields["per_class"]
        ]
        rows = []
        for place, name in enumerate(self._names):
            labelled = records["labelled"][..., place]
            held = records["distance"][..., place][labelled]
            rows.append(
                {
                    "keypoint": name,
                    "count": len(held),
                    "pck": or_none((held < NEAR).mean()) if len(held) else None,
                    "median_distance": or_none(np.median(held)) if len(held) else None,
                }
            )
        return {**fields, "per_keypoint": rows}

    def _image_order(self, records: Records) -> tuple[np.ndarray, np.ndarray]:
        """Returns the PCK of every image, and the images from the worst to the best."""
        labelled, distance = records["labelled"], records["distance"]
        count = labelled.sum(axis=(1, 2))
        right = (labelled & (distance < NEAR)).sum(axis=(1, 2))
        scores = np.where(count > 0, right / np.maximum(count, 1), np.nan)
        means = np.where(labelled, distance, 0.0).sum(axis=(1, 2)) / np.maximum(count, 1)
        return scores, np.lexsort((-means, scores))

    def _draw(self, row: int, pixels: np.ndarray) -> tuple[Image.Image, Image.Image]:
        """Returns an image with what is there, and with what was found."""
        images = super()._draw(row, pixels)
        for image, points in zip(images, self._poses[row], strict=True):
            draw_points(image, points)
        return images
