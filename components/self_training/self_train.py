"""The stage: teaches the network again with images that have no label, while that helps."""

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path

from kfp_vision.components.self_training.stage_report import self_training_report
from kfp_vision.components.shared.artifacts.cost import COST_FILE, StageCost
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json, write_json
from kfp_vision.components.shared.artifacts.run_plan import RunPlan
from kfp_vision.components.shared.artifacts.self_training_result import SelfTrainingResult
from kfp_vision.components.shared.artifacts.training_result import (
    MODEL_FILE,
    START_FILE,
    TrainingResult,
)
from kfp_vision.components.shared.datasets.image_cache import ImageCache
from kfp_vision.components.shared.recipe.document import read_recipe, write_recipe
from kfp_vision.components.shared.recipe.stage_times import self_training_seconds
from kfp_vision.components.shared.recipe.unlabeled import why_no_self_training
from kfp_vision.components.shared.report.records import (
    STAGE_REPORT_FILE,
    STAGES_FILE,
    write_stage_report,
)
from kfp_vision.components.shared.runtime.disk import explains_full_disk
from kfp_vision.components.shared.runtime.progress import Progress
from kfp_vision.components.shared.training.checkpoints import Stopwatch

__all__ = ["self_train"]

# With less time than this nothing is learned.
_LEAST_SECONDS = 30.0


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
    watch = Stopwatch()
    records = shutil.ignore_patterns(STAGE_REPORT_FILE, STAGES_FILE, COST_FILE, START_FILE)
    shutil.copytree(trained_dir, output_dir, ignore=records, dirs_exist_ok=True)
    info = read_json(DatasetInfo, dataset_dir / "dataset.json")
    recipe = read_recipe(trained_dir / "recipe.json")
    trained = read_json(TrainingResult, trained_dir / "training.json")
    # What its task has taken beside the stage: records begin with the process.
    stage = read_json(StageCost, trained_dir / COST_FILE)
    whole = sum(cost.seconds for cost in spent if cost.name == stage.name)
    start_up_s = max(0.0, whole - stage.seconds)
    image_s = 1 / trained.images_per_second
    seconds = self_training_seconds(recipe, spent, info, plan, start_up_s, image_s)
    skipped = why_no_self_training(recipe, info)
    if not skipped and seconds < _LEAST_SECONDS:
        skipped = f"the budget leaves {max(0.0, seconds):.0f} s, and it takes {_LEAST_SECONDS:.0f}"
    if skipped:
        result = SelfTrainingResult(skipped, unlabeled=info.splits.get("unlabeled", 0))
    else:
        # Imported here: where nothing is learned the framework need not start.
        from kfp_vision.components.self_training.rounds import School
        from kfp_vision.components.shared.training.start_weights import read_start

        start = read_start(recipe, trained_dir)
        school = School(dataset_dir, info, recipe, checkpoint_dir, seed, cache, start)
        result = school.teach(output_dir / MODEL_FILE, seconds, watch)
        if result.num_accepted:
            write_recipe(school.recipe, output_dir / "recipe.json")
    result = dataclasses.replace(result, seconds=watch.seconds)
    write_json(result, output_dir / "self_training.json")
    write_stage_report(self_training_report(result), output_dir)
    seen = sum(each.images_seen for each in result.rounds)
    write_json(StageCost("self_train", result.seconds, seen), output_dir / COST_FILE)
    return result
