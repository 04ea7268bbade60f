"""How long the trials of a search are and how many there may be, from the recipe alone."""

import dataclasses

from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.recipe.batch_scaling import halve_batch
from kfp_vision.components.shared.recipe.document import Recipe
from kfp_vision.components.shared.recipe.hyperparameters import (
    SECTION,
    Hyperparameters,
    from_recipe,
)

__all__ = [
    "CheckpointPlan",
    "LEAST_LOOKED_AT",
    "LOOK_SHARE",
    "MOST_CHECKED",
    "SearchPlan",
    "plan_checkpoint",
    "plan_search",
]

# Of the images of the set, those that the checkpoint of the trials learns: of a small set more.
_KNOWN_SHARE, _LARGEST_KNOWN_SHARE, _LEAST_KNOWN = 0.125, 0.25, 400
# It sees them half as often as a whole training: with as many passes over so few images it knows
# them better by heart than a training knows all of them, and the trials ask for more regularisation
# than that needs.
_PASSES_SHARE = 0.5
# Held-out images that every transform at every magnitude is measured on: what this share of the
# images of one plain training allows, and at least so many. There are at most 60 looks, 8
# where only what is customary is tried.
LOOK_SHARE, LEAST_LOOKED_AT, _MOST_LOOKS, _FEW_LOOKS = 0.02, 64, 60, 8
# Held-out images that tell whether the checkpoint has learned anything.
MOST_CHECKED = 1024
# Of the images of one plain training: those of one trial, and those of the whole search.
_TRIAL_SHARE = 0.0075
_SEARCH_SHARE = 0.6
# With fewer steps trials rank techniques by chance; smaller batches make more of them.
_MIN_STEPS, _MIN_BATCH = 64, 16
# Held-out images that score a trial: a quarter as many as it trains on, and at least so many. It is
# the choice of these images that scatters most between techniques that work differently.
_SCORED_SHARE, _LEAST_SCORED = 1 / 4, 384
# So many times as many, none of them among those, score the trials of the last round, which decides
# whether anything changes. With fewer than so many left for it, nothing can be confirmed.
_CONFIRMING, LEAST_CONFIRMING = 3, 128
# Images that the statistics of BatchNorm are taken from before a trial is scored.
_SETTLING = 64
# Trials of the last round: three seeds of the plain training and two candidates or, where they
# would leave too few others, of one.
_CONFIRMED, _CONFIRMED_AT_LEAST = 9, 6
# Trials of one technique each and the plain one, and those of techniques together. More of them
# find hardly more, and are taken off what a training of equal cost could do.
_LEAST_SCREENED, _MOST_SCREENED = 8, 10
_LEAST_COMBINED, _MOST_COMBINED = 3, 6
_COMBINED_SHARE = 0.4
# Where those are not affordable: the plain training, horizontal flips, small shifts, and both.
_CUSTOMARY = 4


@dataclasses.dataclass(frozen=True)
class SearchPlan:
    """Lengths and numbers of the trials.

    Attributes:
        steps: Of a trial.
        batch_size: Images a step.
        peak_rate: The recipe's learning rate, at this batch size.
        num_settling: Images that the statistics of BatchNorm are taken from.
        num_held_out: Images of the validation split, and training images that the checkpoint does
            not learn.
        num_scored: Those of them that score a trial.
        num_confirming: Others of them that score a trial of the last round; 0 without one.
        num_screened: Trials of the plain training and of techniques alone; 0 where the search
            affords too few to say anything.
        num_combined: Trials of techniques together.
        num_confirmed: Trials of the last round; 0 where the search affords no more than to see
            whether what is customary does harm.
    """

    steps: int
    batch_size: int
    peak_rate: float
    num_settling: int
    num_held_out: int
    num_scored: int
    num_confirming: int
    num_screened: int
    num_combined: int
    num_confirmed: int

    @property
    def is_brief(self) -> bool:
        """Returns whether only what is customary is tried."""
        return self.num_screened > 0 and self.num_confirmed == 0

    @property
    def few_images(self) -> bool:
        """Returns whether too few images are held out to choose by some and confirm by others."""
        return self.num_held_out < 2 * LEAST_CONFIRMING

    def images_of(self, num_trials: int, num_confirmed: int) -> int:
        """Returns how many images trials see, those that are only looked at included.

        Args:
            num_trials: All, those of the last round included.
            num_confirmed: Those of the last round.
        """
        each = self.steps * self.batch_size + self.num_settling + self.num_scored
        return num_trials * each + num_confirmed * (self.num_confirming - self.num_scored)


@dataclasses.dataclass(frozen=True)
class CheckpointPlan:
    """What the checkpoint of the trials learns, and how.

    Attributes:
        known: Training images, which it sees again and again.
        steps: Of its training.
        batch_size: Images a step.
        peak_rate: The recipe's learning rate, at this batch size.
        warmup_steps: In which the rate rises to it; at most a quarter of the steps.
    """

    known: int
    steps: int
    batch_size: int
    peak_rate: float
    warmup_steps: int


def plan_checkpoint(recipe: Recipe, info: DatasetInfo) -> CheckpointPlan:
    """Returns the training of the checkpoint for a complete recipe."""
    settings, train = from_recipe(recipe), info.splits["train"]
    known = max(_KNOWN_SHARE * train, min(_LARGEST_KNOWN_SHARE * train, _LEAST_KNOWN))
    images = _PASSES_SHARE * known / train * settings.steps * settings.batch_size
    settings, steps = _with_enough_steps(recipe, images)
    return CheckpointPlan(
        known=max(1, round(known)),
        steps=steps,
        batch_size=settings.batch_size,
        peak_rate=settings.learning_rate,
        warmup_steps=max(1, min(settings.warmup_steps, steps // 4)),
    )


def _with_enough_steps(recipe: Recipe, images: float) -> tuple[Hyperparameters, int]:
    """Returns the recipe's settings with its batch or a smaller one, and steps for the images.

    There are at least 64, also where that takes more images.
    """
    settings, noise_scale = from_recipe(recipe), recipe.get(SECTION, "noise_scale")
    while settings.batch_size >= 2 * _MIN_BATCH and images < _MIN_STEPS * settings.batch_size:
        settings = halve_batch(settings, None if noise_scale is None else noise_scale.value)
    return settings, max(_MIN_STEPS, round(images / settings.batch_size))


def plan_search(recipe: Recipe, info: DatasetInfo) -> SearchPlan:
    """Returns the lengths for a complete recipe.

    The batch is that of the recipe or, where that would leave a trial fewer than 64 steps, a
    smaller one with the learning rate that belongs to it.

    Args:
        recipe: Complete.
        info: Of the dataset.
    """
    settings, checkpoint = from_recipe(recipe), plan_checkpoint(recipe, info)
    plain_images = settings.steps * settings.batch_size
    settings, steps = _with_enough_steps(recipe, _TRIAL_SHARE * plain_images)
    held_out = info.splits["validation"] + info.splits["train"] - checkpoint.known
    scored = max(_LEAST_SCORED, round(_SCORED_SHARE * steps * settings.batch_size))
    brief = SearchPlan(
        steps=steps,
        batch_size=settings.batch_size,
        peak_rate=settings.learning_rate,
        num_settling=min(_SETTLING, checkpoint.known),
        num_held_out=held_out,
        num_scored=min(held_out, scored),
        num_confirming=0,
        num_screened=0,
        num_combined=0,
        num_confirmed=0,
    )
    if held_out < LEAST_LOOKED_AT:
        return brief
    num_scored = min(scored, held_out // 2)
    num_confirming = min(_CONFIRMING * num_scored, held_out - num_scored)
    plan = dataclasses.replace(brief, num_scored=num_scored, num_confirming=num_confirming)
    # Two trainings as long as a trial tell the length with the policy.
    spent = checkpoint.steps * checkpoint.batch_size + 2 * plan.steps * plan.batch_size
    spent += min(MOST_CHECKED, held_out)
    left = _SEARCH_SHARE * plain_images - spent
    table = max(LOOK_SHARE * plain_images, _MOST_LOOKS * LEAST_LOOKED_AT)
    for confirmed in () if plan.few_images else (_CONFIRMED, _CONFIRMED_AT_LEAST):
        trials = left - table - plan.images_of(confirmed, confirmed)
        affordable = int(trials / plan.images_of(1, 0))
        combined = min(_MOST_COMBINED, max(_LEAST_COMBINED, int(_COMBINED_SHARE * affordable)))
        screened = min(_MOST_SCREENED, affordable - combined)
        if screened >= _LEAST_SCREENED:
            return dataclasses.replace(
                plan, num_screened=screened, num_combined=combined, num_confirmed=confirmed
            )
    table = max(LOOK_SHARE * plain_images, _FEW_LOOKS * LEAST_LOOKED_AT)
    if table + brief.images_of(_CUSTOMARY, 0) <= left:
        return dataclasses.replace(brief, num_screened=_CUSTOMARY)
    return brief
