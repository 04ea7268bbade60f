"""Which candidate is chosen, from losses on the same held-out images.

Shapes: M held-out images.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

__all__ = ["Contender", "decide", "knows_images", "paired_difference", "project"]

# Standard errors, and share of the loss: initialisations differ by more than the images tell, as
# the tests of model files show.
_SURE, _LOWER = 3.0, 0.8


@dataclasses.dataclass(frozen=True)
class Contender:
    """What the decision looks at.

    Attributes:
        losses: Loss of each held-out image that the whole training is expected to reach, [M].
        multiply_adds: Of one image, in inference.
        rank: Of equally costly ones, the lower is taken.
    """

    losses: np.ndarray
    multiply_adds: int
    rank: int


def project(first: np.ndarray, second: np.ndarray, doublings: float) -> np.ndarray:
    """Returns the losses [M] after more doublings of the length.

    Every doubling is taken to bring half of what the one before brought, a cautious power law: from
    L(t) and L(2 t), L(2^(1 + k) t) = L(2 t) - (1 - 2^-k) (L(t) - L(2 t)). A loss that has risen is
    not projected to rise further: the best checkpoint is kept.

    Args:
        first: Of a trial, [M].
        second: Of a trial of twice the length, [M].
        doublings: k, from the second trial to the whole training.
    """
    gain = first - second
    if gain.mean() <= 0:
        return second
    projected: np.ndarray = second - (1 - 2.0 ** -max(doublings, 0.0)) * gain
    return projected


def paired_difference(losses: np.ndarray, others: np.ndarray) -> tuple[float, float]:
    """Returns the mean of `losses - others` and its standard error."""
    difference = losses - others
    return float(difference.mean()), float(difference.std(ddof=1) / np.sqrt(len(difference)))


def knows_images(losses: np.ndarray, shuffled: np.ndarray) -> bool:
    """Returns whether weights know more of images than the same weights in another order.

    Independent weights, as an initialisation draws them, are as likely in any order: a linear head
    on the features of both is equally good, but for chance.

    Args:
        losses: Of a head on the features, [M].
        shuffled: Of a head on the features of the shuffled weights, [M]; NaN where they exploded.
    """
    if not np.isfinite(shuffled).all():
        return bool(np.isfinite(losses).all())
    difference, error = paired_difference(losses, shuffled)
    return bool(difference < -_SURE * error and losses.mean() <= _LOWER * shuffled.mean())


def decide(contenders: Sequence[Contender]) -> int:
    """Returns the index of the choice.

    Of those that are behind the lowest loss by at most one standard error, the one that costs least
    in inference; of equally costly ones, that of the lowest rank, and then that of the lowest loss.

    Args:
        contenders: At least one; losses that are not finite lose, if any are.
    """
    finite = [index for index, each in enumerate(contenders) if np.isfinite(each.losses).all()]
    if not finite:
        return 0
    best = min(finite, key=lambda index: contenders[index].losses.mean())
    tied = []
    for index in finite:
        behind, error = paired_difference(contenders[index].losses, contenders[best].losses)
        if index == best or behind <= error:
            tied.append(index)
    means = {index: float(contenders[index].losses.mean()) for index in tied}
    return min(tied, key=lambda i: (contenders[i].multiply_adds, contenders[i].rank, means[i]))
