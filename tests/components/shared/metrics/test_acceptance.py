"""What is accepted: the interval of a gain, and how often chance wins."""

import numpy as np
import pytest
from scipy import stats

from kfp_vision.components.shared.metrics.acceptance import measure_gain, why_no_gain


def test_interval_of_one_seed_is_that_of_a_paired_t_test() -> None:
    generator = np.random.default_rng(0)
    reference = generator.exponential(1.0, 40)
    losses = reference - generator.normal(0.1, 0.3, 40)
    gain = measure_gain(reference[None], losses[None])
    test = stats.ttest_rel(reference, losses).confidence_interval(0.95)
    assert (gain.low, gain.high) == pytest.approx((test.low, test.high))
    assert gain.value == pytest.approx((reference - losses).mean())


def test_interval_agrees_with_a_bootstrap_over_images_and_seeds() -> None:
    generator = np.random.default_rng(1)
    shape = (5, 200)
    gains = 0.2 + generator.normal(0, 0.3, (5, 1)) + generator.normal(0, 1.0, (1, 200))
    gain = measure_gain(gains, np.zeros(shape))
    means = [
        gains[np.ix_(generator.integers(5, size=5), generator.integers(200, size=200))].mean()
        for _ in range(4000)
    ]
    # The bootstrap of S values has a variance that is smaller by (S - 1) / S.
    expected = np.hypot(
        np.std(np.mean(gains, 1), ddof=1) / 5**0.5, np.std(np.mean(gains, 0), ddof=1) / 200**0.5
    )
    assert np.std(means) == pytest.approx(expected, rel=0.15)
    half = (gain.high - gain.low) / 2
    assert 1.96 * expected < half < 2.9 * expected


def test_chance_is_accepted_in_one_case_of_forty_however_many_are_tried() -> None:
    generator, num_tried = np.random.default_rng(2), 4
    wins = 0
    for _ in range(2000):
        reference = generator.exponential(1.0, 30)
        tried = reference + generator.normal(0, 0.5, (num_tried, 30))
        gains = (measure_gain(reference[None], each[None], num_tried) for each in tried)
        wins += any(gain.is_accepted for gain in gains)
    # Two-sided 95 %: 2.5 % on the side of a gain; three standard errors of 2,000 trials are 1 %.
    assert wins / 2000 == pytest.approx(0.025, abs=0.011)


def test_a_gain_that_every_image_shows_is_accepted_and_none_is_not() -> None:
    losses = np.ones((1, 3))
    assert measure_gain(losses + 0.5, losses).is_accepted
    assert not measure_gain(losses, losses).is_accepted
    assert not measure_gain(losses - 0.5, losses).is_accepted


def test_of_one_image_no_scatter_is_known_and_no_gain_is_measured() -> None:
    with pytest.raises(ValueError, match=r"two held-out images or more.*\(1, 1\)"):
        measure_gain(np.ones((1, 1)), np.zeros((1, 1)))
    assert "chance" in why_no_gain(1)
    assert why_no_gain(2) == ""
