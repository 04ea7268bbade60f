"""The stage: trains networks beside the model, and makes one teacher of them where it is better."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from kfp_vision.components.shared.artifacts.cost import StageCost
from kfp_vision.components.shared.artifacts.json_files import read_json
from kfp_vision.components.shared.artifacts.run_plan import RunPlan
from kfp_vision.components.shared.artifacts.teachers_result import ENSEMBLE_FILE, TeachersResult
from kfp_vision.components.shared.artifacts.training_result import MODEL_FILE, TrainingResult
from kfp_vision.components.shared.datasets.image_cache import ImageCache
from kfp_vision.components.shared.recipe.distilled import is_ensemble_wanted
from kfp_vision.components.shared.recipe.document import (
    Recipe,
    Setting,
    write_recipe,
)
from kfp_vision.components.shared.recipe.teachers import (
    count_teachers,
    wants_teachers,
    why_no_teachers,
)
from kfp_vision.components.shared.runtime.disk import explains_full_disk
from kfp_vision.components.shared.runtime.progress import Progress
from kfp_vision.components.shared.training.checkpoints import Stopwatch
from kfp_vision.components.shared.training.later_stage import (
    end_stage,
    start_stage,
    why_no_time,
)
from kfp_vision.components.teachers.stage_report import teachers_report

__all__ = ["train_teachers"]


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
    info, recipe, seconds = start_stage(
        "train_teachers", dataset_dir, trained_dir, output_dir, spent, plan
    )
    skipped = why_no_teachers(recipe) or why_no_time(seconds)
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
    seen = sum(each.images_seen for each in result.members[1:])
    cost = StageCost("train_teachers", result.seconds, seen)
    training = read_json(TrainingResult, trained_dir / "training.json")
    report = teachers_report(result, training, wants_teachers(recipe))
    end_stage(result, "teachers.json", report, cost, output_dir)
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
