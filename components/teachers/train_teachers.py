"""The stage: trains networks beside the model, and makes one teacher of them where it is better."""

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path

from kfp_vision.components.shared.artifacts.cost import COST_FILE, StageCost
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json, write_json
from kfp_vision.components.shared.artifacts.run_plan import RunPlan
from kfp_vision.components.shared.artifacts.teachers_result import ENSEMBLE_FILE, TeachersResult
from kfp_vision.components.shared.artifacts.training_result import MODEL_FILE
from kfp_vision.components.shared.datasets.image_cache import ImageCache
from kfp_vision.components.shared.recipe.distilled import is_ensemble_wanted
from kfp_vision.components.shared.recipe.document import (
    Recipe,
    Setting,
    read_recipe,
    write_recipe,
)
from kfp_vision.components.shared.recipe.stage_times import teachers_seconds
from kfp_vision.components.shared.recipe.teachers import count_teachers, why_no_teachers
from kfp_vision.components.shared.report.records import (
    STAGE_REPORT_FILE,
    STAGES_FILE,
    write_stage_report,
)
from kfp_vision.components.shared.runtime.disk import explains_full_disk
from kfp_vision.components.shared.runtime.progress import Progress
from kfp_vision.components.shared.training.checkpoints import Stopwatch
from kfp_vision.components.teachers.stage_report import teachers_report

__all__ = ["train_teachers"]

# With less time than this nothing is learned.
_LEAST_SECONDS = 30.0


@explains_full_disk("output_dir", "checkpoint_dir")
@Progress("look for teachers")
def train_teachers(
    dataset_dir: Path,
    trained_dir: Path,
    output_dir: Path,
    checkpoint_dir: Path,
    seed: int,
    cache: ImageCache | None = None,
    spent: Sequence[StageCost] = (),
    plan: RunPlan | None = None,
) -> TeachersResult:
    """Writes what is in `trained_dir`, and `ensemble.keras` where it is better than the model.

    Where the user wants to deploy the ensemble, it takes the place of the model instead.

    Args:
        dataset_dir: Folder of the dataset.
        trained_dir: The `model` artifact so far.
        output_dir: Is created.
        checkpoint_dir: Outlives a killed task.
        seed: Of the model; the others have those that follow it.
        cache: Keeps decoded images for other stages and runs; None keeps none.
        spent: Of the budget, by the stages before and by the start of this task.
        plan: Of the run; None where there is none.
    """
    watch = Stopwatch()
    records = shutil.ignore_patterns(STAGE_REPORT_FILE, STAGES_FILE, COST_FILE)
    shutil.copytree(trained_dir, output_dir, ignore=records, dirs_exist_ok=True)
    info = read_json(DatasetInfo, dataset_dir / "dataset.json")
    recipe = read_recipe(trained_dir / "recipe.json")
    seconds = teachers_seconds(recipe, spent, info, plan)
    skipped = why_no_teachers(recipe)
    if not skipped and seconds < _LEAST_SECONDS:
        skipped = f"the budget leaves {max(0.0, seconds):.0f} s, and it takes {_LEAST_SECONDS:.0f}"
    result = TeachersResult(skipped)
    if not skipped:
        # Imported here: where nothing is learned the framework need not start.
        from kfp_vision.components.teachers.gathering import Gathering

        gathering = Gathering(dataset_dir, info, recipe, checkpoint_dir, seed, cache)
        result, teacher = gathering.gather(trained_dir, count_teachers(recipe), seconds, watch)
        is_deployed = teacher is not None and is_ensemble_wanted(recipe)
        if teacher is not None:
            teacher.save(output_dir / (MODEL_FILE if is_deployed else ENSEMBLE_FILE))
        result = dataclasses.replace(result, is_deployed=is_deployed)
    if is_ensemble_wanted(recipe):
        write_recipe(_with_deployed(recipe, result), output_dir / "recipe.json")
    result = dataclasses.replace(result, seconds=watch.seconds)
    write_json(result, output_dir / "teachers.json")
    write_stage_report(teachers_report(result), output_dir)
    seen = sum(each.images_seen for each in result.members[1:])
    write_json(StageCost("train_teachers", result.seconds, seen), output_dir / COST_FILE)
    return result


def _with_deployed(recipe: Recipe, result: TeachersResult) -> Recipe:
    """Returns the recipe which says what became of the user's wish for an ensemble."""
    if not result.is_deployed:
        reason = result.skipped or "no ensemble is better than the model on the validation images"
        setting = Setting("model", f"the user wanted an ensemble, but {reason}")
    else:
        used = [f"{each.kind}: {each.architecture}" for each in result.members if each.weight]
        evidence = {
            "members": used,
            "weights": [each.weight for each in result.members if each.weight],
            "image_size": result.image_size,
        }
        setting = Setting("ensemble", f"{result.kept}, wanted by the user", evidence, "user")
    data = {**recipe.sections["data"], "deploy": setting}
    return Recipe({**recipe.sections, "data": data})
