"""Which candidate is chosen: closed forms, and draws whose answer is known."""

import numpy as np
import pytest

from kfp_vision.components.network_choice.decision import (
    Contender,
    decide,
    knows_images,
    paired_difference,
    project,
)


def contender(losses: object, cost: int = 100, rank: int = 0) -> Contender:
    return Contender(np.asarray(losses, float), cost, rank)


@pytest.fixture
def losses() -> np.ndarray:
    return np.random.default_rng(0).exponential(0.5, 400)


def test_every_doubling_brings_half_of_the_one_before():
    first, second = np.array([1.0, 2.0]), np.array([0.8, 1.6])
    np.testing.assert_allclose(project(first, second, 0.0), second)
    np.testing.assert_allclose(project(first, second, 1.0), [0.7, 1.4])
    np.testing.assert_allclose(project(first, second, 2.0), [0.65, 1.3])
    # The sum of 1/2 + 1/4 + ... is 1.
    np.testing.assert_allclose(project(first, second, 60.0), 2 * second - first)


def test_a_loss_that_rises_is_not_projected():
    first, second = np.array([0.5, 0.5]), np.array([0.4, 0.7])
    np.testing.assert_array_equal(project(first, second, 3.0), second)


def test_the_error_of_a_paired_difference_is_that_of_the_differences(losses):
    # Losses that differ by a constant differ for certain, however much they scatter.
    mean, error = paired_difference(losses + 0.01, losses)
    assert mean == pytest.approx(0.01)
    assert error < 1e-9


def test_the_lowest_loss_wins_where_it_is_clear(losses):
    assert decide([contender(losses + 0.1, cost=1), contender(losses, cost=10**9)]) == 1


def test_of_those_that_cannot_be_told_apart_the_cheapest_wins(losses):
    noise = np.random.default_rng(1).normal(0.0, 0.3, len(losses))
    large, small = contender(losses, cost=400), contender(losses + noise - noise.mean() + 0.001, 10)
    assert decide([large, small]) == 1


def test_of_equally_costly_ones_the_rank_decides(losses):
    noise = np.random.default_rng(1).normal(0.0, 0.3, len(losses))
    lowest = contender(losses, 400, rank=1)
    other = contender(losses + noise - noise.mean() + 0.001, 400, rank=0)
    assert decide([lowest, other]) == 1


def test_a_candidate_that_diverged_loses(losses):
    assert decide([contender(np.full(len(losses), np.nan), cost=1), contender(losses)]) == 1


def test_weights_know_images_where_their_order_counts_for_much_and_for_certain(losses):
    noise = np.random.default_rng(1).normal(0.0, 0.3, len(losses))
    assert knows_images(0.5 * losses, losses)
    # By chance as good; certain but little; much but not certain.
    assert not knows_images(losses + noise, losses)
    assert not knows_images(0.95 * losses, losses)
    assert not knows_images(0.5 * losses[:4] + 5 * noise[:4], losses[:4])
    assert not knows_images(1.5 * losses, losses)


def test_weights_whose_features_explode_in_another_order_know_something(losses):
    broken = np.full(len(losses), np.nan)
    assert knows_images(losses, broken)
    assert not knows_images(broken, broken)
    assert not knows_images(broken, losses)
