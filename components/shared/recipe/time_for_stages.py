"""What a plan and what was spent leave for a stage, asked when it begins. Seconds."""

from collections.abc import Sequence

from kfp_vision.components.shared.artifacts.cost import START_UP, StageCost
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.run_plan import RunPlan
from kfp_vision.components.shared.recipe.budget import remaining_seconds
from kfp_vision.components.shared.recipe.closing_times import closing_seconds, unplanned_seconds
from kfp_vision.components.shared.recipe.document import Recipe
from kfp_vision.components.shared.recipe.evaluations import FORWARD_SHARE
from kfp_vision.components.shared.recipe.stage_times import (
    LEARNING,
    capped_lessons,
    later_lessons,
    planned_seconds,
    refit_factor,
)
from kfp_vision.components.shared.recipe.teachers import deployed_networks, large_networks

__all__ = ["later_seconds", "pretraining_seconds", "start_up_seconds", "training_share"]

# The framework alone takes longer to start.
_LEAST_START_S = 1.0
_BEFORE_TRAINING = ("choose_network", *LEARNING, "pretrain")
_AFTER_TRAINING = ("self_train", "train_teachers", "distill")


def start_up_seconds(spent: Sequence[StageCost], plan: RunPlan | None = None) -> float:
    """Returns what the start of the task took that asks; 0 where that is not known.

    Args:
        spent: By the stages before, and by the start of this task.
        plan: Of the run: the shorter of its start-up and this one counts, because what else the
            machine does in one moment need not last.
    """
    own = sum(cost.seconds for cost in spent if cost.name == START_UP)
    return own if plan is None else _shorter_start(own, plan)


def _shorter_start(own: float, plan: RunPlan) -> float:
    """Returns the start-up of a task or that of the plan: a later stage of a task has none."""
    return plan.start_up_s if own < _LEAST_START_S else min(own, plan.start_up_s)


def training_share(
    recipe: Recipe, info: DatasetInfo, plain_images: float, plan: RunPlan | None
) -> float:
    """Returns the share of a training in the time until evaluation and export.

    Args:
        recipe: With the section `data`.
        info: Of the dataset.
        plain_images: Of the training, with repetition.
        plan: Of the run; None where there is none.
    """
    again = refit_factor(recipe, info)
    lessons = later_lessons(recipe, info, plain_images)
    if plan is None or not plan.stages.get("train"):
        return 1 / (again + sum(capped_lessons(lessons, 1.0).values()))
    planned = {name: plan.stages.get(name, 0.0) for name in lessons}
    # What a training that is slower than planned needs is not the images without labels'.
    later = sum(capped_lessons(planned, plan.stages["train"]).values())
    return plan.stages["train"] / (plan.stages["train"] + later) / again


def pretraining_seconds(recipe: Recipe, spent: Sequence[StageCost], plan: RunPlan | None) -> float:
    """Returns what pretraining may take: what the training and all after it leave.

    Args:
        recipe: Of the run.
        spent: So far.
        plan: Of the run; None where there is none.
    """
    seconds = remaining_seconds(recipe, spent)
    if plan is None:
        return seconds
    later = planned_seconds(plan, (name for name in plan.stages if name not in _BEFORE_TRAINING))
    return seconds - unplanned_seconds(plan.stages, plan.start_up_s) - later


def later_seconds(
    stage: str,
    recipe: Recipe,
    spent: Sequence[StageCost],
    info: DatasetInfo,
    plan: RunPlan | None,
    start_up_s: float,
    image_s: float,
) -> float:
    """Returns what a stage after the training may take: it ends in time for those after it.

    What follows is estimated as the training has estimated it, which left the rest: by what is
    shorter, the plan or what was measured.

    Args:
        stage: One of `self_train`, `train_teachers`, `distill`.
        recipe: Of the run.
        spent: So far.
        info: Of the dataset.
        plan: Of the run; None where there is none.
        start_up_s: Of the task that has trained; 0 where that is not known.
        image_s: Seconds of an image in that training.
    """
    seconds = remaining_seconds(recipe, spent)
    if plan is None:
        return seconds
    later = _AFTER_TRAINING[_AFTER_TRAINING.index(stage) + 1 :]
    forward_s = FORWARD_SHARE * min(image_s, plan.image_s)
    if stage != "train_teachers":
        # That stage knows its networks, and leaves the time that they will take.
        forward_s *= deployed_networks(recipe)
    starts = _shorter_start(start_up_s, plan)
    closing = closing_seconds(info, starts, forward_s, large_networks(recipe))
    return seconds - closing - planned_seconds(plan, later)
