"""The number of steps: from the loss curve of the best constant rate, where it can be told.

Source: Godbole et al., Deep Learning Tuning Playbook, 2023, "Deciding how long to train": the
length at which a constant rate fits the training set.
"""

import dataclasses

import numpy as np

__all__ = ["FittedLength", "steps_to_fit"]

# Fitted: a twentieth of the loss of a model that knows nothing is left.
_FITTED_SHARE = 0.05


@dataclasses.dataclass(frozen=True)
class FittedLength:
    """Steps until the training set is fitted, extrapolated along a power law.

    Attributes:
        steps: Point estimate.
        low, high: 95 % interval.
        exponent: p of loss = a t^-p.
    """

    steps: float
    low: float
    high: float
    exponent: float


def steps_to_fit(losses: np.ndarray, initial_loss: float) -> FittedLength | None:
    """Returns when the losses [T] of a constant rate will fall below 5 % of `initial_loss`.

    Fits log loss over log step to the second half of the curve. None when the curve does not fall
    significantly: the length is then not told by so few steps.

    Raises:
        ValueError: There are fewer than 16 steps.
    """
    if len(losses) < 16:
        raise ValueError(f"A loss curve needs 16 steps. Received: {len(losses)}")
    steps = np.arange(len(losses) // 2, len(losses)) + 1
    x, y = np.log(steps), np.log(np.maximum(losses[len(losses) // 2 :], 1e-9))
    (slope, intercept), covariance = np.polyfit(x, y, 1, cov=True)
    error = np.sqrt(covariance[0, 0])
    if slope + 2 * error >= 0:
        return None
    # The line turns about its middle, which is known best.
    middle, height = x.mean(), y.mean()
    target = np.log(_FITTED_SHARE * initial_loss)

    def crossing(at: float) -> float:
        return float(np.exp(min(middle + (target - height) / at, 50.0)))

    return FittedLength(
        crossing(slope), crossing(slope - 2 * error), crossing(slope + 2 * error), float(-slope)
    )
