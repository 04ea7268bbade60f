"""The intervals against independent formulas and exact coverage."""

import numpy as np
import pytest
from scipy.stats import binom, binomtest, norm, ttest_rel

from kfp_vision.components.shared.metrics.intervals import (
    difference_interval,
    graded_difference_interval,
    graded_interval,
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


@pytest.mark.parametrize("images", [5, 12, 100])
def test_the_difference_of_shares_is_that_of_the_paired_t_test(images: int) -> None:
    ours, theirs = np.random.default_rng(images).beta([[8], [6]], 2, (2, images))
    differences = ours - theirs
    # What the resamples of a mean tend to.
    error = differences.std() / np.sqrt(images)
    expected = ttest_rel(ours, theirs).confidence_interval()
    found = graded_difference_interval(differences.mean(), error, images)
    assert found == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize("images", [1, 1.5, 2, 5, 12, 100])
@pytest.mark.parametrize("error", [0.0, 0.01, 0.3])
def test_shares_differ_no_more_than_right_and_wrong(images: float, error: float) -> None:
    low, high = graded_difference_interval(0.2, error, images, num_compared=2)
    lowest, highest = difference_interval(0.2, error, images, num_compared=2)
    assert high - low <= highest - lowest
    if not error:
        # Nothing varies: the number of images alone says how sure that is.
        assert (low, high) == (lowest, highest)
        assert graded_interval(0.2, error, images) == wilson_interval(0.2, images)


@pytest.mark.parametrize(("value", "error"), [(0.5, 0.02), (0.97, 0.004)])
def test_a_share_of_many_images_has_a_normal_interval(value: float, error: float) -> None:
    low, high = graded_interval(value, error, 100_000)
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.01)
    assert low < value < high


def test_a_share_of_few_images_is_surer_than_so_many_answers() -> None:
    low, high = graded_interval(0.85, 0.03, 12)
    # 2.2 standard errors of 11 degrees of freedom.
    assert high - low == pytest.approx(2 * 2.2 * 0.03 * np.sqrt(12 / 11), rel=0.03)
    lowest, highest = wilson_interval(0.85, 12)
    assert high - low < 0.4 * (highest - lowest)


@pytest.mark.parametrize(
    ("counts", "images"), [([30, 30], 60), ([58, 2], 7.733), ([60, 0], 60), ([5] * 20, 100)]
)
def test_images_worth_of_a_mean_over_classes(counts: list[int], images: float) -> None:
    worth = images_worth("balanced_accuracy", np.array(counts), sum(counts))
    assert worth == pytest.approx(images, abs=1e-3)


def test_images_worth_where_every_image_counts_the_same() -> None:
    assert images_worth("accuracy", np.array([58, 2]), 60) == 60
