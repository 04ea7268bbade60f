"""Temperature scaling on logits whose right temperature is known."""

import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn.metrics import log_loss

from kfp_vision.components.shared.tasks.calibration import (
    calibration_gap,
    calibration_report,
    fit_temperature,
    negative_log_likelihood,
)


def draw_labels(logits, multilabel, seed=0):
    """Draws labels from the probabilities of the logits: these are calibrated by construction."""
    uniform = np.random.default_rng(seed).random(logits.shape)
    if multilabel:
        return (uniform < expit(logits)).astype(np.uint8)
    return (softmax(logits, axis=1).cumsum(axis=1) > uniform[:, :1]).argmax(axis=1)


@pytest.mark.parametrize("multilabel", [False, True])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_planted_temperature_is_found(temperature, multilabel):
    logits = np.random.default_rng(1).normal(size=(20_000, 4)) * 2
    labels = draw_labels(logits, multilabel)
    assert fit_temperature(labels, logits * temperature) == pytest.approx(temperature, rel=0.05)


def test_likelihood_is_the_log_loss_of_sklearn():
    logits = np.random.default_rng(2).normal(size=(100, 4))
    labels = draw_labels(logits, multilabel=False)
    expected = log_loss(labels, softmax(logits, axis=1), labels=range(4))
    assert negative_log_likelihood(labels, logits) == pytest.approx(expected)
    present = draw_labels(logits, multilabel=True)
    expected = log_loss(present.ravel(), expit(logits).ravel())
    assert negative_log_likelihood(present, logits) == pytest.approx(expected)


def test_no_mistake_on_a_small_set_is_not_certainty():
    labels = np.arange(30) % 3
    temperature = fit_temperature(labels, 5.0 * np.eye(3)[labels])
    probability = softmax(5.0 * np.eye(3)[labels] / temperature, axis=1).max(axis=1)
    # The smoothed target is 1 - 1/32 with a third of the rest coming back.
    assert probability == pytest.approx(1 - 1 / 32 + 1 / 96, abs=0.002)


def test_scaling_mends_what_overconfidence_broke():
    logits = np.random.default_rng(3).normal(size=(20_000, 4))
    labels = draw_labels(logits, multilabel=False)
    report = calibration_report(labels, 4.0 * logits, temperature=4.0)
    assert report["ece_before"] > 0.2
    assert report["ece_after"] < 0.02
    assert report["nll_after"] < report["nll_before"]
    assert sum(row["count"] for row in report["bins_after"]) == 20_000


def test_gap_of_two_known_bins():
    confidence = np.array([0.95, 0.95, 0.55, 0.55])
    gap, bins = calibration_gap(confidence, np.array([1, 0, 1, 1]), num_bins=10)
    assert gap == pytest.approx((0.45 + 0.45) / 2)
    assert [row["accuracy"] for row in bins] == [1.0, 0.5]
