"""The intervals against independent formulas and exact coverage."""

import numpy as np
import pytest
from scipy.stats import binom, binomtest, norm

from kfp_vision.components.shared.metrics.intervals import (
    difference_interval,
    images_worth,
    wilson_interval,
)


@pytest.mark.parametrize(("right", "total"), [(60, 60), (0, 7), (98, 100), (1, 2), (531, 1000)])
def test_wilson_is_that_of_scipy(right: int, total: int) -> None:
    expected = binomtest(right, total).proportion_ci(method="wilson")
    assert wilson_interval(right / total, total) == pytest.approx((expected.low, expected.high))


def test_all_right_is_not_certain() -> None:
    assert wilson_interval(1.0, 60) == pytest.approx((0.940, 1.0), abs=5e-4)
    assert wilson_interval(0.0, 60) == pytest.approx((0.0, 0.060), abs=5e-4)


@pytest.mark.parametrize("share", [0.5, 0.9, 0.98, 0.99])
@pytest.mark.parametrize("total", [60, 100, 400])
def test_wilson_covers_a_rare_mistake(share: float, total: int) -> None:
    held = [
        low <= share <= high
        for low, high in (wilson_interval(right / total, total) for right in range(total + 1))
    ]
    # Exact: the outcomes whose interval holds the truth, weighted by their probability.
    assert binom.pmf(np.arange(total + 1), total, share) @ held > 0.915
    if (share, total) == (0.98, 100):
        assert binom.pmf(np.arange(total + 1), total, share) @ held > 0.94


@pytest.mark.parametrize(("better", "worse", "total"), [(3, 0, 6), (0, 5, 5), (40, 12, 300)])
def test_difference_of_accuracies_is_that_of_bonett_and_price(
    better: int, worse: int, total: int
) -> None:
    difference = (better - worse) / total
    error = np.sqrt(((better + worse) / total - difference**2) / total)
    p12, p21 = (better + 1) / (total + 2), (worse + 1) / (total + 2)
    half = 1.959964 * np.sqrt((p12 + p21 - (p12 - p21) ** 2) / (total + 2))
    expected = max(-1, p12 - p21 - half), min(1, p12 - p21 + half)
    assert difference_interval(difference, error, total) == pytest.approx(expected)


@pytest.mark.parametrize(("images", "can_tell"), [(2, False), (3, False), (4, False), (60, True)])
def test_a_handful_of_images_tells_nothing(images: int, can_tell: bool) -> None:
    """The model is right and the baseline wrong every time: no resample varies."""
    low, high = difference_interval(1.0, 0.0, images, num_compared=3)
    assert (low > 0) == can_tell
    assert high == 1.0
    assert low == pytest.approx(-difference_interval(-1.0, 0.0, images, num_compared=3)[1])


def test_several_differences_hold_together() -> None:
    one, three = (difference_interval(0.0, 0.01, 10_000, number)[1] for number in (1, 3))
    assert one == pytest.approx(1.96 * 0.01, rel=0.01)
    assert norm.sf(three / 0.01) == pytest.approx(0.025 / 3, rel=0.03)


@pytest.mark.parametrize(
    ("counts", "images"), [([30, 30], 60), ([58, 2], 7.733), ([60, 0], 60), ([5] * 20, 100)]
)
def test_images_worth_of_a_mean_over_classes(counts: list[int], images: float) -> None:
    worth = images_worth("balanced_accuracy", np.array(counts), sum(counts))
    assert worth == pytest.approx(images, abs=1e-3)


def test_images_worth_where_every_image_counts_the_same() -> None:
    assert images_worth("accuracy", np.array([58, 2]), 60) == 60
