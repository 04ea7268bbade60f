"""How much an embedding says: its variance and its rank, and whether it has collapsed.

Shapes: N images, embeddings [N, D], N > 1.
"""

import dataclasses

import numpy as np

__all__ = ["Spread", "describe_spread", "effective_rank", "numeric_rank"]

# Of the variance of unit vectors, which is at most 1: below, all images look nearly the same.
_LEAST_VARIANCE = 1e-3
# Directions that images differ in: fewer tell few classes apart, and a network that has learned
# nothing has more.
_LEAST_RANK = 3.0


@dataclasses.dataclass(frozen=True)
class Spread:
    """How far apart the images lie.

    Attributes:
        variance: Of the embeddings, each scaled to unit length: 1 - |mean|^2, in [0, 1].
        effective_rank: Directions that they differ in, by the entropy of the singular values.
        numeric_rank: Directions that they differ in at all, up to rounding.
        width: D.
    """

    variance: float
    effective_rank: float
    numeric_rank: int
    width: int

    @property
    def collapse(self) -> str:
        """The name and the measure of a collapse; empty where there is none."""
        if not self.variance >= _LEAST_VARIANCE:
            return f"complete collapse: the variance of the embedding is {self.variance:.1e} of 1"
        if not self.effective_rank >= min(_LEAST_RANK, self.width):
            return (
                f"dimensional collapse: images differ in {self.effective_rank:.1f} of "
                f"{self.width} directions"
            )
        return ""


def describe_spread(embeddings: np.ndarray) -> Spread:
    """Returns how far apart the images lie; all that is not finite is a complete collapse."""
    values = np.asarray(embeddings, np.float64)
    if not np.isfinite(values).all():
        return Spread(0.0, 0.0, 0, values.shape[1])
    norms = np.linalg.norm(values, axis=1, keepdims=True)
    unit = values / np.maximum(norms, np.finfo(np.float64).tiny)
    centred = unit - unit.mean(axis=0)
    singular = np.linalg.svd(centred, compute_uv=False)
    # Embeddings are float32: what is below their rounding is none.
    rounding = np.sqrt(len(unit)) * np.finfo(np.float32).eps
    return Spread(
        float((centred**2).sum() / len(unit)),
        effective_rank(np.where(singular > rounding, singular, 0.0)),
        numeric_rank(singular, rounding),
        values.shape[1],
    )


def effective_rank(singular: np.ndarray) -> float:
    """Returns exp(H(p)) with p the singular values over their sum; 0 where all are 0.

    Between 1 and the number of values; k for k equal ones.

    Args:
        singular: Singular values, not negative.

    Reference: Roy and Vetterli, 2007, The effective rank: a measure of effective dimensionality,
    EUSIPCO, equations 1 to 3.
    """
    total = singular.sum()
    if total == 0:
        return 0.0
    shares = singular[singular > 0] / total
    return float(np.exp(-(shares * np.log(shares)).sum()))


def numeric_rank(singular: np.ndarray, rounding: float) -> int:
    """Returns how many singular values are above the rounding of the matrix.

    Args:
        singular: Singular values.
        rounding: Below, a value is 0.
    """
    return int((singular > rounding).sum())
