"""The start and the end of a stage after the training, which may replace its model."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from kfp_vision.components.shared.artifacts.cost import COST_FILE, StageCost
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json, write_json
from kfp_vision.components.shared.artifacts.run_plan import RunPlan
from kfp_vision.components.shared.artifacts.training_result import TrainingResult
from kfp_vision.components.shared.recipe.document import Recipe, read_recipe
from kfp_vision.components.shared.recipe.time_for_stages import later_seconds
from kfp_vision.components.shared.report.records import (
    STAGE_REPORT_FILE,
    STAGES_FILE,
    StageReport,
    write_stage_report,
)

__all__ = [
    "LaterStage",
    "end_stage",
    "read_stage",
    "start_stage",
    "why_no_time",
    "why_not_planned",
]

# With less time than this nothing is learned.
_LEAST_SECONDS = 30.0


class LaterStage(NamedTuple):
    """What a stage begins with.

    Attributes:
        info: Of the dataset.
        recipe: Of the training.
        seconds: For everything.
    """

    info: DatasetInfo
    recipe: Recipe
    seconds: float


def start_stage(
    name: str,
    dataset_dir: Path,
    trained_dir: Path,
    output_dir: Path,
    spent: Sequence[StageCost],
    plan: RunPlan | None,
    without: Sequence[str] = (),
) -> LaterStage:
    """Copies the `model` artifact so far, but for the records of the stage before.

    Args:
        name: As in the plan.
        dataset_dir: Folder of the dataset.
        trained_dir: The artifact.
        output_dir: Is created.
        spent: Of the budget, by the stages before and by the start of this task.
        plan: Of the run; None where there is none.
        without: Files that are not copied.
    """
    ignored = shutil.ignore_patterns(STAGE_REPORT_FILE, STAGES_FILE, COST_FILE, *without)
    shutil.copytree(trained_dir, output_dir, ignore=ignored, dirs_exist_ok=True)
    return read_stage(name, dataset_dir, trained_dir, spent, plan)


def read_stage(
    name: str,
    dataset_dir: Path,
    trained_dir: Path,
    spent: Sequence[StageCost],
    plan: RunPlan | None,
) -> LaterStage:
    """Returns what a stage after the training begins with; arguments of `start_stage`."""
    info = read_json(DatasetInfo, dataset_dir / "dataset.json")
    recipe = read_recipe(trained_dir / "recipe.json")
    trained = read_json(TrainingResult, trained_dir / "training.json")
    # What the task of the stage before has taken beside it: records begin with the process.
    before = read_json(StageCost, trained_dir / COST_FILE)
    whole = sum(cost.seconds for cost in spent if cost.name == before.name)
    start_up_s, image_s = max(0.0, whole - before.seconds), 1 / trained.images_per_second
    return LaterStage(
        info, recipe, later_seconds(name, recipe, spent, info, plan, start_up_s, image_s)
    )


def why_not_planned(name: str, plan: RunPlan | None) -> str:
    """Returns why a stage that nobody has asked for does not begin; empty where it is planned.

    What the stages before have left over by chance may be enough to begin, but not for all that
    makes it worth its time.

    Args:
        name: As in the plan.
        plan: Of the run; None where there is none, and everything may begin.
    """
    if plan is None or name in plan.stages:
        return ""
    return f"the plan of {plan.minutes:g} minutes has no time for it; `max_minutes` gives it more"


def why_no_time(seconds: float) -> str:
    """Returns why a stage does not begin; empty where the time is enough."""
    if seconds >= _LEAST_SECONDS:
        return ""
    return (
        f"the budget leaves {max(0.0, seconds):.0f} s, and it takes {_LEAST_SECONDS:.0f} at least; "
        "`max_minutes` gives it more"
    )


def end_stage(
    result: Any, file: str, report: StageReport, cost: StageCost, output_dir: Path
) -> None:
    """Writes what a stage has found, its report and its cost.

    Args:
        result: A dataclass.
        file: Of the result.
        report: Of the stage.
        cost: The same.
        output_dir: The artifact.
    """
    write_json(result, output_dir / file)
    write_stage_report(report, output_dir)
    write_json(cost, output_dir / COST_FILE)
