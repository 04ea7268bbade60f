"""The length of a training that has to end in time."""

from kfp_vision.components.shared.recipe import budget, hyperparameters
from kfp_vision.components.shared.recipe.document import Recipe

__all__ = ["may_cut", "steps_within"]

# Fewer are no training.
_MIN_STEPS = 2
# The rest is for checkpoints, and for what else a loop does.
_LOOP_SHARE = 0.9


def may_cut(recipe: Recipe) -> bool:
    """Returns whether the budget may shorten the training.

    That of a preset leaves epochs and steps of the user alone; minutes of the user always hold.

    Args:
        recipe: Complete.
    """
    if recipe.get(budget.SECTION, "minutes") is None:
        return False
    length = (recipe.get(hyperparameters.SECTION, name) for name in ("epochs", "steps"))
    users = any(setting is not None and setting.source == "user" for setting in length)
    return budget.is_users(recipe) or not users


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
