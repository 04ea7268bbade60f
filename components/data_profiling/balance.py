"""Class balance: how much labels tell, and what weights make up for rare classes.

`counts` is int [C], the number of images of each class; entropies are in bits.
"""

import numpy as np

__all__ = [
    "MAX_IMBALANCE",
    "class_weights",
    "effective_number",
    "entropy_bits",
    "imbalance_ratio",
    "presence_entropy_bits",
]

# Largest class over smallest, above which the loss is weighted: a convention, not a measurement.
MAX_IMBALANCE = 3.0


def entropy_bits(counts: np.ndarray) -> float:
    """Returns the Shannon entropy of the distribution `counts / sum(counts)`."""
    present = counts[counts > 0]
    if not present.size:
        return 0.0
    shares = present / present.sum()
    return float(-(shares * np.log2(shares)).sum()) + 0.0


def presence_entropy_bits(counts: np.ndarray, num_images: int) -> float:
    """Returns the sum over classes of the entropy of "the class is in the image" (multi-label).

    It is an upper bound of the label entropy: classes that come together tell less.
    """
    return sum(entropy_bits(np.array([count, num_images - count])) for count in counts)


def effective_number(counts: np.ndarray, beta: float) -> np.ndarray:
    """Returns the effective number of samples of each class, (1 - beta^n) / (1 - beta), float [C].

    Args:
        counts: n, int [C].
        beta: (V - 1) / V, where V is the number of distinct images that a class could have.

    Reference: Cui et al., 2019, arXiv:1901.05555, proposition 1.
    """
    if not 0.0 <= beta < 1.0:
        raise ValueError(f"`beta` must be at least 0 and below 1. Received: {beta}")
    effective: np.ndarray = (1.0 - np.power(beta, counts)) / (1.0 - beta)
    return effective


def class_weights(counts: np.ndarray, beta: float) -> np.ndarray:
    """Returns the loss weight of each class, float [C], with mean 1 over the images.

    The weight is inverse to the effective number of samples. A class without images counts as if
    it had one, so that the weight is finite.

    Reference: Cui et al., 2019, arXiv:1901.05555, section 4.
    """
    if not counts.sum():
        raise ValueError(f"`counts` must hold at least one image. Received: {counts.tolist()}")
    inverse = 1.0 / effective_number(np.maximum(counts, 1), beta)
    weights: np.ndarray = inverse * counts.sum() / (inverse * counts).sum()
    return weights


def imbalance_ratio(counts: np.ndarray) -> float:
    """Returns the size of the largest class over that of the smallest one that has images."""
    present = counts[counts > 0]
    return float(present.max() / present.min()) if present.size else 1.0
