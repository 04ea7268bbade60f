"""The learning rate of the reference batch: an exponential range test, then constant-rate trials.

Shapes: T steps, R rates. All rates see the same images from the same initial weights, so that their
losses are compared in pairs.
Sources: Smith, 2017, arXiv:1506.01186, section 3.3 (range test).
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

from kfp_vision.components.shared.artifacts.probe_result import RangeTest

__all__ = [
    "RANGES",
    "RateChoice",
    "choose_rate",
    "clip_threshold",
    "exponential_rates",
    "next_rate",
    "read_range_test",
    "smooth",
]

# Lowest and highest rate of the range test: five decades, the last one beyond every use.
RANGES = {"adamw": (1e-5, 1.0), "lamb": (1e-4, 10.0), "sgd": (1e-4, 10.0)}
# Steps of the centred average of a range test: a trailing one would shift every rate upward.
_WINDOW = 9
_DIVERGED = 0.5


def exponential_rates(low: float, high: float, steps: int) -> np.ndarray:
    """Returns rates growing by one factor a step, float32 [steps]."""
    return np.geomspace(low, high, steps).astype(np.float32)


def smooth(losses: np.ndarray, decay: float = 0.9) -> np.ndarray:
    """Returns the bias-corrected exponential moving average, [T]."""
    averages = np.empty(len(losses))
    average = weight = 0.0
    for step, loss in enumerate(losses):
        average = decay * average + (1 - decay) * float(loss)
        weight = decay * weight + (1 - decay)
        averages[step] = average / weight
    return averages


def read_range_test(rates: np.ndarray, losses: np.ndarray) -> RangeTest:
    """Reads the losses [T] of a test with rates [T]; what is not finite has diverged.

    Raises:
        ValueError: The first loss is not finite.
    """
    if not np.isfinite(losses[0]):
        raise ValueError(f"A range test must start with a finite loss. Received: {losses[0]}")
    finite = len(losses) if np.isfinite(losses).all() else int(np.argmin(np.isfinite(losses)))
    window = min(_WINDOW, finite)
    kept = losses[:finite]
    averages = np.convolve(kept, np.full(window, 1 / window), "valid")
    centres = rates[window // 2 : window // 2 + len(averages)]
    lowest = int(np.argmin(averages))
    # Differences of neighbours know nothing of the trend; beyond the lowest they may be immense.
    falling = kept[: lowest + window]
    error = np.std(np.diff(falling)) / np.sqrt(2 * window) if len(falling) > 1 else 0.0
    plateau = int(np.argmax(averages <= averages[lowest] + 2 * error))
    limit = averages[lowest] + _DIVERGED * (averages[0] - averages[lowest])
    above = np.nonzero(averages[lowest:] > limit)[0]
    diverged = float(rates[finite]) if finite < len(rates) else None
    return RangeTest(
        plateau_rate=float(centres[plateau]),
        divergence_rate=float(centres[lowest + above[0]]) if len(above) else diverged,
    )


@dataclasses.dataclass(frozen=True)
class RateChoice:
    """The best constant rate.

    Attributes:
        rate: Vertex of a parabola through the losses over log rate.
        low, high: Trial rates between which the loss is not told apart from the best.
        losses: Rate -> mean loss over the last half of its trial.
    """

    rate: float
    low: float
    high: float
    losses: dict[float, float]


def _final_losses(trials: Mapping[float, np.ndarray]) -> dict[float, float]:
    return {rate: float(np.mean(losses[len(losses) // 2 :])) for rate, losses in trials.items()}


def next_rate(trials: Mapping[float, np.ndarray], factor: float = 2.0) -> float | None:
    """Returns the rate to try next, or None when the best one has a neighbour on either side.

    Args:
        trials: Rate -> losses [T]; at least one.
        factor: Between neighbours.
    """
    finals = _final_losses(trials)
    finite = {rate: loss for rate, loss in finals.items() if np.isfinite(loss)}
    if not finite:
        return min(finals) / factor**2
    best = min(finite, key=lambda rate: finite[rate])
    # Downward first: a rate that is too low loses time, one that is too high loses the run.
    for neighbour in (best / factor, best * factor):
        if not any(np.isclose(neighbour, rate, rtol=0.01) for rate in trials):
            return neighbour
    return None


def choose_rate(trials: Mapping[float, np.ndarray]) -> RateChoice:
    """Returns the rate with the lowest loss at the end of equally long trials.

    Args:
        trials: Rate -> losses [T] on the same batches.

    Raises:
        ValueError: No trial stayed finite.
    """
    finals = {rate: loss for rate, loss in _final_losses(trials).items() if np.isfinite(loss)}
    if not finals:
        raise ValueError(f"A trial must stay finite. Received: {sorted(trials)}, all diverged.")
    best = min(finals, key=lambda rate: finals[rate])
    alike = [rate for rate in finals if rate == best or _within_noise(trials[rate], trials[best])]
    return RateChoice(_vertex(finals, best), min(alike), max(alike), finals)


def _within_noise(losses: np.ndarray, best: np.ndarray) -> bool:
    """Whether the mean difference in pairs is below two of its standard errors."""
    differences = (losses - best)[len(best) // 2 :]
    error = differences.std(ddof=1) / np.sqrt(len(differences))
    return bool(differences.mean() < 2 * error)


def _vertex(losses: Mapping[float, float], best: float) -> float:
    """Returns the minimum of the parabola through the best rate and its neighbours."""
    rates = sorted(losses)
    position = rates.index(best)
    if position in (0, len(rates) - 1):
        return best
    x = np.log(rates[position - 1 : position + 2])
    curvature, slope, _ = np.polyfit(
        x, [losses[rate] for rate in rates[position - 1 : position + 2]], 2
    )
    # Three losses alike have no vertex.
    if not curvature > 0:
        return best
    return float(np.exp(np.clip(-slope / (2 * curvature), x[0], x[2])))


def clip_threshold(norms: np.ndarray, default: float) -> float | None:
    """Returns the 90th percentile of gradient norms [T] when there are spikes, else None.

    A spike is a norm above three medians; where there are none, clipping has nothing to do, and
    `default` stays unless it would clip ordinary steps too. Norms that are not finite do not count.
    """
    norms = norms[np.isfinite(norms)]
    if not len(norms):
        return None
    median, high = np.median(norms), float(np.quantile(norms, 0.9))
    if norms.max() > 3 * median or high > default:
        return high
    return None
