"""What the profile tells the report: the findings, and the section on the dataset."""

import dataclasses
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kfp_vision.components.shared.artifacts.data_profile import Histogram, Profile
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.run_plan import PLAN, RunPlan
from kfp_vision.components.shared.datasets.palette import legend
from kfp_vision.components.shared.recipe.document import Recipe
from kfp_vision.components.shared.report.charts import histogram
from kfp_vision.components.shared.report.page import RECIPE, dataset_name, render_page
from kfp_vision.components.shared.report.records import ReportWarning, Section, StageReport
from kfp_vision.components.shared.tasks import TASKS

__all__ = ["profile_report", "write_page"]

# Beyond these a page grows by megabytes and shows nothing more.
_GALLERY_CLASSES = 24
_GALLERY_IMAGES = 6
_TABLE_CLASSES = 1000


def profile_report(info: DatasetInfo, profile: Profile, plan: RunPlan | None) -> StageReport:
    """Returns the plan of the run, the findings, what the import left out, and the section on both.

    Args:
        info: Of the dataset.
        profile: Of its images.
        plan: Of the run; None without a budget.
    """
    found = [ReportWarning(each.code, each.text, each.count, "data") for each in profile.findings]
    left_out = [
        ReportWarning(
            f"rejected_{code}",
            f"Files left out by the import: {code.replace('_', ' ')}.",
            count,
            "data",
        )
        for code, count in info.rejected.items()
    ]
    thumbnails = itertools.islice(profile.thumbnails.items(), _GALLERY_CLASSES)
    drawn = TASKS[info.task].columns
    keypoints = info.keypoint_names if "keypoints" in drawn else []
    data = {
        "info": info,
        "findings": profile.findings,
        "colours": legend(info.classes, keypoints) if drawn else [],
        "gallery": [[name, images[:_GALLERY_IMAGES]] for name, images in thumbnails],
        "counted": list(profile.class_counts),
        "class_rows": _class_rows(info, profile.class_counts, profile.object_counts),
        "has_objects": bool(profile.object_counts),
        "figures": profile.figures,
        "histograms": [_bars(name, held) for name, held in profile.histograms.items()],
    }
    section = Section("data", "Data", "data_profiling/stage_report.html", data)
    summary = {PLAN: plan} if plan else {}
    return StageReport(summary=summary, warnings=[*found, *left_out], sections=[section])


def write_page(info: DatasetInfo, report: StageReport, recipe: Recipe, path: Path) -> None:
    """Writes the page that shows the dataset before anything is trained.

    Args:
        info: Of the dataset.
        report: The result of `profile_report`.
        recipe: With the settings that follow from the profile.
        path: Of the page.
    """
    known = {
        "dataset": {"uri": info.source_uri, "splits": info.splits},
        "warnings": [dataclasses.asdict(warning) for warning in report.warnings],
    }
    title = f"{dataset_name(known)}: kfp-vision profile"
    page = render_page(title, known, recipe, [*report.sections, RECIPE])
    path.write_text(page, encoding="utf-8")


def _class_rows(
    info: DatasetInfo,
    counts: Mapping[str, Mapping[str, int]],
    objects: Mapping[str, Mapping[str, int]],
) -> list[dict[str, Any]]:
    """Returns a class's counts, its share of the training images, and relative to the largest.

    There is a row of each class or, where they are many, of those with the fewest images.
    """
    train = counts.get("train", {})
    rarest = sorted(info.classes, key=lambda name: train.get(name, 0))[:_TABLE_CLASSES]
    shown = set(rarest)
    total, highest = info.splits.get("train") or 1, max([1, *train.values()])
    return [
        {
            "class": name,
            "counts": {split: held.get(name, 0) for split, held in counts.items()},
            "objects": objects.get("train", {}).get(name, 0),
            "share": train.get(name, 0) / total,
            "relative": train.get(name, 0) / highest,
        }
        for name in info.classes
        if name in shown
    ]


def _bars(name: str, held: Histogram) -> dict[str, Any]:
    edges, unit = held.edges, held.unit
    bars = histogram(edges, held.counts, unit)
    return {"name": name, "bars": bars, "low": edges[0], "high": edges[-1], "unit": unit}
