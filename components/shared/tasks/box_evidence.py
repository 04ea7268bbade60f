"""What explains the metrics of a detection: classes, sizes, curves, and what was found where.

Shapes: N test images, C classes, D detections of an image.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from kfp_vision.components.shared.metrics.object_precision import AREAS, class_precisions
from kfp_vision.components.shared.tasks.breakdown import MAX_CURVES, thin_curve
from kfp_vision.components.shared.tasks.protocol import Records

__all__ = ["BoxEvidence"]

# Detections below are not named in the table.
_LEAST_SCORE = 0.05
_ALL = list(AREAS).index("all")


class BoxEvidence:
    """Takes the test images batch by batch and keeps their records and what was found."""

    def __init__(self, classes: Sequence[str], paths: Sequence[str]) -> None:
        """Knows nothing yet.

        Args:
            classes: C names.
            paths: Of the N images, in order.
        """
        self._classes, self._paths = list(classes), list(paths)
        self._records: list[Records] = []
        self._found: dict[str, list[list[Any]]] = {"boxes": [], "classes": [], "scores": []}

    def add(
        self, targets: Mapping[str, Any], found: Mapping[str, np.ndarray], record: Records
    ) -> None:
        """Adds the next images: their targets, what was found in them and their records."""
        self._records.append(record)
        pixels = np.asarray(targets["image_size"]) / np.asarray(targets["input_size"])
        boxes = found["boxes"] * pixels[:, None, [1, 0, 1, 0]]
        for place, scores in enumerate(found["scores"]):
            shown = scores >= _LEAST_SCORE
            names = [self._classes[int(each)] for each in found["classes"][place][shown]]
            self._found["boxes"].append(np.round(boxes[place][shown], 1).ravel().tolist())
            self._found["classes"].append(names)
            self._found["scores"].append(scores[shown].tolist())

    def table(self) -> pa.Table:
        """Returns `path` and what was found in it, `boxes` in pixels of the image as stored."""
        return pa.table({"path": self._paths, **self._found})

    def fields(self) -> dict[str, Any]:
        """Returns the fields of `Evaluation`."""
        records = {
            name: np.concatenate([part[name] for part in self._records])
            for name in self._records[0]
        }
        ones = np.ones((len(self._paths), 1))
        precisions = class_precisions(records, ones, len(self._classes))[..., 0]
        wanted = records["wanted"][..., _ALL]
        rows = [
            {
                "class": name,
                "count": int((wanted & (records["true_class"] == label)).sum()),
                "average_precision": _or_none(precisions[label, _ALL].mean()),
                "ap50": _or_none(precisions[label, _ALL, 0]),
                "ap75": _or_none(precisions[label, _ALL, 5]),
                **{
                    f"ap_{size}": _or_none(precisions[label, place].mean())
                    for place, size in enumerate(AREAS)
                    if place != _ALL
                },
            }
            for label, name in enumerate(self._classes)
        ]
        return {
            "per_class": rows,
            "confusion": [],
            "curves": {"precision_recall": self._curves(records, rows)},
            "calibration": {},
            "mistakes": [],
        }

    def _curves(
        self, records: Records, rows: Sequence[Mapping[str, Any]]
    ) -> dict[str, dict[str, list[float]]]:
        """Returns class -> precision over recall at an overlap of 0.5, of the weakest classes."""
        defined = [label for label, row in enumerate(rows) if row["ap50"] is not None]
        weakest = sorted(defined, key=lambda label: rows[label]["ap50"])[:MAX_CURVES]
        curves = {}
        for label in sorted(weakest):
            outcome = records["outcome"][..., _ALL, 0]
            chosen = (records["class"] == label) & (outcome >= 0)
            scores, right = records["score"][chosen], outcome[chosen] == 1
            order = np.argsort(-scores, kind="stable")
            hits = np.cumsum(right[order])
            if len(hits):
                recall = hits / rows[label]["count"]
                precision = hits / np.arange(1, len(hits) + 1)
                curves[rows[label]["class"]] = thin_curve(recall, precision, scores[order])
        return curves


def _or_none(value: float) -> float | None:
    return round(float(value), 5) if np.isfinite(value) else None
