"""Builds the report of a run: `report.html` for people, `report.json` for tools."""

import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kfp_vision.components.reporting.arms import arm_bars
from kfp_vision.components.reporting.report_json import summarise
from kfp_vision.components.shared.artifacts.cost import COST_FILE, StageCost
from kfp_vision.components.shared.artifacts.json_files import write_json
from kfp_vision.components.shared.recipe.document import read_recipe
from kfp_vision.components.shared.report.page import RECIPE, dataset_name, render_page
from kfp_vision.components.shared.report.records import Section, StageRecord, read_stages
from kfp_vision.components.shared.runtime.disk import explains_full_disk
from kfp_vision.components.shared.runtime.progress import Progress

__all__ = ["build_report", "gap_closed", "reproduction_command"]

# Sections with a place of their own; the others lie between, in the order of the stages.
_FIRST = ("verdict", "data", "results")
_LAST = ("exports", "recipe", "cost", "reproduce")


@explains_full_disk("output_dir")
@Progress("build the report")
def build_report(stages_dir: Path, output_dir: Path) -> dict[str, Any]:
    """Writes `report.html`, `report.json` and `cost.json` to `output_dir`.

    Args:
        stages_dir: The artifact of the last stage, which holds what all of them have handed on.
        output_dir: Created when absent.

    Returns:
        The contents of `report.json`.

    Raises:
        ValueError: A stage that the report cannot do without is missing.
    """
    started = time.monotonic()
    records = read_stages(stages_dir)
    report = summarise(records)
    name = dataset_name(report)
    page = render_page(
        f"{name}: kfp-vision report",
        report,
        read_recipe(stages_dir / "recipe.json"),
        _arrange(records, report),
    )
    output_dir.mkdir(parents=True, exist_ok=True)
    write_json(report, output_dir / "report.json")
    (output_dir / "report.html").write_text(page, encoding="utf-8")
    write_json(StageCost("build_report", time.monotonic() - started, 0), output_dir / COST_FILE)
    return report


def _arrange(records: Sequence[StageRecord], report: Mapping[str, Any]) -> list[Section]:
    """Returns the sections of the stages and those of the whole run, in the order of the page."""
    opening = {"name": dataset_name(report), "gap_closed": gap_closed(report)}
    dataset = report["dataset"]
    command = reproduction_command(
        dataset["uri"], dataset["unlabeled_uri"], report["model"]["seed"]
    )
    # What one stage alone has tried is in its section.
    arms = [arm for record in records for arm in record.report.arms]
    bars = vars(arm_bars(arms)) if len(arms) > 1 else None
    sections = [
        *([Section("arms", "Gains", "reporting/arms.html", bars)] if bars else []),
        *(section for record in records for section in record.report.sections),
        Section("verdict", "Verdict", "reporting/verdict.html", opening),
        RECIPE,
        Section("cost", "Cost", "reporting/cost.html"),
        Section("reproduce", "Reproduce", "reporting/reproduce.html", {"command": command}),
    ]
    places = {name: index - len(_FIRST) for index, name in enumerate(_FIRST)}
    places |= {name: index + 1 for index, name in enumerate(_LAST)}
    return sorted(sections, key=lambda section: places.get(section.name, 0))


def gap_closed(report: Mapping[str, Any]) -> float | None:
    """Returns the share of the gap between the best baseline and the score 1 that is closed.

    None where there is no such gap, or one of the two has no score.
    """
    primary = report["metrics"]["primary"]
    scores = report["metrics"]["test"], report["baselines"].get(report["verdict"]["best_baseline"])
    model, baseline = (((held or {}).get(primary) or {}).get("value") for held in scores)
    if model is None or baseline is None or baseline >= 1.0:
        return None
    return float((model - baseline) / (1.0 - baseline))


def reproduction_command(dataset_uri: str, unlabeled_uri: str, seed: int) -> str:
    """Returns the command that repeats the run, every value taken from its recipe."""
    return shlex.join(
        ["kfp-vision", "run", "--dataset-uri", dataset_uri]
        + (["--unlabeled-uri", unlabeled_uri] if unlabeled_uri else [])
        + ["--recipe-uri", "recipe.json", "--seed", str(seed)]
        + ["--output", "OUTPUT"]
    )
