"""The decision on losses that are known."""

import dataclasses
from collections.abc import Mapping

import numpy as np
import pytest
import scipy.stats

from kfp_vision.components.shared.artifacts.search_result import (
    BASELINE,
    ROUNDS,
    Candidate,
    Trial,
)
from kfp_vision.components.trial_search.deciding import (
    confirm,
    gain_test,
    paired_excess,
    standard_error,
    strongest_within_one_standard_error,
)

_Losses = Mapping[Candidate, list[tuple[float, ...]]]


def _trials(losses: _Losses) -> list[Trial]:
    return [
        Trial(ROUNDS[-1], each, seed, parts)
        for each, held in losses.items()
        for seed, parts in enumerate(held)
    ]


_FLIP = BASELINE.adding(("horizontal_flip", 0))
_BOTH = _FLIP.adding(("shift", 1))


@pytest.mark.parametrize(
    ("scatter", "chosen"),
    # The difference to the best is 0.01; its standard error is the scatter / sqrt(8).
    [(0.01, _FLIP), (0.05, _BOTH)],
)
def test_the_strongest_is_taken_within_one_standard_error(
    scatter: float, chosen: Candidate
) -> None:
    noise = scatter * np.resize([1.0, -1.0], 8)
    losses = {
        BASELINE: [(2.0,) * 8],
        _FLIP: [(1.9,) * 8],
        _BOTH: [tuple((1.91 + noise).tolist())],
    }
    excess = paired_excess(_trials(losses))
    assert strongest_within_one_standard_error(excess) == chosen


def test_what_is_above_the_baseline_is_never_taken() -> None:
    noise = np.resize([1.0, -1.0], 8)
    losses = {BASELINE: [(2.0,) * 8], _FLIP: [tuple((2.01 + noise).tolist())]}
    assert strongest_within_one_standard_error(paired_excess(_trials(losses))) == BASELINE


def test_what_failed_with_one_seed_is_left_out() -> None:
    losses: _Losses = {BASELINE: [(2.0, 2.0), (2.0, 2.0)], _FLIP: [(1.0, 1.0)]}
    assert list(paired_excess(_trials(losses))) == [BASELINE]
    assert paired_excess(_trials({_FLIP: [(1.0, 1.0)]})) == {}


@pytest.mark.parametrize("num_seeds", [2, 3])
def test_a_baseline_that_ends_with_one_seed_alone_confirms_nothing(num_seeds: int) -> None:
    lost = [(2.0, 2.1), *[()] * (num_seeds - 1)]
    assert confirm(_trials({BASELINE: lost, _FLIP: [(1.0, 1.1)] * num_seeds})) is None


def test_the_workers_may_return_trials_in_any_order() -> None:
    losses: _Losses = {
        BASELINE: [(2.0, 2.1), (2.2, 2.4), (2.1, 2.3)],
        _FLIP: [(1.5, 1.6), (1.7, 1.7), (1.4, 1.8)],
        _BOTH: [(1.6, 1.5), (1.7, 1.7), (1.9, 1.3)],
        dataclasses.replace(_BOTH, without=("rotate",)): [(1.6, 1.5), (1.7, 1.7), (1.9, 1.3)],
    }
    trials = _trials(losses)
    found = confirm(trials)
    assert found is not None
    for seed in range(20):
        order = np.random.default_rng(seed).permutation(len(trials))
        again = confirm([trials[index] for index in order])
        assert again is not None
        assert (again.candidate, again.accepted) == (found.candidate, found.accepted)
        assert (again.gain, again.error) == pytest.approx((found.gain, found.error))


def test_the_standard_error_is_the_scatter_that_seeds_and_images_have() -> None:
    """Of 2,000 experiments, the variance of the mean is that which each of them estimates."""
    generator = np.random.default_rng(0)
    means, variances = [], []
    for _ in range(2000):
        differences = 0.1 * generator.normal(size=(1, 8)) + 0.05 * generator.normal(size=(3, 1))
        means.append(differences.mean())
        variances.append(standard_error(differences) ** 2)
    assert np.mean(variances) == pytest.approx(0.1**2 / 8 + 0.05**2 / 3, rel=0.05)
    assert np.var(means) == pytest.approx(np.mean(variances), rel=0.1)


@pytest.mark.parametrize("num_seeds", [2, 3])
def test_the_error_of_a_gain_is_the_scatter_that_seeds_and_images_have(num_seeds: int) -> None:
    """Of 2,000 experiments, the variance of the mean is that which each of them estimates."""
    generator = np.random.default_rng(0)
    means, variances, beyond = [], [], 0
    for _ in range(2000):
        # [candidate, seed, part]: of the images, of the seed.
        images, seeds = generator.normal(size=(3, 1, 8)), generator.normal(size=(3, num_seeds, 1))
        losses = 0.1 * images + 0.05 * seeds
        gains = losses[0] - losses[1]
        error, threshold = gain_test(gains, losses.mean(2), 0.02)
        means.append(gains.mean())
        variances.append(error**2)
        beyond += gains.mean() > threshold
    assert np.mean(variances) == pytest.approx(2 * (0.1**2 / 8 + 0.05**2 / num_seeds), rel=0.05)
    assert np.var(means) == pytest.approx(np.mean(variances), rel=0.1)
    assert 0.01 * 2000 <= beyond <= 0.03 * 2000


def test_the_test_pools_the_seeds_of_all_candidates() -> None:
    """Three seeds, two candidates: two degrees of freedom, parts that agree."""
    losses = np.array([[2.0, 2.2, 2.1], [1.5, 1.7, 1.9]])
    gains = np.repeat((losses[0] - losses[1])[:, None], 2, axis=1)
    error, threshold = gain_test(gains, losses, 0.02)
    # The gains are 0.5, 0.5 and 0.2.
    assert error == pytest.approx(np.std([0.5, 0.5, 0.2], ddof=1) / 3**0.5)
    assert threshold == pytest.approx(error * scipy.stats.t.ppf(0.98, 2))
    # A constant of a seed does not matter.
    assert gain_test(gains, losses - losses[0], 0.02) == pytest.approx((error, threshold))


def test_of_two_seeds_the_candidates_are_not_paired() -> None:
    losses = np.array([[2.0, 2.2], [1.5, 1.7]])
    gains = np.repeat((losses[0] - losses[1])[:, None], 2, axis=1)
    error, threshold = gain_test(gains, losses, 0.02)
    # As of two samples with one variance, 0.02; the gains alone agree by chance.
    assert error == pytest.approx((0.02 / 2 + 0.02 / 2) ** 0.5)
    assert threshold == pytest.approx(error * scipy.stats.t.ppf(0.98, 2))


def test_a_gain_on_some_of_the_images_only_is_not_significant() -> None:
    losses: _Losses = {
        BASELINE: [(2.0, 2.0, 2.0, 2.0)] * 2,
        _FLIP: [(1.2, 1.8, 2.2, 2.0)] * 2,
    }
    found = confirm(_trials(losses))
    assert found is not None
    assert found.gain == pytest.approx(0.2)
    # The seeds agree, the parts have gains of 0.8, 0.2, -0.2 and 0.
    assert found.error == pytest.approx(np.std([0.8, 0.2, -0.2, 0.0], ddof=1) / 2)
    assert not found.accepted
