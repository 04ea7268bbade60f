"""What a stage tells the report, and how that reaches it.

A stage writes `stage_report.json` and `cost.json`. Its component hands them on as the recipe is
handed on: `stages.json` of its artifact holds the entries of its inputs, then its own. The report,
publishing and rebuilding read the last `stages.json` and know no stage by name.
"""

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from kfp_vision.components.shared.artifacts.cost import COST_FILE, START_UP, StageCost
from kfp_vision.components.shared.artifacts.json_files import json_text, read_json, write_json
from kfp_vision.components.shared.artifacts.run_plan import PLAN, RunPlan
from kfp_vision.components.shared.metrics.acceptance import Gain
from kfp_vision.components.shared.runtime.processes import end_stage, stage_seconds
from kfp_vision.components.shared.runtime.storage import take_copy_failures
from kfp_vision.components.shared.runtime.tracking import take_tracking_failures

__all__ = [
    "MLFLOW",
    "STAGES_FILE",
    "STAGE_REPORT_FILE",
    "Arm",
    "ReportWarning",
    "Section",
    "StageRecord",
    "StageReport",
    "Stages",
    "copy_records",
    "costs_before",
    "hand_on",
    "missed_wish",
    "mlflow_run_before",
    "plan_before",
    "read_stages",
    "write_stage_report",
]

STAGE_REPORT_FILE = "stage_report.json"
# Key of the summary, with the `run_id`.
MLFLOW = "mlflow"
STAGES_FILE = "stages.json"
_RECIPE_FILE = "recipe.json"


@dataclasses.dataclass(frozen=True)
class Section:
    """A section of the page.

    Attributes:
        name: Its anchor; unique in a report.
        title: In the navigation.
        template: Path below `components/`.
        data: What the template shows: JSON values, or dataclasses of such.
    """

    name: str
    title: str
    template: str
    data: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class ReportWarning:
    """A warning of the report.

    Attributes:
        code: Stable identifier.
        message: One sentence.
        count: Images, classes or files concerned.
        about: What it makes doubtful; the report sorts by it, `model` first.
    """

    code: str
    message: str
    count: int = 1
    about: Literal["model", "data", "run"] = "run"


@dataclasses.dataclass(frozen=True)
class Arm:
    """What a stage has tried beside what was there before.

    Attributes:
        name: What it is, in a few words.
        gain: In calibrated loss on held-out images.
        is_kept: Whether it was accepted.
        seconds: That it took.
        is_step: Whether it is no model itself, as a trial or a teacher: what it leads to is judged.
    """

    name: str
    gain: Gain
    is_kept: bool
    seconds: float
    is_step: bool = False


@dataclasses.dataclass(frozen=True)
class StageReport:
    """`stage_report.json`: what a stage tells the report.

    Attributes:
        summary: Its keys of `report.json`.
        warnings: In their order.
        sections: Of the page.
        arms: What was tried, in its order.
    """

    summary: dict[str, Any] = dataclasses.field(default_factory=dict)
    warnings: list[ReportWarning] = dataclasses.field(default_factory=list)
    sections: list[Section] = dataclasses.field(default_factory=list)
    arms: list[Arm] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class StageRecord:
    """A finished stage.

    Attributes:
        artifact: Name of what it wrote.
        uri: Where that is.
        cost: Its `cost.json`, with the seconds from the start of its process, or from the end of
            the stage before in the same one.
        report: Its `stage_report.json`.
    """

    artifact: str
    uri: str
    cost: StageCost
    report: StageReport


@dataclasses.dataclass(frozen=True)
class Stages:
    """`stages.json`: the stages that an artifact depends on, then the one that wrote it."""

    records: list[StageRecord] = dataclasses.field(default_factory=list)


class Artifact(Protocol):
    """What is used of an artifact of KFP."""

    @property
    def uri(self) -> str:
        """The URI."""

    @property
    def path(self) -> str:
        """The folder."""


def missed_wish(stage: str, skipped: str, is_wanted: bool) -> list[ReportWarning]:
    """Returns a warning where a stage that the user has asked for did nothing.

    Args:
        stage: One word.
        skipped: Why it did nothing; empty where it did something.
        is_wanted: Whether the user has asked for it.
    """
    if not (skipped and is_wanted):
        return []
    sentence = f"You have asked for {stage.replace('_', '-')}, but nothing was tried: {skipped}."
    return [ReportWarning(f"{stage}_skipped", sentence)]


def write_stage_report(report: StageReport, folder: Path) -> None:
    """Writes `stage_report.json`."""
    write_json(report, folder / STAGE_REPORT_FILE)


def read_stages(folder: Path) -> list[StageRecord]:
    """Returns what an artifact says of the stages; nothing of one that no component wrote."""
    path = folder / STAGES_FILE
    return read_json(Stages, path).records if path.exists() else []


def costs_before(*inputs: Artifact) -> list[StageCost]:
    """Returns what was spent when a task calls this first: by the stages before, and by its start.

    Args:
        inputs: The artifacts that the task reads.
    """
    records = _records_of(inputs).values()
    return [*(record.cost for record in records), StageCost(START_UP, stage_seconds(), 0)]


def plan_before(*inputs: Artifact) -> RunPlan | None:
    """Returns the newest plan of the run that an artifact holds; None where there is none.

    Args:
        inputs: The artifacts that the task reads.
    """
    records = _records_of(inputs).values()
    plans = [each.report.summary[PLAN] for each in records if PLAN in each.report.summary]
    return RunPlan(**plans[-1]) if plans else None


def mlflow_run_before(*inputs: Artifact) -> str:
    """Returns the MLflow run that the training of an artifact has started, or "" without one.

    Args:
        inputs: The artifacts that the task reads.
    """
    records = _records_of(inputs).values()
    runs = [each.report.summary[MLFLOW] for each in records if MLFLOW in each.report.summary]
    return str(runs[-1]["run_id"]) if runs else ""


def _records_of(inputs: Sequence[Artifact]) -> dict[str, StageRecord]:
    return {record.artifact: record for each in inputs for record in read_stages(Path(each.path))}


def hand_on(output: Artifact, name: str, *inputs: Artifact) -> None:
    """Ends a stage: writes `stages.json` of its artifact; hands the recipe on if it wrote none.

    The report of the stage gets a warning of every checkpoint folder that could not be kept, and of
    what a tracking server did not take.

    Args:
        output: Holds `stage_report.json` and `cost.json`.
        name: Of the artifact; unique in a pipeline.
        inputs: The artifacts that the stage has read.
    """
    folder = Path(output.path)
    records = _records_of(inputs)
    report = read_json(StageReport, folder / STAGE_REPORT_FILE)
    lost = [ReportWarning("checkpoints", sentence) for sentence in take_copy_failures()]
    lost += [ReportWarning("tracking", sentence) for sentence in take_tracking_failures()]
    report = dataclasses.replace(report, warnings=[*report.warnings, *lost])
    cost = read_json(StageCost, folder / COST_FILE)
    # Processes before this one, which were killed, are in the cost already.
    cost = dataclasses.replace(cost, seconds=max(cost.seconds, end_stage()))
    own = StageRecord(name, output.uri, cost, report)
    # Not indented: charts are long lists of numbers.
    text = json_text(Stages([*records.values(), own]))
    (folder / STAGES_FILE).write_text(text, encoding="utf-8")
    recipe = folder / _RECIPE_FILE
    for each in inputs:
        if not recipe.exists() and (Path(each.path) / _RECIPE_FILE).exists():
            shutil.copyfile(Path(each.path) / _RECIPE_FILE, recipe)


def copy_records(source: Artifact, target: Artifact) -> None:
    """Copies the records and the recipe of an artifact: what the report reads of it."""
    folder = Path(target.path)
    folder.mkdir(parents=True, exist_ok=True)
    for name in (STAGES_FILE, _RECIPE_FILE):
        if (Path(source.path) / name).exists():
            shutil.copyfile(Path(source.path) / name, folder / name)
