"""Where the metrics come from: figures per class, confusion, ROC and precision-recall curves.

Shapes: N images, C classes; present uint8 [N, C] (one where the class is), predicted the same.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.metrics import precision_recall_curve, roc_curve

from kfp_vision.components.shared.metrics.scores import ranking_metrics

__all__ = ["MAX_CURVES", "class_rows", "confusion_counts", "ranking_curves", "thin_curve"]

MAX_CURVES = 20
_MAX_POINTS = 200


def class_rows(
    classes: list[str], present: np.ndarray, predicted: np.ndarray, probabilities: np.ndarray
) -> list[dict[str, Any]]:
    """Returns count, precision, recall, f1, auroc and average_precision of every class.

    What is not defined (the recall of a class without images) is None.
    """
    once = np.ones((len(present), 1))
    rows = []
    for index, name in enumerate(classes):
        truth, marked = present[:, index] == 1, predicted[:, index] == 1
        hits, count, marks = int((truth & marked).sum()), int(truth.sum()), int(marked.sum())
        ranking = ranking_metrics(truth, probabilities[:, index], once)
        auroc, average_precision = (float(value[0]) for value in ranking)
        rows.append(
            {
                "class": name,
                "count": count,
                "precision": hits / marks if marks else None,
                "recall": hits / count if count else None,
                "f1": 2 * hits / (count + marks) if count else None,
                "auroc": auroc if np.isfinite(auroc) else None,
                "average_precision": average_precision if np.isfinite(average_precision) else None,
            }
        )
    return rows


def confusion_counts(
    labels: np.ndarray, predicted: np.ndarray, num_classes: int
) -> list[list[int]]:
    """Returns how often class i (row) was predicted as class j (column); both arguments int [N]."""
    flat = np.bincount(labels * num_classes + predicted, minlength=num_classes**2)
    counts: list[list[int]] = flat.reshape(num_classes, num_classes).tolist()
    return counts


def ranking_curves(
    rows: list[dict[str, Any]],
    columns: Sequence[int],
    present: np.ndarray,
    probabilities: np.ndarray,
) -> dict[str, dict[str, dict[str, list[float]]]]:
    """Returns `roc` and `precision_recall` -> class -> `{"x", "y", "threshold"}`.

    Args:
        rows: The result of `class_rows`.
        columns: Classes to choose from: the 20 of lowest average precision are drawn.
        present: uint8 [N, C].
        probabilities: [N, C].
    """
    defined = [index for index in columns if rows[index]["auroc"] is not None]
    weakest = sorted(defined, key=lambda index: rows[index]["average_precision"])[:MAX_CURVES]
    roc, precision_recall = {}, {}
    for index in sorted(weakest):
        truth, scores = present[:, index], probabilities[:, index]
        false_positive, true_positive, thresholds = roc_curve(truth, scores)
        # The first point marks no image at all; its threshold is infinite and JSON has none.
        thresholds = np.minimum(thresholds, 1.0)
        roc[rows[index]["class"]] = thin_curve(false_positive, true_positive, thresholds)
        precision, recall, thresholds = precision_recall_curve(truth, scores)
        thresholds = np.r_[thresholds, 1.0]
        precision_recall[rows[index]["class"]] = thin_curve(recall, precision, thresholds)
    return {"roc": roc, "precision_recall": precision_recall}


def thin_curve(x: np.ndarray, y: np.ndarray, threshold: np.ndarray) -> dict[str, list[float]]:
    """Keeps all points, or when there are too many, one at every even step along the curve."""
    kept = np.arange(len(x))
    if len(x) > _MAX_POINTS:
        length = np.r_[0.0, np.cumsum(np.hypot(np.diff(x), np.diff(y)))]
        steps = np.linspace(0.0, length[-1], _MAX_POINTS)
        kept = np.unique(np.searchsorted(length, steps).clip(max=len(x) - 1))
    columns = {"x": x, "y": y, "threshold": threshold}
    return {name: np.round(values[kept], 5).tolist() for name, values in columns.items()}
