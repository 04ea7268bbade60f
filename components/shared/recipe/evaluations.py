"""How often a training is evaluated, and what that takes, counted in images.

No second is measured: the same training has as many evaluations on every machine.
"""

import math

from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.recipe.document import Recipe
from kfp_vision.components.shared.recipe.hyperparameters import SECTION

__all__ = [
    "EVALUATIONS",
    "FORWARD_SHARE",
    "MIN_EVALUATIONS",
    "STATISTICS_BATCHES",
    "evaluated_images",
    "evaluation_share",
    "evaluations_of",
    "statistics_batches",
]

# Of a training, where neither its length nor time limits them.
EVALUATIONS = 20
# Whose statistics an evaluation of averaged weights takes.
STATISTICS_BATCHES = 32
# A forward pass, over a step; networks from 80,000 to 4 million parameters: 1/8 to 1/3.
FORWARD_SHARE = 1 / 5
# The fewest evaluations; more of them take so much of the steps at most.
MIN_EVALUATIONS, _SHARE_OF_STEPS = 3, 0.5
# Evaluations and checkpoints of a training of default length, over its steps.
_DEFAULT_SHARE, _BATCH = 1 / 6, 64


def statistics_batches(num_images: int, batch_size: int) -> int:
    """Returns of how many batches an evaluation takes the statistics: of a small set, all of it."""
    return min(STATISTICS_BATCHES, math.ceil(num_images / batch_size))


def evaluated_images(
    num_training: int, num_validation: int, batch_size: int, with_statistics: bool
) -> int:
    """Returns the images that pass through the model in an evaluation, those of statistics too.

    Args:
        num_training: Training images.
        num_validation: Validation images.
        batch_size: Of the training.
        with_statistics: Whether averaged weights need statistics of their own.
    """
    if not with_statistics:
        return num_validation
    return num_validation + statistics_batches(num_training, batch_size) * batch_size


def evaluations_of(learned: float, evaluated: int) -> int:
    """Returns how many evaluations a training has where time is no limit.

    Of few passes twenty would take several times as long as the steps.

    Args:
        learned: Images of the training, with repetition.
        evaluated: Images of an evaluation.
    """
    affordable = int(_SHARE_OF_STEPS * learned / (FORWARD_SHARE * evaluated))
    return min(EVALUATIONS, max(MIN_EVALUATIONS, affordable))


def evaluation_share(recipe: Recipe, info: DatasetInfo, learned: float) -> float:
    """Returns what evaluations and checkpoints of a training take, over its steps.

    Args:
        recipe: So far.
        info: Of the dataset.
        learned: Images of the training, with repetition.
    """
    batch, momentum = (recipe.get(SECTION, name) for name in ("batch_size", "ema_momentum"))
    evaluated = evaluated_images(
        info.splits["train"],
        info.splits.get("validation", 0),
        _BATCH if batch is None else batch.value,
        momentum is None or momentum.value > 0,
    )
    if not (learned and evaluated):
        return _DEFAULT_SHARE
    counted = FORWARD_SHARE * evaluated * evaluations_of(learned, evaluated) / learned
    return max(_DEFAULT_SHARE, counted)
