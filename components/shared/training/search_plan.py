"""How long the trials of a search are and how many there may be, from the recipe alone."""

import dataclasses

from kfp_vision.components.shared.artifacts import DatasetInfo
from kfp_vision.components.shared.recipe import Recipe
from kfp_vision.components.shared.training.batch_scaling import halve_batch
from kfp_vision.components.shared.training.hyperparameters import SECTION, from_recipe

__all__ = ["CHECKPOINT_SHARE", "LEAST_TRIALS", "SearchPlan", "plan_search"]

# Of the steps of one plain training, and of its images, those of the checkpoint that trials start
# from: it sees its images as often as a whole training does, and knows them by heart as the end of
# one does.
CHECKPOINT_SHARE = 0.25
# With fewer than these there is no search.
LEAST_TRIALS = 12
# Of the images of one plain training: those of one trial, and those of the whole search.
_TRIAL_SHARE = 0.015
_SEARCH_SHARE = 0.78
# Fewer steps than the first are too few whatever a trial costs; smaller batches make more of them.
_MIN_STEPS, _WANTED_STEPS, _MIN_BATCH = 24, 80, 16
# Two loss curves are compared from so many steps on.
_MIN_LENGTH_STEPS = 40
_MOST_VALIDATION = 1024


@dataclasses.dataclass(frozen=True)
class SearchPlan:
    """Lengths of the trials.

    Attributes:
        steps: Of one trial.
        batch_size: Images a step.
        peak_rate: The recipe's learning rate, at this batch size.
        num_validation: Images that score it.
        length_steps: Of each of the two trainings that tell the length with a policy.
        affordable: Trials of the whole search.
    """

    steps: int
    batch_size: int
    peak_rate: float
    num_validation: int
    length_steps: int
    affordable: int

    @property
    def images_per_trial(self) -> int:
        """Returns how many images one trial sees, validation included."""
        return self.steps * self.batch_size + self.num_validation


def plan_search(recipe: Recipe, info: DatasetInfo, images_seen: int = 0) -> SearchPlan:
    """Returns the lengths for a complete recipe.

    The batch is that of the recipe or, where that would leave a trial fewer than 80 steps, a
    smaller one with the learning rate that belongs to it.

    Args:
        recipe: Complete.
        info: Of the dataset.
        images_seen: For checkpoint and table; 0 before there are any: the checkpoint's are counted.
    """
    settings = from_recipe(recipe)
    plain_images = settings.steps * settings.batch_size
    noise_scale = recipe.get(SECTION, "noise_scale")
    images = _TRIAL_SHARE * plain_images
    while settings.batch_size >= 2 * _MIN_BATCH and images < _WANTED_STEPS * settings.batch_size:
        settings = halve_batch(settings, None if noise_scale is None else noise_scale.value)
    steps = max(_MIN_STEPS, round(images / settings.batch_size))
    num_validation = min(_MOST_VALIDATION, info.splits["validation"])
    length_steps = max(_MIN_LENGTH_STEPS, steps)
    spent = max(images_seen, CHECKPOINT_SHARE * plain_images)
    left = _SEARCH_SHARE * plain_images - spent - 2 * length_steps * settings.batch_size
    return SearchPlan(
        steps=steps,
        batch_size=settings.batch_size,
        peak_rate=settings.learning_rate,
        num_validation=num_validation,
        length_steps=length_steps,
        affordable=max(0, int(left / (steps * settings.batch_size + num_validation))),
    )
