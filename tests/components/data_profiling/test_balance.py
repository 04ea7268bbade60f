"""Entropy, effective number and weights against closed forms."""

import math

import numpy as np
import pytest

from kfp_vision.components.data_profiling.balance import (
    class_weights,
    effective_number,
    entropy_bits,
    imbalance_ratio,
    presence_entropy_bits,
)

COUNTS = [[5], [1, 1], [100, 1], [5000, 500, 50], [10, 0, 3]]


@pytest.mark.parametrize(
    ("counts", "bits"),
    [([7], 0.0), ([4, 4], 1.0), ([2, 2, 2, 2, 0], 2.0), ([1, 3], 0.8112781), ([0, 0], 0.0)],
)
def test_entropy(counts: list[int], bits: float) -> None:
    assert entropy_bits(np.array(counts)) == pytest.approx(bits)


def test_independent_halves_tell_one_bit_a_class() -> None:
    assert presence_entropy_bits(np.array([50, 50, 100, 0]), 100) == pytest.approx(2.0)


@pytest.mark.parametrize("beta", [0.0, 0.9, 0.9999])
def test_effective_number_is_the_geometric_sum(beta: float) -> None:
    counts = np.array([0, 1, 2, 25])
    expected = [math.fsum(beta**power for power in range(count)) for count in counts]
    np.testing.assert_allclose(effective_number(counts, beta), expected)


@pytest.mark.parametrize("beta", [-0.1, 1.0])
def test_beta_outside_its_range_is_refused(beta: float) -> None:
    with pytest.raises(ValueError, match="Received"):
        effective_number(np.array([1]), beta)


@pytest.mark.parametrize("counts", COUNTS)
@pytest.mark.parametrize("beta", [0.0, 0.99, 0.9999])
def test_weights_have_mean_one_over_images_and_grow_as_classes_shrink(
    counts: list[int], beta: float
) -> None:
    images = np.array(counts)
    weights = class_weights(images, beta)
    assert (weights * images).sum() / images.sum() == pytest.approx(1.0)
    assert np.isfinite(weights).all()
    assert (np.diff(weights[np.argsort(-images)]) >= -1e-12).all()


def test_weights_tend_to_the_inverse_frequency() -> None:
    weights = class_weights(np.array([30, 10]), 1 - 1e-9)
    assert weights[1] / weights[0] == pytest.approx(3.0, rel=1e-3)


@pytest.mark.parametrize(("counts", "ratio"), [([9, 3], 3.0), ([9, 0], 1.0), ([0], 1.0)])
def test_imbalance_ratio_is_over_classes_that_have_images(counts: list[int], ratio: float) -> None:
    assert imbalance_ratio(np.array(counts)) == ratio
