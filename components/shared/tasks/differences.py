"""How far the predictions of a runtime are from those of another one, for the same images."""

from typing import Any, Protocol

import numpy as np

__all__ = ["Difference", "LargestDifference", "ScoreDifference"]


class Difference(Protocol):
    """Takes the predictions of images batch by batch."""

    def add(self, predictions: Any, expected: Any) -> None:
        """Takes those of a batch, as a task returns them."""
        ...

    @property
    def value(self) -> float:
        """The difference, as a share: rounding alone makes it less than 1e-4."""
        ...


class LargestDifference:
    """The largest difference of a probability."""

    def __init__(self) -> None:
        """Knows nothing yet."""
        self.value = 0.0

    def add(self, predictions: Any, expected: Any) -> None:
        """Takes probabilities, [B, ...]."""
        self.value = max(self.value, float(np.abs(predictions - expected).max()))


class ScoreDifference:
    """The differences of all scores of objects over their sum.

    Scores fall, so objects of almost equal ones may change their places. Where neighbouring cells
    are almost equal, rounding decides whether one of them is a centre: an object is then found by
    one runtime alone. The metric judges that, and one object among many is no other model.
    """

    def __init__(self) -> None:
        """Knows nothing yet."""
        self._apart = self._total = 0.0

    def add(self, predictions: Any, expected: Any) -> None:
        """Takes `scores` [B, N] among others."""
        self._apart += float(np.abs(predictions["scores"] - expected["scores"]).sum())
        self._total += float(expected["scores"].sum())

    @property
    def value(self) -> float:
        """The difference; that of a sum of 1 at least."""
        return self._apart / max(self._total, 1.0)
