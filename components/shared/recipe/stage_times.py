"""How long stages take, estimated before they begin from what has been measured so far.

Seconds. The unit of what is not proportional to images is the start of a task that trains: it tells
how fast this machine is, and how busy.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from kfp_vision.components.shared.artifacts.cost import StageCost
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.run_plan import RunPlan
from kfp_vision.components.shared.metrics.acceptance import why_no_gain
from kfp_vision.components.shared.recipe import budget
from kfp_vision.components.shared.recipe.budget import remaining_seconds
from kfp_vision.components.shared.recipe.closing_times import (
    closing_seconds,
    closing_stages,
    unplanned_seconds,
)
from kfp_vision.components.shared.recipe.distilled import (
    FEWEST_PASSES,
    MOST_PASSES,
    why_no_distillation,
)
from kfp_vision.components.shared.recipe.document import Recipe
from kfp_vision.components.shared.recipe.evaluations import FORWARD_SHARE, evaluation_share
from kfp_vision.components.shared.recipe.hyperparameters import SECTION
from kfp_vision.components.shared.recipe.teachers import (
    deployed_networks,
    large_networks,
    teacher_images,
    wants_teachers,
    why_no_teachers,
)
from kfp_vision.components.shared.recipe.unlabeled import (
    affordable_passes,
    fewest_passes,
    pretraining_images,
    pretraining_passes,
    self_training_images,
    why_no_pretraining,
    why_no_self_training,
)

__all__ = [
    "LEARNING",
    "SEARCH",
    "affordable_images",
    "capped_lessons",
    "later_lessons",
    "may_cut",
    "plan_stages",
    "planned_seconds",
    "refit_factor",
    "search_images",
    "trains_again",
]

# Start-ups of the training, with what it compiles.
_TRAIN_STARTS = 2.0


class _Learning(NamedTuple):
    starts: float
    share: float  # Of a plain training.


SEARCH = ("search_augmentation", "search_trials")
LEARNING = {
    "probe_batch_size": _Learning(3.0, 0.1),
    "search_augmentation": _Learning(2.0, 0.1),
    # In the process of the stage before it.
    "search_trials": _Learning(2.0, 0.4),
}
# Of what remains when it begins, at most.
_CHOICE_SHARE, _LONGEST_CHOICE_S = 0.25, 300.0
# A fraction of a search is no search.
_LEAST_SCALE = 0.25


def may_cut(recipe: Recipe) -> bool:
    """Returns whether the budget may shorten the training.

    That of a preset leaves epochs and steps of the user alone; minutes of the user always hold.
    """
    if recipe.get(budget.SECTION, "minutes") is None:
        return False
    length = (recipe.get(SECTION, name) for name in ("epochs", "steps"))
    users = any(setting is not None and setting.source == "user" for setting in length)
    return budget.is_users(recipe) or not users


def trains_again(recipe: Recipe) -> bool:
    """Returns whether a second training takes the validation images, too: the user wants that."""
    joined = recipe.get("data", "use_validation_for_training")
    return joined is not None and bool(joined.value)


def refit_factor(recipe: Recipe, info: DatasetInfo) -> float:
    """Returns the images of a training, and of the second one if there is, over those of it."""
    if not trains_again(recipe):
        return 1.0
    # The profile, which plans first, may find that there is none.
    return 2.0 + info.splits.get("validation", 0) / info.splits["train"]


def later_lessons(recipe: Recipe, info: DatasetInfo, plain_images: float) -> dict[str, float]:
    """Returns stage -> images over those of a plain training, of the stages that come after it."""
    lessons: dict[str, float] = {}
    if why_no_gain(info.splits.get("validation", 0)):
        return lessons
    if not why_no_self_training(recipe, info):
        lessons["self_train"] = self_training_images(info, plain_images) / plain_images
    if not why_no_teachers(recipe):
        lessons["train_teachers"] = teacher_images(recipe, plain_images) / plain_images
    if not why_no_distillation(recipe):
        lessons["distill"] = FEWEST_PASSES
    return lessons


def capped_lessons(lessons: Mapping[str, float], plain: float) -> dict[str, float]:
    """Returns the lengths of stages without what images and patience add where time is left over.

    Many images without labels, or a patient student, would starve the plain training; and what they
    teach is what it has learned.

    Args:
        lessons: Stage -> length.
        plain: Of the plain training, in the same unit.
    """
    most = {"self_train": plain, "distill": FEWEST_PASSES * plain}
    return {name: min(each, most.get(name, each)) for name, each in lessons.items()}


def planned_seconds(plan: RunPlan, names: Iterable[str]) -> float:
    """Returns the sum of stages in a plan; what a student's patience adds waits for all others."""
    least = FEWEST_PASSES * plan.stages.get("train", math.inf)
    held = {name: plan.stages.get(name, 0.0) for name in names}
    return sum(min(each, least) if name == "distill" else each for name, each in held.items())


def _pretraining(
    recipe: Recipe, info: DatasetInfo, plain_images: float, spare_images: float
) -> float:
    """Returns the images of pretraining, of those that there is time for; 0 without it."""
    if why_no_pretraining(recipe, info):
        return 0.0
    passes = affordable_passes(info, spare_images, plain_images)
    if passes <= 0 or passes < fewest_passes(recipe, info):
        return 0.0
    most = pretraining_passes(info.splits["train"] + info.splits["unlabeled"])
    return pretraining_images(info, min(most, passes), plain_images)


def plan_stages(
    recipe: Recipe,
    spent: Sequence[StageCost],
    info: DatasetInfo,
    plain_images: float,
    image_s: float,
    start_up_s: float,
    with_probe: bool = False,
    with_choice: bool = False,
) -> RunPlan | None:
    """Returns the plan of the stages that follow; None without a budget.

    The training has what the closing stages leave or what it needs, and at least two thirds of the
    former where the budget may cut it. Probe and search have the rest, each its share of a plain
    training at most; where the rest is not enough for their start, they are left out. The training
    shares its time with what comes after it: images without labels, teachers, what they teach; with
    teachers that `auto` suggests only where there is time for all. Where there is not, images
    without labels have as much as the training at most, and what is left over. Pretraining has what
    is left over then, and a student what that leaves.

    Args:
        recipe: So far.
        spent: So far, and by the stage that plans.
        info: Of the dataset.
        plain_images: Of a plain training.
        image_s: Seconds of one image in a training step.
        start_up_s: Of a task that trains.
        with_probe: Whether the probe is yet to come.
        with_choice: Whether networks are yet to be compared.
    """
    if recipe.get(budget.SECTION, "minutes") is None:
        return None
    remaining = remaining_seconds(recipe, spent)
    forward_s = FORWARD_SHARE * image_s * deployed_networks(recipe)
    image_s *= 1 + evaluation_share(recipe, info, plain_images)
    num_large = large_networks(recipe)
    closing = closing_stages(info, start_up_s, forward_s, num_large)
    choice: dict[str, float] = {}
    if with_choice:
        choice["choose_network"] = min(_CHOICE_SHARE * remaining, _LONGEST_CHOICE_S)
    closed = closing_seconds(info, start_up_s, forward_s, num_large)
    room = max(0.0, remaining - sum(choice.values()) - closed)
    plain = plain_images * image_s
    lessons = later_lessons(recipe, info, plain_images)
    needed = refit_factor(recipe, info) + sum(lessons.values())
    training = whole = _TRAIN_STARTS * start_up_s + needed * plain
    wanted = lessons.get("self_train", 0.0)
    if may_cut(recipe) and training > room:
        lessons = capped_lessons(lessons, 1.0)
        if not wants_teachers(recipe):
            # A training that time cuts is not cut again for a teacher that nobody has asked for.
            lessons = {name: each for name, each in lessons.items() if name == "self_train"}
        needed = refit_factor(recipe, info) + sum(lessons.values())
        training = _TRAIN_STARTS * start_up_s + needed * plain
    rest = max(room - training, room / 3 if may_cut(recipe) else 0.0)
    # Of both, without their starts.
    learned = (recipe.value(budget.SECTION, "cost_multiple") - 1) * plain
    learned -= sum(_beyond_start(cost, start_up_s) for cost in spent if cost.name in LEARNING)
    learning: dict[str, float] = {}
    for names in (("probe_batch_size",), SEARCH):
        if with_probe or names == SEARCH:
            held = _learning_stages(names, rest, learned, plain, start_up_s)
            learning |= held
            rest -= sum(held.values())
            learned -= sum(LEARNING[name].share * plain for name in held)
    left = room - sum(learning.values())
    if may_cut(recipe):
        training = max(_TRAIN_STARTS * start_up_s, min(training, left))
    own = {name: training * images / needed for name, images in lessons.items()}
    if may_cut(recipe) and own.get("self_train"):
        more = max(0.0, min(left - training, (wanted - lessons["self_train"]) * plain))
        own["self_train"], training = own["self_train"] + more, training + more
    pretrained = image_s * _pretraining(recipe, info, plain_images, (left - training) / image_s)
    trained = training - sum(own.values())
    if own.get("distill"):
        spare = max(0.0, left - training - pretrained)
        own["distill"] += min(spare, (MOST_PASSES - FEWEST_PASSES) * plain)
    before = {**choice, **learning, **({"pretrain": pretrained} if pretrained else {})}
    stages = {**before, "train": trained, **own, **closing}
    minutes = recipe.value(budget.SECTION, "minutes")
    made = RunPlan(minutes, sum(cost.seconds for cost in spent), image_s, start_up_s, stages)
    if made.spent_s + sum(stages.values()) <= 60 * minutes:
        return made
    steps = LEARNING if with_probe else SEARCH
    wishes = sum(
        LEARNING[name].starts * start_up_s + LEARNING[name].share * plain for name in steps
    )
    least, most = (
        _minutes_for(made.spent_s, closed + seconds, with_choice)
        for seconds in (training, whole + wishes)
    )
    return dataclasses.replace(made, advice=_advice(recipe, with_probe, least, most))


def _minutes_for(spent_s: float, seconds: float, with_choice: bool) -> int:
    """Returns the minutes of a run, which has spent some, for stages and a choice before them."""
    if with_choice:
        seconds = min(seconds / (1 - _CHOICE_SHARE), seconds + _LONGEST_CHOICE_S)
    return math.ceil((spent_s + seconds) / 60)


def _advice(recipe: Recipe, with_probe: bool, least: int, most: int) -> str:
    """Returns what gives way in a run that is longer than its minutes, and what to do.

    Args:
        recipe: So far.
        with_probe: Whether the probe is yet to come.
        least: Minutes in which it ends in time, as it is.
        most: Minutes for a whole training, and all before it.
    """
    left_out = "probe and search are left out" if with_probe else "the search is left out"
    training, enough = "the training keeps the length that you set", [f"{most} has room for all"]
    if may_cut(recipe):
        training = "the training is cut to the least"
        enough = [*([f"{least} ends in time"] if least < most else []), *enough]
    return (
        f"That is too little: {left_out}, {training}, and the run ends late. `max_minutes` of at "
        f"least {', of '.join(enough)}"
    )


def _beyond_start(cost: StageCost, start_up_s: float) -> float:
    return max(0.0, cost.seconds - LEARNING[cost.name].starts * start_up_s)


def _learning_stages(
    names: Sequence[str], rest: float, learned: float, plain: float, start_up_s: float
) -> dict[str, float]:
    """Returns the seconds of stages that begin together; nothing where that is too few.

    Args:
        names: Of the stages.
        rest: Limit with their starts.
        learned: Limit without their starts.
        plain: Of a plain training.
        start_up_s: Of a task that trains.
    """
    starts = {name: LEARNING[name].starts * start_up_s for name in names}
    shares = {name: LEARNING[name].share * plain for name in names}
    limit = min(learned, rest - sum(starts.values()))
    scale = min(1.0, limit / max(sum(shares.values()), 1e-9))
    if scale < _LEAST_SCALE:
        return {}
    return {name: starts[name] + scale * shares[name] for name in names}


def affordable_images(plan: RunPlan, stages: Sequence[str], left_s: float = math.inf) -> float:
    """Returns how many images some stages of learning may train on; 0 where they must not begin.

    Args:
        plan: Made before they begin.
        stages: That begin together.
        left_s: Seconds until the stages after them have to begin.
    """
    if any(name not in plan.stages for name in stages):
        return 0.0
    seconds = min(left_s, sum(plan.stages[name] for name in stages))
    seconds -= plan.start_up_s * sum(LEARNING[name].starts for name in stages)
    return max(0.0, seconds / plan.image_s)


def search_images(plan: RunPlan, recipe: Recipe, spent: Sequence[StageCost]) -> float:
    """Returns how many images the search may see when it begins; 0 where it must not.

    Args:
        plan: Made before.
        recipe: Of the run.
        spent: So far: what took longer than planned is not there any more.
    """
    later = unplanned_seconds(plan.stages, plan.start_up_s)
    later += planned_seconds(plan, (name for name in plan.stages if name not in SEARCH))
    return affordable_images(plan, SEARCH, remaining_seconds(recipe, spent) - later)
