"""Rates: what a range test says, how the trials climb, and how settings follow the batch."""

import dataclasses

import numpy as np
import pytest

from kfp_vision.components.batch_size_probe.learning_rate import (
    choose_rate,
    clip_threshold,
    exponential_rates,
    next_rate,
    read_range_test,
    smooth,
)
from kfp_vision.components.shared.recipe import hyperparameters
from kfp_vision.components.shared.recipe.batch_scaling import (
    EXPONENT,
    halve_batch,
    scale_learning_rate,
    scale_steps,
    scale_weight_decay,
)
from kfp_vision.components.shared.recipe.document import Recipe


def _sgd_losses(rates: np.ndarray, curvature: float = 20.0) -> np.ndarray:
    """Gradient descent on curvature/2 x^2, which diverges above 2 / curvature, exactly."""
    x, losses = 1.0, []
    for rate in rates:
        losses.append(0.5 * curvature * x**2)
        x -= float(rate) * curvature * x
    return np.array(losses)


def test_a_quadratic_bowl_diverges_where_theory_says() -> None:
    rates = exponential_rates(1e-3, 2.0, 60)
    test = read_range_test(rates, _sgd_losses(rates))
    # Above 0.1 every step grows; that shows once the descent before it has been climbed back.
    assert test.divergence_rate is not None
    assert 0.1 < test.divergence_rate < 2.0
    assert test.plateau_rate < 0.1


def test_the_noise_of_a_diverged_end_does_not_hide_where_the_plateau_begins() -> None:
    generator = np.random.default_rng(0)
    rates = exponential_rates(1e-4, 10.0, 100)
    losses = np.r_[np.full(30, 2.3), np.linspace(2.3, 1.5, 30), np.full(20, 1.5)]
    losses = np.r_[losses + generator.normal(0, 0.05, 80), generator.lognormal(5, 3, 20)]
    test = read_range_test(rates, losses)
    assert rates[50] < test.plateau_rate < rates[70]
    assert test.divergence_rate == pytest.approx(rates[80], rel=1.0)


def test_what_is_not_finite_has_diverged() -> None:
    rates = exponential_rates(1e-3, 1.0, 60)
    losses = np.linspace(2.0, 1.0, 60)
    losses[40:] = np.nan
    test = read_range_test(rates, losses)
    assert test.divergence_rate == pytest.approx(rates[40])
    with pytest.raises(ValueError, match="must start with a finite loss"):
        read_range_test(rates, np.full(60, np.nan))


def test_smoothing_keeps_a_constant_and_has_no_bias_at_the_start() -> None:
    np.testing.assert_allclose(smooth(np.full(5, 3.0)), 3.0)


def _trial(rate: float, best: float, noise: np.ndarray) -> np.ndarray:
    return 1.0 + 0.1 * np.log2(rate / best) ** 2 + noise


def test_the_climb_ends_with_the_best_rate_between_two_neighbours() -> None:
    noise = np.random.default_rng(0).normal(0, 0.05, 40)
    trials = {0.001: _trial(0.001, 0.012, noise)}
    while (rate := next_rate(trials)) is not None:
        trials[rate] = _trial(rate, 0.012, noise)
    choice = choose_rate(trials)
    # Exactly a parabola in log rate with common noise: the vertex is the truth.
    assert choice.rate == pytest.approx(0.012, rel=1e-6)
    assert min(trials) < choice.rate < max(trials)
    assert choice.low <= choice.rate * 1.5
    assert choice.high >= choice.rate / 1.5


def test_rates_that_noise_cannot_tell_apart_are_in_the_interval() -> None:
    generator = np.random.default_rng(1)
    trials = {rate: 1.0 + generator.normal(0, 0.5, 40) for rate in (0.01, 0.02, 0.04)}
    trials[0.08] = np.full(40, 9.0)
    choice = choose_rate(trials)
    assert (choice.low, choice.high) == (0.01, 0.04)


def test_rates_that_are_all_alike_have_a_best_one() -> None:
    """As those of a model in which nothing learns; the first of them is in the middle here."""
    flat = {rate: np.full(20, 2.0) for rate in (2e-3, 1e-3, 4e-3)}
    assert 1e-3 <= choose_rate(flat).rate <= 4e-3


def test_norms_that_are_not_finite_are_no_threshold() -> None:
    norms = np.array([1.0, 1.0, 10.0, np.inf, np.nan])
    assert clip_threshold(norms, 5.0) == pytest.approx(np.quantile([1.0, 1.0, 10.0], 0.9))
    assert clip_threshold(np.array([np.nan]), 5.0) is None


def test_diverged_trials_lower_the_rate_and_alone_are_an_error() -> None:
    diverged = {0.1: np.array([1.0, np.nan])}
    assert next_rate(diverged) == pytest.approx(0.025)
    with pytest.raises(ValueError, match="A trial must stay finite"):
        choose_rate(diverged)


def test_clipping_follows_spikes_and_stays_away_without_them() -> None:
    calm = np.full(100, 1.0)
    assert clip_threshold(calm, default=5.0) is None
    spiky = calm.copy()
    spiky[::25] = 40.0
    assert clip_threshold(spiky, default=5.0) == pytest.approx(1.0)
    assert clip_threshold(np.full(100, 8.0), default=5.0) == pytest.approx(8.0)


def test_the_policy_has_the_limits_of_the_theory() -> None:
    # Far below the noise scale twice the batch is worth a factor 2^alpha, far above nothing.
    for noise_scale in (1e9, None):
        rate = scale_learning_rate(1e-3, 16, 32, noise_scale)
        assert rate == pytest.approx(1e-3 * 2**EXPONENT)
    assert scale_learning_rate(1e-3, 1024, 2048, 1.0) == pytest.approx(1e-3, rel=1e-3)
    assert scale_steps(1000, 64, 128, 1e9) == 500
    assert scale_steps(1000, 64, 128, 0.0) == 1000
    there = scale_learning_rate(1e-3, 64, 512, 300.0)
    assert scale_learning_rate(there, 512, 64, 300.0) == pytest.approx(1e-3)
    decay = scale_weight_decay(0.02, 3e-3, 1000, 6e-3, 250)
    assert decay * 6e-3 * 250 == pytest.approx(0.02 * 3e-3 * 1000)


def test_half_the_batch_sees_the_same_images_at_a_lower_rate() -> None:
    settings = hyperparameters.from_recipe(hyperparameters.resolve(Recipe(), {}, 10_000))
    half = halve_batch(settings, noise_scale=100.0)
    assert half.batch_size * half.steps == settings.batch_size * settings.steps
    assert half.learning_rate < settings.learning_rate
    changed = {"batch_size", "learning_rate", "steps", "warmup_steps"}
    for field in dataclasses.fields(settings):
        if field.name not in changed:
            assert getattr(half, field.name) == getattr(settings, field.name)
