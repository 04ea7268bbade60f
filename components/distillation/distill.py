"""The stage: the network learns from a teacher, and is replaced where that makes it better."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from kfp_vision.components.distillation.stage_report import distillation_report
from kfp_vision.components.shared.artifacts.cost import StageCost
from kfp_vision.components.shared.artifacts.distillation_result import DistillationResult
from kfp_vision.components.shared.artifacts.run_plan import RunPlan
from kfp_vision.components.shared.artifacts.teachers_result import ENSEMBLE_FILE
from kfp_vision.components.shared.artifacts.training_result import MODEL_FILE
from kfp_vision.components.shared.datasets.image_cache import ImageCache
from kfp_vision.components.shared.metrics.acceptance import why_no_gain
from kfp_vision.components.shared.recipe.distilled import why_no_distillation
from kfp_vision.components.shared.recipe.teachers import wants_teachers
from kfp_vision.components.shared.runtime.disk import explains_full_disk
from kfp_vision.components.shared.runtime.progress import Progress
from kfp_vision.components.shared.training.checkpoints import StageWatch
from kfp_vision.components.shared.training.later_stage import (
    end_stage,
    start_stage,
    why_no_time,
    why_not_planned,
)

__all__ = ["distill"]


@explains_full_disk("output_dir", "checkpoint_dir")
@Progress("look at the teacher")
def distill(
    dataset_dir: Path,
    trained_dir: Path,
    output_dir: Path,
    checkpoint_dir: Path,
    seed: int,
    cache: ImageCache | None = None,
    spent: Sequence[StageCost] = (),
    plan: RunPlan | None = None,
) -> DistillationResult:
    """Writes what is in `trained_dir`, with another model where that is better.

    Args:
        dataset_dir: Folder of the dataset.
        trained_dir: The `model` artifact so far; `ensemble.keras` in it is the teacher: float32
            pixels 0..255 in, raw outputs of the task out. Where there is none, the network is its
            own teacher if the user wants to distil always.
        output_dir: Is created.
        checkpoint_dir: Outlives a killed task.
        seed: Of order and augmentation.
        cache: Keeps decoded images for other stages and runs; None keeps none.
        spent: Of the budget, by the stages before and by the start of this task.
        plan: Of the run; None where there is none.
    """
    watch = StageWatch()
    info, recipe, seconds = start_stage(
        "distill", dataset_dir, trained_dir, output_dir, spent, plan, without=(ENSEMBLE_FILE,)
    )
    skipped = why_no_distillation(recipe)
    if not skipped and not wants_teachers(recipe):
        skipped = why_not_planned("distill", plan)
    teacher_path = trained_dir / ENSEMBLE_FILE
    is_own = not teacher_path.exists()
    if not skipped and is_own and recipe.value("data", "distill") != "always":
        skipped = "no teacher is better than the network itself"
    skipped = skipped or why_no_gain(info.splits["validation"]) or why_no_time(seconds)
    if skipped:
        result = DistillationResult(skipped)
    else:
        # Imported here: where nothing is learned the framework need not start.
        from kfp_vision.components.distillation.teaching import teach

        model_path = output_dir / MODEL_FILE
        asked = None if is_own else teacher_path
        given = (dataset_dir, info, recipe, asked, model_path, checkpoint_dir)
        result = teach(*given, seed, cache, seconds, watch)
    result = dataclasses.replace(result, seconds=watch.seconds)
    cost = StageCost("distill", result.seconds, result.images_seen)
    wanted = recipe.get("data", "distill")
    report = distillation_report(result, wanted is not None and wanted.value == "always")
    end_stage(result, "distillation.json", report, cost, output_dir)
    return result
