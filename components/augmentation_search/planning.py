"""The plan of a search: lengths and numbers from the recipe and the sizes of the splits alone."""

import dataclasses
import math

from kfp_vision.components.shared.artifacts.augmentation_table import CheckpointPlan, SearchPlan
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.recipe.batch_scaling import halve_batch
from kfp_vision.components.shared.recipe.document import Recipe
from kfp_vision.components.shared.recipe.hyperparameters import (
    SECTION,
    Hyperparameters,
    from_recipe,
)

__all__ = ["MIN_EVAL_IMAGES", "MIN_TRIALS", "SEARCH_BUDGET_SHARE", "plan_search"]

# Of the images of one baseline training: the whole search, and one trial.
SEARCH_BUDGET_SHARE, _TRIAL_SHARE = 0.5, 0.0075
# Fewer steps rank techniques by chance; smaller batches give more of them.
_MIN_STEPS, _MIN_BATCH = 64, 16
# Share of the training images that the checkpoint learns; of a small set more.
_KNOWN_SHARE, _LARGEST_KNOWN_SHARE, _MIN_KNOWN = 0.125, 0.25, 400
# The checkpoint takes half as many passes as a whole training: at equal epochs a small subset
# overfits more, so trials would favour too much regularisation.
_PASSES_SHARE = 0.5
# Images of one transform at one magnitude, of which there are at most 60: what this share of a
# baseline training allows, between these limits.
_MEASURED_SHARE, MIN_EVAL_IMAGES, _MAX_MEASURED, _MEASUREMENTS = 0.02, 64, 384, 60
_MAX_CHECKED = 1024
_MAX_RECALIBRATING = 64
# Held-out images that score a trial: a quarter as many as it trains on, and at least so many; the
# confirmation takes up to three times as many others.
_EVAL_BUDGET_SHARE, _MIN_SCORED, _CONFIRMING_FACTOR = 0.25, 384, 3
# More trials rarely help and eat the training budget; with fewer there is nothing to compare.
_MAX_TRIALS, MIN_TRIALS = 22, 4
# Least trials that select -> trials that confirm: seeds times candidates, the baseline included,
# 3 x 3, 3 x 2, 2 x 2. One seed alone does not show how much seeds scatter.
_CONFIRMING = {18: 9, 12: 6, MIN_TRIALS: 4}


def plan_search(recipe: Recipe, info: DatasetInfo, max_images: float = math.inf) -> SearchPlan:
    """Returns the lengths and numbers for a complete recipe.

    The batch is that of the recipe or, where that would leave a trial fewer than 64 steps, a
    smaller one with the learning rate that belongs to it.

    Args:
        recipe: Complete.
        info: Facts of the dataset.
        max_images: That the search may see, as far as the time of the run allows.
    """
    settings, train = from_recipe(recipe), info.splits["train"]
    baseline_images = settings.steps * settings.batch_size
    checkpoint = _plan_checkpoint(recipe, train)
    trial, steps = _with_enough_steps(recipe, _TRIAL_SHARE * baseline_images)
    held_out = info.splits["validation"] + train - checkpoint.num_images
    scored = max(_MIN_SCORED, round(_EVAL_BUDGET_SHARE * steps * trial.batch_size))
    scored = min(scored, held_out // 2)
    measured = int(_MEASURED_SHARE * baseline_images / _MEASUREMENTS)
    plan = SearchPlan(
        checkpoint=checkpoint,
        steps=steps,
        batch_size=trial.batch_size,
        peak_rate=trial.learning_rate,
        num_recalibrating=min(_MAX_RECALIBRATING, checkpoint.num_images),
        num_held_out=held_out,
        num_checked=min(_MAX_CHECKED, held_out),
        num_measured=min(held_out, max(MIN_EVAL_IMAGES, min(_MAX_MEASURED, measured))),
        num_scored=scored,
        num_confirming=min(_CONFIRMING_FACTOR * scored, held_out - scored),
        num_trials=0,
        num_confirmed=0,
    )
    if held_out < MIN_EVAL_IMAGES:
        return plan
    spent = checkpoint.steps * checkpoint.batch_size
    spent += plan.num_checked + _MEASUREMENTS * plan.num_measured
    budget = min(max_images, SEARCH_BUDGET_SHARE * baseline_images) - spent
    for least, confirmed in _CONFIRMING.items():
        affordable = int((budget - plan.images_of(0, confirmed)) / plan.images_of(1, 0))
        if affordable >= least:
            trials = min(_MAX_TRIALS, affordable)
            return dataclasses.replace(plan, num_trials=trials, num_confirmed=confirmed)
    return plan


def _plan_checkpoint(recipe: Recipe, train: int) -> CheckpointPlan:
    settings = from_recipe(recipe)
    known = max(_KNOWN_SHARE * train, min(_LARGEST_KNOWN_SHARE * train, _MIN_KNOWN))
    images = _PASSES_SHARE * known / train * settings.steps * settings.batch_size
    settings, steps = _with_enough_steps(recipe, images)
    return CheckpointPlan(
        num_images=max(1, round(known)),
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
