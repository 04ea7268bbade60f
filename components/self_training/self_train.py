"""The stage: teaches the network again with images that have no label, while that helps."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from kfp_vision.components.self_training.stage_report import self_training_report
from kfp_vision.components.shared.artifacts.cost import StageCost
from kfp_vision.components.shared.artifacts.run_plan import RunPlan
from kfp_vision.components.shared.artifacts.self_training_result import SelfTrainingResult
from kfp_vision.components.shared.artifacts.training_result import MODEL_FILE, START_FILE
from kfp_vision.components.shared.datasets.image_cache import ImageCache
from kfp_vision.components.shared.metrics.acceptance import why_no_gain
from kfp_vision.components.shared.recipe.document import write_recipe
from kfp_vision.components.shared.recipe.unlabeled import why_no_self_training
from kfp_vision.components.shared.runtime.disk import explains_full_disk
from kfp_vision.components.shared.runtime.progress import Progress
from kfp_vision.components.shared.training.checkpoints import StageWatch
from kfp_vision.components.shared.training.later_stage import (
    end_stage,
    start_stage,
    why_no_time,
)

__all__ = ["self_train"]


@explains_full_disk("output_dir", "checkpoint_dir")
@Progress("look at the images without labels")
def self_train(
    dataset_dir: Path,
    trained_dir: Path,
    output_dir: Path,
    checkpoint_dir: Path,
    seed: int,
    cache: ImageCache | None = None,
    spent: Sequence[StageCost] = (),
    plan: RunPlan | None = None,
) -> SelfTrainingResult:
    """Writes what is in `trained_dir`, with another model where that is better.

    Args:
        dataset_dir: Folder of the dataset, `unlabeled` included.
        trained_dir: The `model` artifact of the training.
        output_dir: Is created.
        checkpoint_dir: Outlives a killed task.
        seed: Of weights, order and augmentation.
        cache: Keeps decoded images for other stages and runs; None keeps none.
        spent: Of the budget, by the stages before and by the start of this task.
        plan: Of the run; None where there is none.
    """
    watch = StageWatch()
    info, recipe, seconds = start_stage(
        "self_train", dataset_dir, trained_dir, output_dir, spent, plan, without=(START_FILE,)
    )
    skipped = (
        why_no_self_training(recipe, info)
        or why_no_gain(info.splits["validation"])
        or why_no_time(seconds)
    )
    if skipped:
        result = SelfTrainingResult(skipped, unlabeled=info.splits.get("unlabeled", 0))
    else:
        # Imported here: where nothing is learned the framework need not start.
        from kfp_vision.components.self_training.school import School
        from kfp_vision.components.shared.training.start_weights import read_start

        start = read_start(recipe, trained_dir)
        given = (dataset_dir, info, recipe, checkpoint_dir, seed, cache, start)
        school = School(*given, seconds, watch)
        result = school.teach(output_dir / MODEL_FILE)
        if result.num_accepted:
            write_recipe(school.recipe, output_dir / "recipe.json")
    result = dataclasses.replace(result, seconds=watch.seconds)
    cost = StageCost("self_train", result.seconds, result.images_seen)
    wanted = recipe.get("data", "self_train")
    report = self_training_report(result, wanted is not None and wanted.value == "always")
    end_stage(result, "self_training.json", report, cost, output_dir)
    return result
