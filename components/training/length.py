"""The length of a training that has to end in time."""

__all__ = ["steps_within"]

# Fewer are no training.
_MIN_STEPS = 2
# The rest is for checkpoints, and for what else a loop does.
_LOOP_SHARE = 0.9


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
