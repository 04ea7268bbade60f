"""The one rule by which what was tried is kept: its gain on held-out images must clear zero.

Shapes: S seeds, N held-out images.
"""

import dataclasses

import numpy as np
from scipy.special import stdtrit

__all__ = ["Gain", "measure_gain", "why_no_gain"]

_LEVEL = 0.95


@dataclasses.dataclass(frozen=True)
class Gain:
    """By how much a loss is lower than that of the reference.

    Attributes:
        value: Mean over seeds and images, in nats an image.
        low, high: Its 95 % interval, which holds for all that were tried together.
    """

    value: float
    low: float
    high: float

    @property
    def is_accepted(self) -> bool:
        """Whether the whole interval is above zero."""
        return self.low > 0


def why_no_gain(num_images: int) -> str:
    """Returns why no gain can be accepted on so few held-out images; empty where one can."""
    return "" if num_images > 1 else "fewer than two held-out images cannot tell a gain from chance"


def measure_gain(reference: np.ndarray, losses: np.ndarray, num_tried: int = 1) -> Gain:
    """Returns the gain of what was tried over a reference, on the same images with the same seeds.

    The standard error is that of a paired bootstrap over images and over seeds, which a mean has in
    closed form: the sum of both variances. Of one seed nothing is known of the scatter of seeds.

    Args:
        reference: Loss of each image, calibrated, [S, N], N > 1.
        losses: Those of what was tried, [S, N].
        num_tried: How many are tried by these images: the level is divided by them (Bonferroni), so
            that the best of several may be picked.

    Raises:
        ValueError: One image has no scatter.

    Reference: Efron and Tibshirani, 1993, An Introduction to the Bootstrap, chapter 5. Degrees of
    freedom of a sum: Satterthwaite, 1946, Biometrics Bulletin 2, 110.
    """
    gains = reference - losses
    if why_no_gain(gains.shape[1]):
        raise ValueError(
            "A gain must be measured on two held-out images or more. "
            f"Received: gains of shape {gains.shape}"
        )
    parts = [
        (gains.mean(1 - axis).var(ddof=1) / size, size - 1)
        for axis, size in enumerate(gains.shape)
        if size > 1
    ]
    variance, value = sum(part for part, _ in parts), float(gains.mean())
    if variance == 0:
        return Gain(value, value, value)
    degrees = variance**2 / sum(part**2 / free for part, free in parts)
    half = variance**0.5 * stdtrit(degrees, 1 - (1 - _LEVEL) / 2 / num_tried)
    return Gain(value, value - float(half), value + float(half))
