"""Metrics over sets: labels int [N] or uint8 [N, C], probabilities [N, C]; no Keras here."""

import warnings

import numpy as np
from sklearn import metrics as sk

__all__ = ["classification_metrics", "expected_calibration_error", "multilabel_metrics"]


def expected_calibration_error(
    labels: np.ndarray, probabilities: np.ndarray, num_bins: int = 15
) -> float:
    """Returns the gap between confidence and accuracy, averaged over bins of equal width.

    Reference: Guo et al., 2017, arXiv:1706.04599, eq. 3.
    """
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    bins = np.minimum((confidence * num_bins).astype(int), num_bins - 1)
    gaps = np.bincount(bins, weights=correct - confidence, minlength=num_bins)
    return float(np.abs(gaps).sum() / len(labels))


def classification_metrics(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """Returns accuracy, balanced_accuracy, auroc, average_precision (macro) and ece."""
    predicted = probabilities.argmax(axis=1)
    present = np.unique(labels)
    result = {
        "accuracy": float((predicted == labels).mean()),
        "balanced_accuracy": float(np.mean([(predicted[labels == c] == c).mean() for c in present])),
        "ece": expected_calibration_error(labels, probabilities),
    }
    if len(present) > 1:
        columns = [1] if probabilities.shape[1] == 2 else present
        one_vs_rest = [(labels == c, probabilities[:, c]) for c in columns]
        result["auroc"] = float(np.mean([sk.roc_auc_score(*pair) for pair in one_vs_rest]))
        result["average_precision"] = float(
            np.mean([sk.average_precision_score(*pair) for pair in one_vs_rest])
        )
    return result


def multilabel_metrics(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """Returns mean_average_precision over the classes present, micro_f1 and macro_f1 at 0.5."""
    predicted = (probabilities >= 0.5).astype(np.uint8)
    present = labels.any(axis=0)
    result = {}
    if present.any():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result["mean_average_precision"] = float(
                sk.average_precision_score(labels[:, present], probabilities[:, present])
            )
        result["micro_f1"] = float(sk.f1_score(labels, predicted, average="micro", zero_division=0))
        result["macro_f1"] = float(
            sk.f1_score(labels[:, present], predicted[:, present], average="macro", zero_division=0)
        )
    return result
