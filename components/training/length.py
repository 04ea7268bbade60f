"""The length of a training that has to end in time."""

import math

__all__ = ["evaluations_within", "steps_within"]

# Fewer are no training.
_MIN_STEPS = 2
# The rest is for checkpoints, and for what else a loop does.
_LOOP_SHARE = 0.9
# Of the time, in evaluations at most; and the fewest of them.
_EVALUATION_SHARE, _MIN_EVALUATIONS = 0.2, 3


def evaluations_within(seconds: float, evaluation_s: float, most: int) -> int:
    """Returns how many evaluations a training affords, at least 3.

    Args:
        seconds: Of the whole training.
        evaluation_s: Of an evaluation.
        most: Where time is no limit.
    """
    affordable = most if seconds == math.inf else int(_EVALUATION_SHARE * seconds / evaluation_s)
    return min(most, max(_MIN_EVALUATIONS, affordable))


def steps_within(seconds: float, step_s: float, evaluation_s: float, evaluations: int) -> int:
    """Returns the steps that fit into a time, at least 2.

    Args:
        seconds: Of steps, evaluations and checkpoints together.
        step_s: Of a step.
        evaluation_s: Of an evaluation.
        evaluations: How many there are, at most one after each step.
    """
    seconds *= _LOOP_SHARE
    steps = (seconds - evaluations * evaluation_s) / step_s
    if steps < evaluations:
        steps = seconds / (step_s + evaluation_s)
    return max(_MIN_STEPS, int(steps))
