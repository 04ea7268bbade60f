"""How long a trial is and how many there may be, from the recipe alone."""

import dataclasses

from kfp_vision.components.shared.artifacts import DatasetInfo
from kfp_vision.components.shared.recipe import Recipe
from kfp_vision.components.shared.training.batch_scaling import halve_batch
from kfp_vision.components.shared.training.hyperparameters import SECTION, from_recipe

__all__ = ["SearchPlan", "plan_search"]

# Of the images of one plain training: those that one trial trains on, and those of all trials.
_TRIAL_SHARE = 0.015
_BUDGET = 0.5
# Fewer steps than the first are too few whatever a trial costs; smaller batches make more of them.
_MIN_STEPS, _WANTED_STEPS, _MIN_BATCH = 24, 80, 16
# Of the rate at the peak of a training: at the whole of it trials of one candidate scatter twice as
# much and gain hardly more.
_RATE_SHARE = 0.6
_MOST_VALIDATION = 1024


@dataclasses.dataclass(frozen=True)
class SearchPlan:
    """Lengths of the trials.

    Attributes:
        steps: Of one trial.
        batch_size: Images a step.
        learning_rate: At the start of a trial; falls to 0 along a line.
        num_validation: Images that score it.
        affordable: Trials of the whole search.
    """

    steps: int
    batch_size: int
    learning_rate: float
    num_validation: int
    affordable: int

    @property
    def images_per_trial(self) -> int:
        """Returns how many images one trial sees, validation included."""
        return self.steps * self.batch_size + self.num_validation


def plan_search(recipe: Recipe, info: DatasetInfo) -> SearchPlan:
    """Returns the lengths for a complete recipe.

    The batch is that of the recipe or, where that would leave a trial fewer than 80 steps, a
    smaller one with the learning rate that belongs to it.
    """
    settings = from_recipe(recipe)
    plain_images = settings.steps * settings.batch_size
    noise_scale = recipe.get(SECTION, "noise_scale")
    images = _TRIAL_SHARE * plain_images
    while settings.batch_size >= 2 * _MIN_BATCH and images < _WANTED_STEPS * settings.batch_size:
        settings = halve_batch(settings, None if noise_scale is None else noise_scale.value)
    steps = max(_MIN_STEPS, round(images / settings.batch_size))
    seen = steps * settings.batch_size
    num_validation = min(_MOST_VALIDATION, info.splits["validation"])
    return SearchPlan(
        steps=steps,
        batch_size=settings.batch_size,
        learning_rate=_RATE_SHARE * settings.learning_rate,
        num_validation=num_validation,
        affordable=int(_BUDGET * plain_images / (seen + num_validation)),
    )
