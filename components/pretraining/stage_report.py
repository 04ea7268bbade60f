"""What pretraining tells the report: what was learned without labels, and what came of it."""

import dataclasses
from typing import Any

from kfp_vision.components.shared.artifacts.pretraining_result import PretrainingResult
from kfp_vision.components.shared.report.records import (
    Arm,
    ReportWarning,
    Section,
    StageReport,
    missed_wish,
)

__all__ = ["pretraining_report"]


def pretraining_report(result: PretrainingResult, is_wanted: bool) -> StageReport:
    """Returns `pretraining` of `report.json`, the warnings and the section.

    There is no section where there are no images without labels.

    Args:
        result: What was found.
        is_wanted: Whether the user has asked for it.
    """
    summary: dict[str, Any] = dataclasses.asdict(result)
    section = Section("pretraining", "Pretraining", "pretraining/stage_report.html", summary)
    return StageReport(
        summary={"pretraining": summary},
        warnings=[*missed_wish("pretraining", result.skipped, is_wanted), *_warnings(result)],
        sections=[section] if result.unlabeled else [],
        arms=[Arm(f"pretraining: {result.chosen}", result.gain, result.is_kept, result.seconds)]
        if result.gain
        else [],
    )


def _warnings(result: PretrainingResult) -> list[ReportWarning]:
    warnings = [
        ReportWarning(
            "pretraining_stopped",
            f"{arm.name}, a pretraining without labels, was stopped: {arm.stopped}.",
        )
        for arm in result.arms
        if arm.stopped
    ]
    if result.refused:
        warnings.append(
            ReportWarning(
                "pretraining_refused",
                f"What {result.chosen} has learned without labels was not judged: "
                f"{result.refused}.",
            )
        )
    if result.failed:
        warnings.append(
            ReportWarning(
                "pretraining_failed",
                "The pretraining without labels could not go on; the training starts as it would "
                f"have without it. {result.failed}",
            )
        )
    return warnings
