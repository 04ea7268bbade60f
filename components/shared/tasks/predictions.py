"""What the model says of every image: the table of predictions and the worst mistakes.

Shapes: N images, C classes; present uint8 [N, C], probabilities float32 [N, C].
"""

from typing import Any

import numpy as np
import pyarrow as pa

from kfp_vision.components.shared.datasets.loader import ImageSource
from kfp_vision.components.shared.datasets.thumbnails import thumbnail

__all__ = ["PROBABILITY_PREFIX", "confident_mistakes", "decide", "predictions_table"]

PROBABILITY_PREFIX = "p_"


def decide(probabilities: np.ndarray, multilabel: bool) -> np.ndarray:
    """Returns the predicted classes as uint8 [N, C]: the likeliest one, or all at 0.5 and above."""
    if multilabel:
        return (probabilities >= 0.5).astype(np.uint8)
    one_hot = np.eye(probabilities.shape[1], dtype=np.uint8)
    likeliest: np.ndarray = one_hot[probabilities.argmax(axis=1)]
    return likeliest


def predictions_table(
    paths: list[str],
    classes: list[str],
    present: np.ndarray,
    probabilities: np.ndarray,
    multilabel: bool,
) -> pa.Table:
    """Returns one row per image: path, label, predicted, confidence, correct, `p_<class>`...

    Labels of a multi-label image are joined by `|`. The confidence is the probability of the
    predicted class; with independent labels, that of the least certain one of them.
    """
    predicted = decide(probabilities, multilabel)
    if multilabel:
        confidence = np.maximum(probabilities, 1 - probabilities).min(axis=1)
    else:
        confidence = probabilities.max(axis=1)
    columns: dict[str, Any] = {
        "path": paths,
        "label": _names(present, classes),
        "predicted": _names(predicted, classes),
        "confidence": confidence.astype(np.float32),
        "correct": (predicted == present).all(axis=1),
    }
    for index, name in enumerate(classes):
        columns[PROBABILITY_PREFIX + name] = probabilities[:, index].astype(np.float32)
    return pa.table(columns)


def confident_mistakes(
    table: pa.Table,
    present: np.ndarray,
    probabilities: np.ndarray,
    source: ImageSource,
    multilabel: bool,
    limit: int,
) -> list[dict[str, Any]]:
    """Returns the `limit` most confident wrong predictions, as `Evaluation.mistakes` wants them.

    With independent labels, the confidence is that of the worst wrong label of the image.
    """
    wrong = decide(probabilities, multilabel) != present
    if multilabel:
        confidence = np.where(wrong, np.abs(present - probabilities), 0.0).max(axis=1)
    else:
        confidence = probabilities.max(axis=1)
    mistakes = np.flatnonzero(wrong.any(axis=1))
    worst = mistakes[np.argsort(-confidence[mistakes], kind="stable")][:limit]
    rows = table.select(["path", "label", "predicted"]).take(worst).to_pylist()
    return [
        {**row, "confidence": float(confidence[index]), "thumbnail": thumbnail(pixels)}
        for row, index, pixels in zip(rows, worst, source.take(worst), strict=True)
    ]


def _names(present: np.ndarray, classes: list[str]) -> list[str]:
    return ["|".join(classes[index] for index in np.flatnonzero(row)) for row in present]
