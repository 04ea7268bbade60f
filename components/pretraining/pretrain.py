"""The stage: learns from images before from labels, and starts the training there if that helps."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

from kfp_vision.components.pretraining.stage_report import pretraining_report
from kfp_vision.components.shared.artifacts.cost import COST_FILE, StageCost
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json, write_json
from kfp_vision.components.shared.artifacts.pretraining_result import PretrainingResult
from kfp_vision.components.shared.artifacts.run_plan import RunPlan
from kfp_vision.components.shared.datasets.image_cache import ImageCache
from kfp_vision.components.shared.recipe.document import (
    Recipe,
    Setting,
    read_recipe,
    write_recipe,
)
from kfp_vision.components.shared.recipe.initial_weights import START_WEIGHTS, without_start
from kfp_vision.components.shared.recipe.time_for_stages import pretraining_seconds
from kfp_vision.components.shared.recipe.unlabeled import (
    affordable_passes,
    fewest_passes,
    why_no_pretraining,
)
from kfp_vision.components.shared.recipe.user_choices import UserChoices
from kfp_vision.components.shared.report.records import write_stage_report
from kfp_vision.components.shared.runtime.disk import explains_full_disk
from kfp_vision.components.shared.runtime.progress import Progress
from kfp_vision.components.shared.training.checkpoints import Stopwatch

__all__ = ["pretrain"]

# With less time than this nothing is learned, whatever the user wants.
_LEAST_SECONDS = 60.0


@explains_full_disk("output_dir", "checkpoint_dir")
@Progress("look at the images before their labels")
def pretrain(
    dataset_dir: Path,
    recipe_path: Path,
    output_dir: Path,
    checkpoint_dir: Path,
    seed: int,
    cache: ImageCache | None = None,
    spent: Sequence[StageCost] = (),
    plan: RunPlan | None = None,
) -> PretrainingResult:
    """Writes the recipe and, where a training should start from them, weights beside it.

    Args:
        dataset_dir: Folder of the dataset, `unlabeled` included.
        recipe_path: The recipe so far.
        output_dir: Is created.
        checkpoint_dir: Outlives a killed task.
        seed: Of weights, order and augmentation.
        cache: Keeps decoded images for other stages and runs; None keeps none.
        spent: Of the budget, by the stages before and by the start of this task.
        plan: Of the run; None where there is none.
    """
    watch = Stopwatch()
    output_dir.mkdir(parents=True, exist_ok=True)
    info = read_json(DatasetInfo, dataset_dir / "dataset.json")
    recipe = without_start(read_recipe(recipe_path))
    result = PretrainingResult(
        why_no_pretraining(recipe, info), unlabeled=info.splits.get("unlabeled", 0)
    )
    if not result.skipped:
        seconds = pretraining_seconds(recipe, spent, plan)
        too_short = _why_too_short(recipe, info, seconds, plan)
        result = dataclasses.replace(result, skipped=too_short)
    if not result.skipped:
        result, recipe = _learn(
            dataset_dir,
            info,
            recipe,
            output_dir,
            checkpoint_dir,
            seed,
            cache,
            seconds,
            watch,
            math.inf if plan is None else _plain_images(plan),
        )
    result = dataclasses.replace(result, seconds=watch.seconds)
    write_recipe(recipe, output_dir / "recipe.json")
    write_json(result, output_dir / "pretraining.json")
    wanted = recipe.get("data", "pretrain")
    report = pretraining_report(result, wanted is not None and wanted.value == "always")
    write_stage_report(report, output_dir)
    seen = sum(arm.images_seen for arm in result.arms) + result.trial_images
    write_json(StageCost("pretrain", result.seconds, seen), output_dir / COST_FILE)
    return result


def _why_too_short(recipe: Recipe, info: DatasetInfo, seconds: float, plan: RunPlan | None) -> str:
    if seconds < _LEAST_SECONDS:
        return (
            f"the training and what follows it leave {max(0.0, seconds):.0f} s of the budget, and "
            f"it takes {_LEAST_SECONDS:.0f}"
        )
    if plan is None:
        return ""
    passes = affordable_passes(info, seconds / plan.image_s, _plain_images(plan))
    fewest = fewest_passes(recipe, info)
    if passes >= fewest:
        return ""
    return (
        f"there is time for {passes:.1f} passes over the images, and `auto` wants {fewest:.0f}: "
        "features that are half learned are no better start; `max_minutes` gives it more, "
        "`pretrain: always` tries it"
    )


def _plain_images(plan: RunPlan) -> float:
    """Returns the images, with repetition, that the training is planned to see."""
    return plan.stages["train"] / plan.image_s


def _learn(
    dataset_dir: Path,
    info: DatasetInfo,
    recipe: Recipe,
    output_dir: Path,
    checkpoint_dir: Path,
    seed: int,
    cache: ImageCache | None,
    seconds: float,
    watch: Stopwatch,
    plain_images: float,
) -> tuple[PretrainingResult, Recipe]:
    """Returns what was seen, and the recipe with the weights where they are kept."""
    # Imported here: where nothing is learned the framework need not start.
    from kfp_vision.components.pretraining.rivals import FAILURES, Rivals
    from kfp_vision.components.shared.training.sanity import failure_reason
    from kfp_vision.components.shared.training.setup import complete_recipe
    from kfp_vision.components.shared.training.start_weights import write_start

    complete = complete_recipe(recipe, info, UserChoices(seed=seed))
    try:
        rivals = Rivals(dataset_dir, info, complete, checkpoint_dir, seed, cache)
        result, weights = rivals.learn(seconds, watch, plain_images)
    except FAILURES as error:
        reason, unlabeled = failure_reason(error), info.splits["unlabeled"]
        return PretrainingResult(failed=reason, unlabeled=unlabeled), recipe
    if result.gain is not None and result.is_kept:
        arm = next(each for each in result.arms if each.name == result.chosen)
        evidence = {
            "gain_nats": result.gain.value,
            "gain_ci95": [result.gain.low, result.gain.high],
            "images": result.images,
            "images_seen": arm.images_seen,
        }
        method = f"weights of {result.chosen} on images without their labels; a digest of them"
        setting = Setting(write_start(weights, output_dir), method, evidence)
        recipe = recipe.with_settings("model", {START_WEIGHTS: setting})
    return result, recipe
