"""Temperature scaling and reliability: one number that makes confidence mean accuracy.

Shapes: N images, C classes; logits [N, C], labels int [N] (softmax) or uint8 [N, C] (sigmoid).
Reference: Guo et al., 2017, arXiv:1706.04599, section 4.2.
"""

from typing import Any

import numpy as np
from scipy.special import expit, log_expit, log_softmax, softmax

from kfp_vision.components.shared.metrics.temperature import best_temperature

__all__ = [
    "activate",
    "calibration_gap",
    "calibration_report",
    "chance_gap",
    "fit_temperature",
    "negative_log_likelihood",
]

_BINS = 15
_CHANCE_DRAWS = 2000


def activate(logits: np.ndarray, multilabel: bool) -> np.ndarray:
    """Returns probabilities [N, C]: sigmoid when labels are independent, else softmax."""
    probabilities: np.ndarray = expit(logits) if multilabel else softmax(logits, axis=1)
    return probabilities


def negative_log_likelihood(
    labels: np.ndarray,
    logits: np.ndarray,
    smoothing: float = 0.0,
    weights: np.ndarray | None = None,
) -> float:
    """Returns the mean in nats per image (single label) or per image and class (multi-label).

    Args:
        labels: int [N] or uint8 [N, C].
        logits: [N, C].
        smoothing: Probability that moves from the true outcome to all of them evenly.
        weights: Of the images, [N]; None when all count the same.
    """
    if labels.ndim == 2:
        log_true = np.where(labels == 1, log_expit(logits), log_expit(-logits))
        log_all = (log_expit(logits) + log_expit(-logits)) / 2
    else:
        log_p = log_softmax(logits, axis=1)
        log_true, log_all = log_p[np.arange(len(labels)), labels], log_p.mean(axis=1)
    log_p = (1 - smoothing) * log_true + smoothing * log_all
    return -float(np.average(log_p, axis=0, weights=weights).mean())


def fit_temperature(
    labels: np.ndarray, logits: np.ndarray, weights: np.ndarray | None = None
) -> float:
    """Returns the T > 0 for which logits / T have the lowest negative log-likelihood.

    The outcomes are smoothed by 1 / (N + 2), as in Platt scaling: without it a model that makes no
    mistake on a small set would be called certain (Platt, 1999, section 2.2).

    Args:
        labels: int [N] or uint8 [N, C].
        logits: [N, C].
        weights: Of the images, [N]; None when all count the same.
    """
    smoothing = 1.0 / (len(labels) + 2)
    return best_temperature(
        lambda scaled: negative_log_likelihood(labels, scaled, smoothing, weights), logits
    )


def calibration_gap(
    confidence: np.ndarray, correct: np.ndarray, num_bins: int = _BINS
) -> tuple[float, list[dict[str, Any]]]:
    """Returns the expected calibration error and its bins of equal width that hold a prediction.

    Args:
        confidence: Predicted probability of an event, [M].
        correct: Whether it happened, [M].
        num_bins: Bins between 0 and 1.

    Reference: Guo et al., 2017, eq. 3.
    """
    index = np.minimum((confidence * num_bins).astype(int), num_bins - 1)
    counts = np.bincount(index, minlength=num_bins)
    held = counts > 0
    mean_confidence = np.bincount(index, confidence, num_bins)[held] / counts[held]
    accuracy = np.bincount(index, correct, num_bins)[held] / counts[held]
    gap = float(np.abs(accuracy - mean_confidence) @ counts[held] / len(confidence))
    rows = zip(mean_confidence, accuracy, counts[held], strict=True)
    return gap, [
        {"confidence": float(c), "accuracy": float(a), "count": int(n)} for c, a, n in rows
    ]


def chance_gap(confidence: np.ndarray, num_bins: int = _BINS) -> tuple[float, float]:
    """Returns between what the calibration error of a calibrated model lies, 95 times in 100.

    It is above 0 because so few events do not happen as often as they are expected to.

    Args:
        confidence: Predicted probability of an event, [M].
        num_bins: As of `calibration_gap`.

    Reference: Broecker and Smith, 2007, Weather and Forecasting 22 (consistency resampling).
    """
    index = np.minimum((confidence * num_bins).astype(int), num_bins - 1)
    counts = np.bincount(index, minlength=num_bins)
    held = counts > 0
    counts, expected = counts[held], np.bincount(index, confidence, num_bins)[held]
    # Within a bin the confidence hardly varies: what happens in it is binomial.
    happened = np.random.default_rng(0).binomial(
        counts, np.clip(expected / counts, 0.0, 1.0), (_CHANCE_DRAWS, len(counts))
    )
    gaps = np.abs(happened - expected).sum(axis=1) / len(confidence)
    low, high = np.percentile(gaps, [2.5, 97.5])
    return float(low), float(high)


def calibration_report(
    labels: np.ndarray, logits: np.ndarray, temperature: float
) -> dict[str, Any]:
    """Returns error, log-likelihood and bins before and after scaling: `Evaluation.calibration`.

    The events are "the predicted class is right" for one label per image, and "the class is there"
    for every class of every image otherwise.
    """
    report: dict[str, Any] = {"temperature": temperature}
    for name, scaled in (("before", logits), ("after", logits / temperature)):
        probabilities = activate(scaled, labels.ndim == 2)
        if labels.ndim == 2:
            confidence, happened = probabilities.ravel(), labels.ravel()
        else:
            confidence, happened = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
        report[f"ece_{name}"], report[f"bins_{name}"] = calibration_gap(confidence, happened)
        report[f"ece_chance95_{name}"] = list(chance_gap(confidence))
        report[f"nll_{name}"] = negative_log_likelihood(labels, scaled)
    return report
