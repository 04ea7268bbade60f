"""What explains the metrics of a segmentation: classes, confused pixels, best and worst images.

Shapes: N test images, C classes; masks uint8 [B, H, W] and probabilities [B, H, W, C] at the size
of the model, counts int64 [N, C, C] at the size of the masks as stored.
"""

import heapq
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from kfp_vision.components.shared.datasets.drawings import draw_masks, picture, side_by_side
from kfp_vision.components.shared.datasets.labelled import LabelledImages
from kfp_vision.components.shared.tasks.masks import IGNORED, count_pixels
from kfp_vision.components.shared.tasks.protocol import Targets

__all__ = ["MaskEvidence"]

_MOST_SHOWN = 6
# Of heaps: how much the image is worth keeping, minus its row, true mask, predicted mask.
_Kept = tuple[float, int, np.ndarray, np.ndarray]


class MaskEvidence:
    """Takes the test images batch by batch and keeps counts, and the masks of a few images."""

    def __init__(self, classes: Sequence[str], test: LabelledImages, num_shown: int) -> None:
        """Knows nothing yet.

        Args:
            classes: C names.
            test: The images.
            num_shown: Best and worst images at most, half of each.
        """
        self._classes, self._test = list(classes), test
        self._num_shown = min(_MOST_SHOWN, num_shown // 2)
        # Pixels of each image that are right, of a class, and predicted as it, [B, 3, C].
        self._sums: list[np.ndarray] = []
        self._total = np.zeros((len(classes), len(classes)), np.int64)
        self._worst: list[_Kept] = []
        self._best: list[_Kept] = []

    def add(self, start: int, targets: Targets, probabilities: np.ndarray) -> None:
        """Adds a batch, whose first image is that of row `start`; targets of `open_truth`."""
        counts = count_pixels(targets, probabilities)
        right = np.diagonal(counts, axis1=1, axis2=2)
        self._sums.append(np.stack([right, counts.sum(2), counts.sum(1)], 1))
        self._total += counts.sum(0)
        for place, score in enumerate(_image_iou(self._sums[-1]).tolist()):
            if np.isnan(score):
                continue
            # Pictures are small: the size of the model is enough for them.
            predicted = probabilities[place].argmax(-1).astype(np.uint8)
            row, both = start + place, (targets["mask"][place], predicted)
            self._keep(self._worst, (-score, -row, *both))
            # An image in which nothing is right is not among the best.
            if score > 0:
                self._keep(self._best, (score, -row, *both))

    def _keep(self, heap: list[_Kept], entry: _Kept) -> None:
        heapq.heappush(heap, entry)
        if len(heap) > self._num_shown:
            heapq.heappop(heap)

    def fields(self) -> dict[str, Any]:
        """Returns the fields of `Evaluation`."""
        return {
            "per_class": self._class_rows(np.concatenate(self._sums)),
            "confusion": self._total.tolist(),
            "counted": "pixels",
            "curves": {},
            "calibration": {},
            "mistakes": [],
            "pictures": self._pictures(),
        }

    def table(self) -> pa.Table:
        """Returns a row an image: `path`, `label`, `predicted`, `mean_iou`, `pixel_accuracy`."""
        sums = np.concatenate(self._sums)
        right, known, _ = sums.sum(2).T
        accuracy = np.divide(right, known, out=np.full(len(known), np.nan), where=known > 0)
        return pa.table(
            {
                "path": self._test.source.paths,
                "label": [self._names(each) for each in sums[:, 1]],
                "predicted": [self._names(each) for each in sums[:, 2]],
                "mean_iou": _image_iou(sums),
                "pixel_accuracy": accuracy,
            }
        )

    def _names(self, pixels: np.ndarray) -> str:
        return "|".join(self._classes[index] for index in np.flatnonzero(pixels))

    def _class_rows(self, sums: np.ndarray) -> list[dict[str, Any]]:
        right, true, predicted = sums.sum(0)
        images = (sums[:, 1] > 0).sum(0)

        def share(part: int, whole: int) -> float | None:
            return part / whole if whole else None

        return [
            {
                "class": name,
                "count": int(images[at]),
                "pixel_share": share(int(true[at]), int(true.sum())),
                "iou": share(int(right[at]), int(true[at] + predicted[at] - right[at])),
                "precision": share(int(right[at]), int(predicted[at])),
                "recall": share(int(right[at]), int(true[at])),
            }
            for at, name in enumerate(self._classes)
        ]

    def _pictures(self) -> list[dict[str, Any]]:
        """Returns the worst images, then the best: image, truth and prediction side by side."""
        shown = []
        for kind, heap in (("worst", self._worst), ("best", self._best)):
            for worth, negative, mask, predicted in sorted(heap, reverse=True, key=lambda e: e[:2]):
                row = -negative
                pixels = self._test.pixels(np.array([row]))[0]
                unknown = mask == IGNORED
                drawn = [
                    draw_masks(pixels, each, opacity)
                    for each, opacity in (
                        (mask, 0.0),
                        (mask, 0.75),
                        (np.where(unknown, IGNORED, predicted), 0.75),
                    )
                ]
                shown.append(
                    {
                        "kind": kind,
                        "path": self._test.source.paths[row],
                        "measure": "mean_iou",
                        "score": abs(worth),
                        "picture": picture(side_by_side(drawn)),
                    }
                )
        return shown


def _image_iou(sums: np.ndarray) -> np.ndarray:
    """Returns the mean over the classes that are there or predicted, of each image, [N]."""
    right, true, predicted = np.moveaxis(sums, 1, 0)
    union = true + predicted - right
    shares: np.ndarray = np.where(union > 0, right / np.maximum(union, 1), 0.0).sum(1)
    with np.errstate(invalid="ignore"):
        mean: np.ndarray = shares / (union > 0).sum(1)
    return mean
