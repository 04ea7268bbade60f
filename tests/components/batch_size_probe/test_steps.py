"""The length of a training: exact on power laws, silent where a curve says nothing."""

import numpy as np
import pytest

from kfp_vision.components.batch_size_probe.steps import steps_to_fit


def test_a_power_law_is_extrapolated_to_its_crossing() -> None:
    steps = np.arange(200) + 1
    noise = np.random.default_rng(0).normal(0, 0.01, 200)
    fitted = steps_to_fit(2.0 * steps**-0.5 * np.exp(noise), initial_loss=2.0)
    assert fitted is not None
    # 2 t^-0.5 = 0.05 x 2 at t = 400.
    assert fitted.low < 400 < fitted.high
    assert fitted.steps == pytest.approx(400, rel=0.2)
    assert fitted.exponent == pytest.approx(0.5, rel=0.1)


def test_a_flat_or_noisy_curve_says_nothing() -> None:
    generator = np.random.default_rng(0)
    assert steps_to_fit(2.0 + generator.normal(0, 0.2, 100), initial_loss=2.3) is None


def test_too_few_steps_are_refused() -> None:
    with pytest.raises(ValueError, match="needs 16 steps. Received: 4"):
        steps_to_fit(np.ones(4), 2.3)
