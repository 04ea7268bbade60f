"""95 % intervals that hold where nothing, or everything, is wrong: N images, R resamples.

Percentiles of a bootstrap give [1, 1] for 60 right answers out of 60. These closed forms use only
its standard error; the number of images bounds the width from below.
"""

import numpy as np
from scipy.special import ndtri

__all__ = ["PER_IMAGE", "difference_interval", "images_worth", "wilson_interval"]

_LEVEL = 0.95
# Every image counts the same in these metrics; in the others every class does.
PER_IMAGE = ("accuracy", "micro_f1")


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
