"""The spread of an embedding: closed forms, and both kinds of collapse by their names."""

import numpy as np
import pytest

from kfp_vision.components.pretraining.embedding import describe_spread, effective_rank


@pytest.mark.parametrize("count", [1, 3, 16])
def test_k_equal_singular_values_are_k_directions(count):
    assert effective_rank(np.full(count, 7.0)) == pytest.approx(count)
    assert effective_rank(np.array([7.0] * count + [0.0] * 5)) == pytest.approx(count)


def test_unequal_directions_count_less():
    # H(2/3, 1/3) = log 3 - (2/3) log 2.
    assert effective_rank(np.array([2.0, 1.0])) == pytest.approx(3 / 2 ** (2 / 3))
    assert effective_rank(np.zeros(4)) == 0.0


def test_the_axes_of_a_space_have_full_variance_and_rank():
    # 2 D points: the mean is 0, and every axis is as long as another.
    spread = describe_spread(np.concatenate([np.eye(8), -np.eye(8)]).astype(np.float32))
    assert spread.variance == pytest.approx(1.0)
    assert spread.effective_rank == pytest.approx(8.0)
    assert spread.numeric_rank == 8
    assert spread.collapse == ""


def test_the_scale_of_an_embedding_says_nothing():
    points = np.random.default_rng(0).normal(size=(100, 12)) + 1.0
    first, second = describe_spread(points), describe_spread(1e-6 * points)
    assert second.variance == pytest.approx(first.variance)
    assert second.effective_rank == pytest.approx(first.effective_rank)


@pytest.mark.parametrize(
    "points",
    [
        np.tile(np.arange(5.0), (50, 1)),
        np.zeros((50, 5)),
        np.full((50, 5), np.nan),
        1.0 + 1e-3 * np.random.default_rng(0).normal(size=(50, 5)),
    ],
    ids=["constant", "zero", "not finite", "almost constant"],
)
def test_points_that_are_nearly_one_are_a_complete_collapse(points):
    assert describe_spread(points).collapse.startswith("complete collapse")


def test_points_on_a_plane_are_a_dimensional_collapse_though_they_vary():
    generator = np.random.default_rng(0)
    points = generator.normal(size=(200, 2)) @ generator.normal(size=(2, 64))
    spread = describe_spread(points.astype(np.float32))
    assert spread.variance > 0.9
    assert spread.numeric_rank == 2
    assert spread.collapse.startswith("dimensional collapse")
    # A space of two dimensions has no more of them.
    assert describe_spread(generator.normal(size=(200, 2))).effective_rank < 2 + 1e-9
