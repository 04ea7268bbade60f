"""How long the trials of a search are and how many there may be, from the recipe alone."""

import dataclasses

from kfp_vision.components.shared.artifacts import DatasetInfo
from kfp_vision.components.shared.recipe import Recipe
from kfp_vision.components.shared.training.batch_scaling import halve_batch
from kfp_vision.components.shared.training.hyperparameters import SECTION, from_recipe

__all__ = [
    "CHECKPOINT_SHARE",
    "CONFIRMATIONS",
    "LEAST_LOOKED_AT",
    "LOOK_SHARE",
    "SearchPlan",
    "plan_search",
]

# Of the steps of one plain training, and of its images, those of the checkpoint that trials start
# from: it sees its images as often as a whole training does, and knows them by heart as the end of
# one does.
CHECKPOINT_SHARE = 0.25
# Held-out images that every transform at every magnitude is measured on: what this share of the
# images of one plain training allows, and at least so many. There are at most 80 of them.
LOOK_SHARE, LEAST_LOOKED_AT, _MOST_LOOKS = 0.04, 64, 80
# Of the images of one plain training: those of one trial, and those of the whole search.
_TRIAL_SHARE = 0.0125
_SEARCH_SHARE = 0.78
# With fewer steps trials rank techniques by chance; smaller batches make more of them.
_MIN_STEPS, _MIN_BATCH = 80, 16
_MOST_VALIDATION = 512
# Of the best candidate and of the plain training, with seeds that no choice has seen.
CONFIRMATIONS = 3
# Trials of one technique each and the plain one, and those of techniques together, which are twice
# as long. More of them find hardly more, and are taken off what a training of equal cost could do.
_LEAST_SCREENED, _MOST_SCREENED = 4, 14
_LEAST_LONG, _MOST_LONG = 3, 8
_LONG_SHARE = 0.6


@dataclasses.dataclass(frozen=True)
class SearchPlan:
    """Lengths and numbers of the trials.

    Attributes:
        steps: Of a short trial; a long one has twice as many.
        batch_size: Images a step.
        peak_rate: The recipe's learning rate, at this batch size.
        num_validation: Images that score a trial.
        num_short: Short trials of the whole search; 0 where it affords too few to say anything.
        num_long: Long trials of the whole search.
    """

    steps: int
    batch_size: int
    peak_rate: float
    num_validation: int
    num_short: int
    num_long: int

    def steps_of(self, long: bool) -> int:
        """Returns the steps of one trial."""
        return 2 * self.steps if long else self.steps

    def images_of(self, long: bool) -> int:
        """Returns how many images one trial sees, validation included."""
        return self.steps_of(long) * self.batch_size + self.num_validation


def plan_search(recipe: Recipe, info: DatasetInfo, images_seen: int = 0) -> SearchPlan:
    """Returns the lengths for a complete recipe.

    The batch is that of the recipe or, where that would leave a trial fewer than 80 steps, a
    smaller one with the learning rate that belongs to it.

    Args:
        recipe: Complete.
        info: Of the dataset.
        images_seen: For checkpoint and table; 0 before there are any: they are estimated.
    """
    settings = from_recipe(recipe)
    plain_images = settings.steps * settings.batch_size
    noise_scale = recipe.get(SECTION, "noise_scale")
    images = _TRIAL_SHARE * plain_images
    while settings.batch_size >= 2 * _MIN_BATCH and images < _MIN_STEPS * settings.batch_size:
        settings = halve_batch(settings, None if noise_scale is None else noise_scale.value)
    plan = SearchPlan(
        steps=max(_MIN_STEPS, round(images / settings.batch_size)),
        batch_size=settings.batch_size,
        peak_rate=settings.learning_rate,
        num_validation=min(_MOST_VALIDATION, info.splits["validation"]),
        num_short=0,
        num_long=0,
    )
    short, long = (plan.images_of(each) for each in (False, True))
    table = max(LOOK_SHARE * plain_images, _MOST_LOOKS * LEAST_LOOKED_AT)
    spent = images_seen or CHECKPOINT_SHARE * plain_images + table
    # Two trainings as long as a trial tell the length with the policy.
    spent += 2 * CONFIRMATIONS * short + 2 * plan.steps * plan.batch_size
    left = _SEARCH_SHARE * plain_images - spent
    num_long = min(_MOST_LONG, max(_LEAST_LONG, int(_LONG_SHARE * left / long)))
    screened = min(_MOST_SCREENED, int((left - num_long * long) / short))
    if screened < _LEAST_SCREENED:
        return plan
    return dataclasses.replace(plan, num_short=screened + 2 * CONFIRMATIONS, num_long=num_long)
