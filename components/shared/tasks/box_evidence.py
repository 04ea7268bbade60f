"""What explains the metrics of a detection: classes, sizes, curves, best and worst images.

Shapes: N test images, C classes, D detections of an image.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from kfp_vision.components.shared.datasets.drawings import (
    draw_boxes,
    picture,
    rgb_image,
    side_by_side,
)
from kfp_vision.components.shared.datasets.labelled import LabelledImages
from kfp_vision.components.shared.metrics.object_precision import AREAS, class_precisions
from kfp_vision.components.shared.tasks.breakdown import MAX_CURVES, thin_curve
from kfp_vision.components.shared.tasks.protocol import Records
from kfp_vision.components.shared.tasks.records import join_records

__all__ = ["LEAST_KEPT", "BoxEvidence", "or_none"]

# Detections below are not in the table.
LEAST_KEPT = 0.05
_MOST_SHOWN = 6
_ALL = list(AREAS).index("all")


class BoxEvidence:
    """Takes the test images batch by batch and keeps their records and what was found."""

    # Of an image.
    measure = "f1"

    def __init__(
        self, classes: Sequence[str], test: LabelledImages, num_shown: int, least_score: float
    ) -> None:
        """Knows nothing yet.

        Args:
            classes: C names.
            test: The images.
            num_shown: Best and worst images at most, half of each.
            least_score: Objects below are not drawn.
        """
        self._least_score = least_score
        self._classes, self._test = list(classes), test
        self._num_shown = min(_MOST_SHOWN, num_shown // 2)
        # True boxes and classes of every image, then those found, in pixels of the input.
        self._drawn: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []
        self._records: list[Records] = []
        self._found: dict[str, list[list[Any]]] = {"boxes": [], "classes": [], "scores": []}

    def add(
        self, targets: Mapping[str, Any], found: Mapping[str, np.ndarray], record: Records
    ) -> None:
        """Adds the next images: their targets, what was found in them and their records."""
        self._records.append(record)
        pixels = np.asarray(targets["image_size"]) / np.asarray(targets["input_size"])
        boxes = found["boxes"] * pixels[:, None, [1, 0, 1, 0]]
        truth = np.asarray(targets["boxes"]), np.asarray(targets["box_classes"])
        for place, scores in enumerate(found["scores"]):
            there, sure = truth[1][place] >= 0, scores >= self._least_score
            labels = found["classes"][place][sure].astype(int)
            kept = truth[0][place][there], truth[1][place][there], found["boxes"][place][sure]
            self._drawn.append((*kept, labels))
            shown = scores >= LEAST_KEPT
            names = [self._classes[int(each)] for each in found["classes"][place][shown]]
            self._found["boxes"].append(np.round(boxes[place][shown], 1).ravel().tolist())
            self._found["classes"].append(names)
            self._found["scores"].append(scores[shown].tolist())

    def table(self) -> pa.Table:
        """Returns `path` and what was found in it, `boxes` in pixels of the image as stored."""
        return pa.table({"path": self._test.source.paths, **self._found})

    def fields(self) -> dict[str, Any]:
        """Returns the fields of `Evaluation`."""
        records = join_records(self._records)
        ones = np.ones((len(records["wanted"]), 1))
        precisions = class_precisions(records, ones, len(self._classes))[..., 0]
        wanted = records["wanted"][..., _ALL]
        rows = [
            {
                "class": name,
                "count": int((wanted & (records["true_class"] == label)).sum()),
                "average_precision": or_none(precisions[label, _ALL].mean()),
                "ap50": or_none(precisions[label, _ALL, 0]),
                "ap75": or_none(precisions[label, _ALL, 5]),
                **{
                    f"ap_{size}": or_none(precisions[label, place].mean())
                    for place, size in enumerate(AREAS)
                    if place != _ALL
                },
            }
            for label, name in enumerate(self._classes)
        ]
        return {
            "per_class": rows,
            "confusion": [],
            "counted": "objects",
            "curves": {"precision_recall": self._curves(records, rows)},
            "calibration": {},
            "mistakes": [],
            "pictures": self._pictures(records),
        }

    def _curves(
        self, records: Records, rows: Sequence[Mapping[str, Any]]
    ) -> dict[str, dict[str, list[float]]]:
        """Returns class -> precision over recall at an overlap of 0.5, of the weakest classes.

        That of a class that is never found is 0 at every recall, as its average precision has it.
        """
        defined = [label for label, row in enumerate(rows) if row["ap50"] is not None]
        weakest = sorted(defined, key=lambda label: rows[label]["ap50"])[:MAX_CURVES]
        curves, outcome = {}, records["outcome"][..., _ALL, 0]
        for label in sorted(weakest):
            chosen = (records["class"] == label) & (outcome >= 0)
            scores, right = records["score"][chosen], outcome[chosen] == 1
            order = np.argsort(-scores, kind="stable")
            hits = np.cumsum(right[order])
            recall = hits / rows[label]["count"]
            precision, thresholds = hits / np.arange(1, len(hits) + 1), scores[order]
            if not len(hits):
                recall, precision, thresholds = np.array([0.0, 1.0]), np.zeros(2), np.ones(2)
            curves[rows[label]["class"]] = thin_curve(recall, precision, thresholds)
        return curves

    def _pictures(self, records: Records) -> list[dict[str, Any]]:
        """Returns the worst images, then the best: truth and prediction side by side.

        An image in which nothing is right is not among the best.
        """
        scores, order = self._image_order(records)
        order = order[np.isfinite(scores[order])]
        worst = order[: self._num_shown]
        best = order[scores[order] > 0][::-1][: self._num_shown]
        pictures = []
        for kind, rows in (("worst", worst), ("best", best)):
            for row in rows.tolist():
                images = self._draw(row, self._test.pixels(np.array([row]))[0])
                pictures.append(
                    {
                        "kind": kind,
                        "path": self._test.source.paths[row],
                        "measure": self.measure,
                        "score": float(scores[row]),
                        "picture": picture(side_by_side([np.asarray(each) for each in images])),
                    }
                )
        return pictures

    def _image_order(self, records: Records) -> tuple[np.ndarray, np.ndarray]:
        """Returns a score of every image, and the images from the worst to the best, [N].

        It is F1 at an overlap of 0.5 of what would be drawn, 2 hits / (detections + objects); NaN
        without any.
        """
        outcome = records["outcome"][..., _ALL, 0]
        is_sure = records["score"] >= self._least_score
        shown = (records["class"] >= 0) & is_sure & (outcome >= 0)
        hits = (shown & (outcome == 1)).sum(axis=1)
        total = shown.sum(axis=1) + records["wanted"][..., _ALL].sum(axis=1)
        scores = np.where(total > 0, 2 * hits / np.maximum(total, 1), np.nan)
        return scores, np.argsort(scores, kind="stable")

    def _draw(self, row: int, pixels: np.ndarray) -> tuple[Image.Image, Image.Image]:
        """Returns an image with what is there, and with what was found."""
        boxes, labels, found, found_labels = self._drawn[row]
        truth, said = rgb_image(pixels), rgb_image(pixels)
        draw_boxes(truth, boxes, labels)
        draw_boxes(said, found, found_labels)
        return truth, said


def or_none(value: float) -> float | None:
    """Returns a figure as JSON has it."""
    return round(float(value), 5) if np.isfinite(value) else None
