"""The bootstrap on problems whose answer is known."""

import numpy as np
import pytest

from kfp_vision.components.evaluation.bootstrap import draw_counts, score_with_intervals
from kfp_vision.components.shared.tasks import get_task


def two_class_sample(generator, num_images, accuracy):
    labels = generator.integers(2, size=num_images)
    predicted = np.where(generator.random(num_images) < accuracy, labels, 1 - labels)
    return {"label": labels}, np.eye(2)[predicted]


def test_every_resample_has_as_many_images_as_the_set():
    counts = np.concatenate(list(draw_counts(50, 30, seed=3)), axis=1)
    assert counts.shape == (50, 30)
    assert (counts.sum(axis=0) == 50).all()


def test_same_seed_same_resamples():
    first, again = (next(draw_counts(20, 5, seed=1)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert (first != next(draw_counts(20, 5, seed=2))).any()


def test_interval_of_accuracy_is_the_binomial_one():
    targets, probabilities = two_class_sample(np.random.default_rng(0), 1000, 0.8)
    scores = score_with_intervals(get_task("binary"), targets, probabilities, 2000, seed=0)
    value, (low, high) = scores["accuracy"]["value"], scores["accuracy"]["ci95"]
    half = 1.96 * np.sqrt(value * (1 - value) / 1000)
    assert (low, high) == pytest.approx((value - half, value + half), abs=0.004)


def test_intervals_cover_the_truth_nineteen_times_in_twenty():
    generator, task = np.random.default_rng(4), get_task("binary")
    covered = 0
    for trial in range(300):
        targets, probabilities = two_class_sample(generator, 200, 0.7)
        scores = score_with_intervals(task, targets, probabilities, 300, seed=trial)
        low, high = scores["accuracy"]["ci95"]
        covered += low <= 0.7 <= high
    # 285 expected; three standard errors of a binomial are 11, and 4 for the bootstrap's own bias.
    assert 270 <= covered <= 300
