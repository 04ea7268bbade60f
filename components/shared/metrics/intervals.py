"""95 % intervals that hold where nothing, or everything, is wrong: N images, R resamples.

Percentiles of a bootstrap give [1, 1] for 60 right answers out of 60. These closed forms use only
its standard error. Where an image is right or wrong, the number of images bounds the width from
below; where it is right to a degree, as a share of its pixels, few images may say much.
"""

import numpy as np
from scipy.special import ndtri, stdtrit

__all__ = [
    "PER_IMAGE",
    "PER_PIXEL",
    "difference_interval",
    "graded_difference_interval",
    "graded_interval",
    "images_worth",
    "wilson_interval",
]

_LEVEL = 0.95
# Every image counts the same in these metrics; in the others every class does.
PER_IMAGE = ("accuracy", "micro_f1")
# An image is right to a degree in these metrics.
PER_PIXEL = ("mean_iou", "mean_dice", "pixel_accuracy")
# Of counts in float32.
_ROUNDING = 1e-6


def wilson_interval(value: float, num_images: float) -> tuple[float, float]:
    """Returns the 95 % score interval of a proportion, or of another metric between 0 and 1.

    Args:
        value: The metric.
        num_images: N of a proportion. Of another metric, how many images would give a proportion
            the same standard error: value (1 - value) / error^2.

    References: Wilson, 1927, JASA 22. Effective sample size: Franco et al., 2019, Journal of Survey
    Statistics and Methodology 7, section 2.
    """
    z = float(ndtri(0.5 + _LEVEL / 2))
    excess = z**2 / num_images
    centre = (value + excess / 2) / (1 + excess)
    half = z / (1 + excess) * np.sqrt(value * (1 - value) / num_images + excess / (4 * num_images))
    # The bound of 0 or of 1 is exact but for rounding.
    return min(value, float(centre - half)), max(value, float(centre + half))


def difference_interval(
    difference: float, error: float, num_images: float, num_compared: int = 1
) -> tuple[float, float]:
    """Returns the 95 % interval of the difference of two metrics of the same images.

    Two images are added, on one of which either side alone is right: for the accuracy this is the
    interval of Bonett and Price, and with many images that of the normal distribution.

    Args:
        difference: Between -1 and 1.
        error: Its standard error, from paired resamples.
        num_images: Of `images_worth`.
        num_compared: Differences looked at together. All their intervals hold in 95 % of the cases
            (Bonferroni), so that the best of several can be picked by the same images.

    Reference: Bonett and Price, 2012, Journal of Educational and Behavioral Statistics 37, eq. 3.
    """
    z = float(ndtri(1 - (1 - _LEVEL) / 2 / num_compared))
    padded = num_images + 2
    variance = (num_images * error) ** 2 + 2 + 2 * num_images * difference**2 / padded
    centre, half = num_images * difference / padded, z * np.sqrt(variance) / padded
    return max(-1.0, float(centre - half)), min(1.0, float(centre + half))


def graded_interval(value: float, error: float, num_images: float) -> tuple[float, float]:
    """Returns the 95 % interval of a metric in which every image is right to a degree.

    That of Wilson, of as many images, each right or wrong, as would give the same t interval:
    v (1 - v) (1 - 1 / N) / error^2 * (z / t)^2, of N - 1 degrees of freedom.

    Args:
        value: v, between 0 and 1.
        error: Root of the mean squared distance of resamples from the value.
        num_images: N, how many images measure each class.

    Reference: Korn and Graubard, 1998, Survey Methodology 24, section 2.
    """
    if error <= _ROUNDING or num_images <= 1:
        return wilson_interval(value, num_images)
    z, t = _quantiles(num_images - 1)
    right_or_wrong = value * (1 - value) * (1 - 1 / num_images) / error**2
    return wilson_interval(value, right_or_wrong * (z / t) ** 2)


def graded_difference_interval(
    difference: float, error: float, num_images: float, num_compared: int = 1
) -> tuple[float, float]:
    """Returns the 95 % interval of the difference of two metrics of images right to a degree.

    The paired t interval over images, which nearly holds for few of them, but not where one in
    many fails wholly and the sample lacks it. No wider than that of images that are right or
    wrong, which differ most; that one too where all resamples are the same.

    Args:
        difference: Between -1 and 1.
        error: Its standard error, from paired resamples; those of N images are too close together
            by the root of 1 - 1 / N.
        num_images: N, how many images measure each class.
        num_compared: As of `difference_interval`.

    Reference: Efron and Tibshirani, 1993, An Introduction to the Bootstrap, section 12.2.
    """
    widest = difference_interval(difference, error, num_images, num_compared)
    if error <= _ROUNDING or num_images <= 1:
        return widest
    _, t = _quantiles(num_images - 1, num_compared)
    half = t * error / np.sqrt(1 - 1 / num_images)
    found = max(-1.0, float(difference - half)), min(1.0, float(difference + half))
    return min(found, widest, key=lambda interval: interval[1] - interval[0])


def _quantiles(freedom: float, num_compared: int = 1) -> tuple[float, float]:
    """Returns half the widths of an interval, in standard errors: of the normal and t."""
    upper = 1 - (1 - _LEVEL) / 2 / num_compared
    return float(ndtri(upper)), float(stdtrit(freedom, upper))


def images_worth(metric: str, counts: np.ndarray, num_images: float) -> float:
    """Returns how many images measure a metric: fewer than N where every class counts the same.

    A mean over C classes that have images is measured as well by C^2 / sum(1 / n_c) images,
    equally many of each class: 58 images of one class and 2 of another are worth 7.7.

    Args:
        metric: Its name.
        counts: n, int [C], images of each class.
        num_images: N.
    """
    present = counts[counts > 0]
    if metric in PER_IMAGE or not len(present):
        return float(num_images)
    return min(float(num_images), float(len(present) ** 2 / (1 / present).sum()))
