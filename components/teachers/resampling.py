"""Which training images a member sees how often: bootstraps, and the hard ones more.

Shapes: N training images.
"""

import math

import numpy as np

__all__ = ["boosting_weights", "bootstrap_rows"]


def bootstrap_rows(num_images: int, seed: int, weights: np.ndarray | None = None) -> np.ndarray:
    """Returns as many rows as there are images, drawn with replacement, int [N], sorted.

    Args:
        num_images: N.
        seed: Of the draw.
        weights: How likely each is, [N], sum 1; None for all alike.

    Reference: Breiman, 1996, Bagging Predictors, Machine Learning 24, 123.
    """
    drawn = np.random.default_rng(seed).choice(num_images, num_images, p=weights)
    return np.sort(drawn)


def boosting_weights(is_wrong: np.ndarray, num_classes: int, shrinkage: float = 1.0) -> np.ndarray:
    """Returns how likely the next member sees each image, [N], sum 1.

    Images that the members before get wrong are exp(s a) times as likely, a = log((1 - e) / e) +
    log(C - 1) for the share e that is wrong: with s = 1, a guess among C classes is then right as
    often as those members are. Where they are never wrong, or no better than a guess, all are
    alike.

    Args:
        is_wrong: bool [N].
        num_classes: C; 2 where classes are independent.
        shrinkage: s, in [0, 1].

    Reference: Zhu et al., 2009, Multi-class AdaBoost, Statistics and Its Interface 2, algorithm 2.
    """
    error = is_wrong.mean()
    if not 0 < error < 1 - 1 / num_classes:
        return np.full(len(is_wrong), 1 / len(is_wrong))
    alpha = math.log((1 - error) / error) + math.log(num_classes - 1)
    weights = np.where(is_wrong, math.exp(shrinkage * alpha), 1.0)
    shares: np.ndarray = weights / weights.sum()
    return shares
