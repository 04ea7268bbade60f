"""The stage: trains networks beside the model, and makes one teacher of them where it is better.

Several tasks may share the training: each writes its networks, and this stage takes them.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from kfp_vision.components.shared.artifacts.cost import COST_FILE, StageCost
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json, write_json
from kfp_vision.components.shared.artifacts.run_plan import RunPlan
from kfp_vision.components.shared.artifacts.teachers_result import (
    ENSEMBLE_FILE,
    SHARE_FILE,
    Share,
    TeachersResult,
)
from kfp_vision.components.shared.artifacts.training_result import MODEL_FILE, TrainingResult
from kfp_vision.components.shared.datasets.image_cache import ImageCache
from kfp_vision.components.shared.metrics.acceptance import why_no_gain
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
from kfp_vision.components.shared.runtime.progress import Progress, show_note
from kfp_vision.components.shared.training.checkpoints import StageWatch
from kfp_vision.components.shared.training.later_stage import (
    end_stage,
    read_stage,
    start_stage,
    why_no_time,
    why_not_planned,
)
from kfp_vision.components.teachers.stage_report import teachers_report

__all__ = ["train_share", "train_teachers"]


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
    shares: Sequence[Path] = (),
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
        shares: What `train_share` has written, by every task; none trains all networks here.
    """
    watch = StageWatch()
    told = {each: read_json(Share, each / SHARE_FILE) for each in shares}
    info, recipe, seconds = start_stage(
        "train_teachers", dataset_dir, trained_dir, output_dir, spent, plan
    )
    unwanted = _why_not(recipe, info)
    too_late = "" if unwanted else _why_no_time(recipe, seconds, plan)
    result = TeachersResult(unwanted or too_late)
    if too_late:
        show_note(f"No network is trained beside the model: {too_late}.")
    if not result.skipped:
        # Imported here: where nothing is learned the framework need not start.
        from kfp_vision.components.teachers.gathering import Gathering

        gathering = Gathering(dataset_dir, info, recipe, checkpoint_dir, seed, cache)
        number = count_teachers(recipe)
        result, teacher = gathering.gather(trained_dir, number, seconds, watch, told or None)
        is_deployed = teacher is not None and is_ensemble_wanted(recipe)
        if teacher is not None:
            teacher.save(output_dir / (MODEL_FILE if is_deployed else ENSEMBLE_FILE))
        result = dataclasses.replace(result, is_deployed=is_deployed)
    if is_ensemble_wanted(recipe):
        write_recipe(_with_deployed(recipe, result), output_dir / "recipe.json")
    # The tasks have worked side by side.
    longest = max((each.seconds for each in told.values()), default=0.0)
    result = dataclasses.replace(result, seconds=longest + watch.seconds)
    seen = sum(each.images_seen for each in result.members[1:])
    cost = StageCost("train_teachers", result.seconds, seen)
    training = read_json(TrainingResult, trained_dir / "training.json")
    report = teachers_report(result, training, wants_teachers(recipe), bool(too_late))
    end_stage(result, "teachers.json", report, cost, output_dir)
    return result


@explains_full_disk("output_dir", "checkpoint_dir")
@Progress("look for teachers")
def train_share(
    dataset_dir: Path,
    trained_dir: Path,
    output_dir: Path,
    checkpoint_dir: Path,
    seed: int,
    worker: int,
    workers: int,
    cache: ImageCache | None = None,
    spent: Sequence[StageCost] = (),
    plan: RunPlan | None = None,
) -> Share:
    """Trains every `workers`-th network; writes `share.json`, `cost.json` and the models.

    Args:
        dataset_dir: As of `train_teachers`.
        trained_dir: The same.
        output_dir: Is created.
        checkpoint_dir: As of `train_teachers`.
        seed: The same.
        worker: Which of the tasks this is, from 0 on.
        workers: Tasks that share the networks.
        cache: As of `train_teachers`.
        spent: The same.
        plan: The same.
    """
    watch, share = StageWatch(), Share()
    output_dir.mkdir(parents=True, exist_ok=True)
    info, recipe, seconds = read_stage("train_teachers", dataset_dir, trained_dir, spent, plan)
    if not (_why_not(recipe, info) or _why_no_time(recipe, seconds, plan)):
        from kfp_vision.components.teachers.gathering import Gathering

        gathering = Gathering(dataset_dir, info, recipe, checkpoint_dir, seed, cache)
        number = count_teachers(recipe)
        share = gathering.train_share(
            trained_dir, number, seconds, watch, worker, workers, output_dir
        )
    write_json(share, output_dir / SHARE_FILE)
    seen = sum(each.images_seen for each in share.members)
    cost = StageCost("train_teachers", watch.seconds, seen)
    write_json(cost, output_dir / COST_FILE)
    return share


def _why_not(recipe: Recipe, info: DatasetInfo) -> str:
    """Returns why no network is trained, however much time there is; empty where one is."""
    return why_no_teachers(recipe) or why_no_gain(info.splits["validation"])


def _why_no_time(recipe: Recipe, seconds: float, plan: RunPlan | None) -> str:
    """Returns why no network is trained for lack of time; empty where one is."""
    left_out = "" if wants_teachers(recipe) else why_not_planned("train_teachers", plan)
    return left_out or why_no_time(seconds)


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
