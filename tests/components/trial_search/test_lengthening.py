"""The rule for the length with augmentation, on curves whose factor is known and on images."""

import numpy as np
import pytest

from kfp_vision.components.shared.artifacts.json_files import json_text
from kfp_vision.components.trial_search.lengthening import MAX_FACTOR, lengthening

_STEPS = np.arange(1, 101.0)


def _curve(factor: float, noise: float = 0.0, seed: int = 0) -> np.ndarray:
    """A power law whose every loss comes `factor` times later."""
    draws = np.random.default_rng(seed).normal(size=len(_STEPS))
    return 3.0 * (_STEPS / factor) ** -0.4 * np.exp(noise * draws)


@pytest.mark.parametrize("factor", [1.0, 1.2, 1.45])
def test_power_laws_shifted_in_time_give_the_shift(factor: float) -> None:
    assert lengthening(_curve(1.0), _curve(factor)).factor == pytest.approx(factor)


def test_the_interval_covers_the_true_factor_as_often_as_it_says() -> None:
    covered = 0
    for seed in range(200):
        found = lengthening(_curve(1.0, 0.05, 2 * seed), _curve(1.3, 0.05, 2 * seed + 1))
        assert found.low is not None
        assert found.measured is not None
        assert found.high is not None
        assert found.low < found.measured < found.high
        covered += found.low <= 1.3 <= found.high
    # 95 % of 200, within three standard errors.
    assert 181 <= covered <= 199


def test_the_factor_is_limited_and_what_was_measured_is_kept() -> None:
    slow, fast = lengthening(_curve(1.0), _curve(3.0)), lengthening(_curve(1.0), _curve(0.5))
    assert (slow.factor, fast.factor) == (MAX_FACTOR, 1.0)
    assert slow.measured == pytest.approx(3.0)
    assert fast.measured == pytest.approx(0.5)


def test_a_loss_that_does_not_fall_tells_nothing() -> None:
    flat = np.full(100, 2.3) + np.random.default_rng(0).normal(scale=0.1, size=100)
    found = lengthening(flat, flat + 0.5)
    assert (found.factor, found.measured) == (1.0, None)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_loss_that_does_not_stay_finite_tells_nothing_either(value: float) -> None:
    broken = _curve(1.0)
    broken[40:] = value
    for curves in ((broken, _curve(1.0)), (_curve(1.0), broken)):
        found = lengthening(*curves)
        assert (found.factor, found.measured) == (1.0, None)
        assert [len(found.plain_losses), len(found.policy_losses)] == [40, 40]
        assert json_text(found)


def test_too_short_or_unequal_curves_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 32 steps"):
        lengthening(_curve(1.0)[:31], _curve(1.0)[:31])
    with pytest.raises(ValueError, match="equal length"):
        lengthening(_curve(1.0), _curve(1.0)[:99])
