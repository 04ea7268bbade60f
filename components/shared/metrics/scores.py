"""Metrics of a set of images and, at the same time, of bootstrap resamples of it.

Shapes: N images, C classes, R resamples; labels int [N] or uint8 [N, C], probabilities [N, C],
counts [N, R]: how often an image is in a resample (ones [N, 1] are the set itself). Results are
[R], NaN where a resample leaves the metric undefined. No Keras here.
"""

from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_array

__all__ = [
    "classification_metrics",
    "mean_of_defined",
    "multilabel_metrics",
    "of_whole_set",
    "ranking_metrics",
]

_ECE_BINS = 15


def of_whole_set(metrics: dict[str, np.ndarray]) -> dict[str, float]:
    """Returns the metrics of one resample as numbers; those that are not defined are left out."""
    return {name: float(value[0]) for name, value in metrics.items() if np.isfinite(value[0])}


def classification_metrics(
    labels: np.ndarray, probabilities: np.ndarray, counts: np.ndarray, ranked: Sequence[int]
) -> dict[str, np.ndarray]:
    """Returns accuracy, balanced_accuracy, auroc, average_precision and ece, each [R].

    `ece` is the gap between confidence and accuracy, averaged over 15 bins of equal width (Guo et
    al., 2017, arXiv:1706.04599, eq. 3).

    Args:
        labels: int [N].
        probabilities: [N, C].
        counts: [N, R].
        ranked: Classes over which the ranking metrics, one-vs-rest, are averaged where present: all
            of them, or the positive one.
    """
    num_classes = probabilities.shape[1]
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    bins = np.minimum((confidence * _ECE_BINS).astype(int), _ECE_BINS - 1)
    num_images = counts.sum(axis=0)
    images_of_class = _sum_by(labels, num_classes, np.ones(len(labels)), counts)
    correct_of_class = _sum_by(labels, num_classes, correct, counts)
    gaps = _sum_by(bins, _ECE_BINS, correct - confidence, counts)
    ranking = [ranking_metrics(labels == c, probabilities[:, c], counts) for c in ranked]
    auroc, average_precision = zip(*ranking, strict=True)
    return {
        "accuracy": correct_of_class.sum(axis=0) / num_images,
        "balanced_accuracy": mean_of_defined(_divide(correct_of_class, images_of_class)),
        "auroc": mean_of_defined(np.stack(auroc)),
        "average_precision": mean_of_defined(np.stack(average_precision)),
        "ece": np.abs(gaps).sum(axis=0) / num_images,
    }


def multilabel_metrics(
    labels: np.ndarray, probabilities: np.ndarray, counts: np.ndarray
) -> dict[str, np.ndarray]:
    """Returns mean_average_precision, micro_f1 and macro_f1 (at 0.5), each [R].

    Means over classes are over those that are present.
    """
    predicted = probabilities >= 0.5
    hits = (predicted & (labels == 1)).T.astype(counts.dtype) @ counts
    positives = labels.T.astype(counts.dtype) @ counts
    marked = predicted.T.astype(counts.dtype) @ counts + positives
    average_precision = [
        ranking_metrics(labels[:, c] == 1, probabilities[:, c], counts)[1]
        for c in range(labels.shape[1])
    ]
    return {
        "mean_average_precision": mean_of_defined(np.stack(average_precision)),
        "micro_f1": _divide(2 * hits.sum(axis=0), marked.sum(axis=0)),
        "macro_f1": mean_of_defined(np.where(positives > 0, _divide(2 * hits, marked), np.nan)),
    }


def ranking_metrics(
    positive: np.ndarray, scores: np.ndarray, counts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the area under the ROC curve [R] and the average precision [R].

    Images are sorted once, whatever R. Equal scores count as one threshold; a tie between a
    positive and a negative is half an inversion (the definitions of scikit-learn).

    Args:
        positive: bool [N].
        scores: [N], higher means more positive.
        counts: [N, R].
    """
    order = np.argsort(-scores, kind="stable")
    ranked, ranked_positive = scores[order], positive[order]
    ties = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    # Thresholds between two positives change neither sum: their images are added as one group.
    has_positive = np.logical_or.reduceat(ranked_positive, ties)
    starts = ties[has_positive | np.r_[True, has_positive[:-1]]]
    first_positive = np.r_[0, np.cumsum(np.add.reduceat(ranked_positive.astype(int), starts))]

    group_images = _sum_rows(order, np.r_[starts, len(order)], counts)
    group_positives = _sum_rows(order[ranked_positive], first_positive, counts)
    images, positives = group_images.cumsum(axis=0), group_positives.cumsum(axis=0)
    num_positives, num_negatives = positives[-1], images[-1] - positives[-1]
    negatives_below = num_negatives - (images - positives)
    wins = negatives_below + 0.5 * (group_images - group_positives)
    # Divided before they are added: a sum of N^2 pairs is beyond float32.
    auroc = np.einsum("gr,gr->r", group_positives, _divide(wins, num_negatives))
    precision = positives / np.maximum(images, 1)
    average_precision = np.einsum("gr,gr->r", group_positives, precision)
    return _divide(auroc, num_positives), _divide(average_precision, num_positives)


def _sum_rows(images: np.ndarray, starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Returns counts summed over `images[starts[g]:starts[g + 1]]` for each group g, [G, R]."""
    ones = np.ones(len(images), counts.dtype)
    sums: np.ndarray = (
        csr_array((ones, images, starts), shape=(len(starts) - 1, len(counts))) @ counts
    )
    return sums


def _sum_by(
    groups: np.ndarray, num_groups: int, values: np.ndarray, counts: np.ndarray
) -> np.ndarray:
    """Returns values * counts summed over the images of each group, [num_groups, R]."""
    entries = (values.astype(counts.dtype), (groups, np.arange(len(groups))))
    sums: np.ndarray = csr_array(entries, shape=(num_groups, len(groups))) @ counts
    return sums


def _divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(denominator > 0, numerator / denominator, np.nan)


def mean_of_defined(values: np.ndarray) -> np.ndarray:
    """Returns the mean over classes of [C, R], leaving out NaN."""
    defined = np.isfinite(values)
    return _divide(np.where(defined, values, 0).sum(axis=0), defined.sum(axis=0))
