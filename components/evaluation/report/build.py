"""Builds the report of a run: `report.html` for people, `report.json` for tools."""

import time
from pathlib import Path
from typing import Any

from kfp_vision.components.evaluation.report.inputs import read_run
from kfp_vision.components.evaluation.report.page import render_page
from kfp_vision.components.evaluation.report.report_json import summarise
from kfp_vision.components.shared.artifacts.cost import COST_FILE, StageCost
from kfp_vision.components.shared.artifacts.json_files import write_json
from kfp_vision.components.shared.runtime.disk import explains_full_disk

__all__ = ["build_report"]


@explains_full_disk("output_dir")
def build_report(
    dataset_dir: Path,
    profile_dir: Path,
    probe_dir: Path,
    augmentation_dir: Path,
    search_dir: Path,
    model_dir: Path,
    evaluation_dir: Path,
    exports_dir: Path,
    output_dir: Path,
) -> dict[str, Any]:
    """Writes `report.html`, `report.json` and `cost.json` to `output_dir`.

    Args:
        dataset_dir: The `dataset` artifact.
        profile_dir: The `profile` artifact.
        probe_dir: The `probe` artifact.
        augmentation_dir: The `augmentation` artifact.
        search_dir: The `search` artifact.
        model_dir: The `model` artifact; its `recipe.json` is the recipe of the run.
        evaluation_dir: The `evaluation` artifact.
        exports_dir: The `exports` artifact.
        output_dir: Created when absent.

    Returns:
        The contents of `report.json`.

    Raises:
        FileNotFoundError: A stage has not written a file that the report needs.
    """
    started = time.monotonic()
    run = read_run(
        dataset_dir,
        profile_dir,
        probe_dir,
        augmentation_dir,
        search_dir,
        model_dir,
        evaluation_dir,
        exports_dir,
    )
    report = summarise(run)
    output_dir.mkdir(parents=True, exist_ok=True)
    write_json(report, output_dir / "report.json")
    (output_dir / "report.html").write_text(render_page(report, run), encoding="utf-8")
    write_json(StageCost("build_report", time.monotonic() - started, 0), output_dir / COST_FILE)
    return report
