"""A beam over groups of techniques: they are not additive, so what is kept is kept as a whole."""

import dataclasses
from collections.abc import Mapping, Sequence

__all__ = ["Scored", "State", "accept", "expand", "select"]

# Group name -> level; a group that is absent is off.
State = Mapping[str, int]


@dataclasses.dataclass(frozen=True)
class Scored:
    """A state and how its trial ended.

    Attributes:
        state: Group name -> level.
        loss: Validation loss in nats; None when the trial failed.
    """

    state: dict[str, int]
    loss: float | None


def expand(beam: Sequence[Scored], group: str, num_levels: int) -> list[dict[str, int]]:
    """Returns every state of the beam with every level of a group added."""
    return [{**scored.state, group: level} for scored in beam for level in range(num_levels)]


def select(beam: Sequence[Scored], trials: Sequence[Scored], width: int) -> list[Scored]:
    """Returns the best `width` of the beam and the finished trials; on a tie the smaller state.

    Raises:
        ValueError: Nothing has finished.
    """
    finished = [scored for scored in [*beam, *trials] if scored.loss is not None]
    if not finished:
        raise ValueError(f"Some trial must finish. Received: 0 of {len(beam) + len(trials)} did.")
    return sorted(finished, key=lambda scored: (scored.loss, len(scored.state)))[:width]


def accept(best: float, baselines: Sequence[float], sigmas: float = 2.0) -> tuple[bool, float]:
    """Returns whether a loss is below that of the baselines by their noise, and that noise.

    Args:
        best: Loss of the candidate.
        baselines: Losses of repeated trials without anything, at least two.
        sigmas: Standard deviations that the gain must exceed.
    """
    if len(baselines) < 2:
        raise ValueError(f"The noise needs two baselines. Received: {len(baselines)}")
    mean = sum(baselines) / len(baselines)
    variance = sum((loss - mean) ** 2 for loss in baselines) / (len(baselines) - 1)
    return mean - best > sigmas * variance**0.5, variance**0.5
