"""The budget of a run: its minutes, and the limit of what is learned before the training.

The profile stage writes it into the recipe; every stage that costs something asks what remains.
What is spent is the sum of what the stages before have cost, as their artifact says.
"""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

from kfp_vision.components.shared.artifacts.cost import StageCost
from kfp_vision.components.shared.recipe.document import Recipe, Setting

__all__ = [
    "PRESETS",
    "SECTION",
    "Preset",
    "is_users",
    "least_training_seconds",
    "remaining_seconds",
    "with_budget",
]

SECTION = "budget"
# Of the minutes: a run may be late by a tenth.
_LEAST_TRAINING = 0.05


class _Preset(NamedTuple):
    minutes: float
    cost_multiple: float


Preset = Literal["fast", "balanced", "best"]
PRESETS: dict[str, _Preset] = {
    "fast": _Preset(4.0, 1.5),
    "balanced": _Preset(12.0, 2.0),
    "best": _Preset(60.0, 3.0),
}


def with_budget(
    recipe: Recipe, preset: str, max_minutes: float = 0.0, cost_multiple: float = 0.0
) -> Recipe:
    """Returns the recipe with its section `budget`: `minutes` and `cost_multiple`.

    What a user has set in the recipe stays, unless the user of this run sets it.

    Args:
        recipe: What a user or an earlier run has set.
        preset: A key of `PRESETS`.
        max_minutes: Limit of the whole run; 0 for that of the preset.
        cost_multiple: Limit of probe, search and training over one plain training; 0 for that of
            the preset.

    Raises:
        ValueError: There is no such preset, or a limit is no positive number.
    """
    if preset not in PRESETS:
        raise ValueError(f"`preset` must be one of {', '.join(PRESETS)}. Received: {preset!r}")
    given = {"minutes": max_minutes, "cost_multiple": cost_multiple}
    settings = {
        name: Setting(value, "pipeline parameter", source="user")
        if value
        else Setting(getattr(PRESETS[preset], name), f"preset `{preset}`", source="default")
        for name, value in given.items()
    }
    recipe = recipe.with_settings(SECTION, settings)
    for name in given:
        value = recipe.value(SECTION, name)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not 0 < value < math.inf:
            raise ValueError(
                f"`{name}` of the budget must be a positive number. Received: {value!r}"
            )
    return recipe


def is_users(recipe: Recipe) -> bool:
    """Returns whether the user has set the minutes, which then hold whatever else is set."""
    minutes = recipe.get(SECTION, "minutes")
    return minutes is not None and minutes.source == "user"


def least_training_seconds(recipe: Recipe) -> float:
    """Returns what a training has in any case, however long the stages before it have taken.

    A run that is late by so little has a model; one without has cost its time for nothing.

    Args:
        recipe: With minutes.
    """
    return float(_LEAST_TRAINING * 60 * recipe.value(SECTION, "minutes"))


def remaining_seconds(recipe: Recipe, spent: Sequence[StageCost]) -> float:
    """Returns what remains of the minutes, at least 0; infinite without a budget.

    Args:
        recipe: That of the run.
        spent: Of the stages so far, and of the stage that asks.
    """
    minutes = recipe.get(SECTION, "minutes")
    if minutes is None:
        return math.inf
    limit: float = 60 * minutes.value
    return max(0.0, limit - sum(cost.seconds for cost in spent))
