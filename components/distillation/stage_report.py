"""What distillation tells the report: who taught, how it was followed, and what was kept."""

from kfp_vision.components.shared.artifacts.distillation_result import DistillationResult
from kfp_vision.components.shared.report.records import (
    Arm,
    ReportWarning,
    Section,
    StageReport,
    missed_wish,
)

__all__ = ["distillation_report"]


def distillation_report(result: DistillationResult, is_wanted: bool) -> StageReport:
    """Returns `distillation` of `report.json`, the warnings and the section.

    There is no section where nothing was tried.

    Args:
        result: What was found.
        is_wanted: Whether the user has asked for it.
    """
    gain = result.gain
    summary = {
        name: getattr(result, name)
        for name in (
            "skipped",
            "failed",
            "is_own_teacher",
            "judges",
            "loss",
            "teacher_loss",
            "student_loss",
            "images",
            "copies",
            "pictures",
            "images_seen",
            "temperature",
            "label_share",
            "feature_weight",
            "seconds",
        )
    }
    summary |= {
        "kept": result.is_kept,
        "gain": None if gain is None else gain.value,
        "ci95": None if gain is None else [gain.low, gain.high],
        "trials": [vars(each) for each in result.trials],
    }
    warnings = missed_wish("distillation", result.skipped, is_wanted)
    if result.failed:
        warnings.append(
            ReportWarning(
                "distillation_failed",
                "The student could not be trained by its teacher; the model before it stays. "
                f"{result.failed}",
            )
        )
    section = Section(
        "distillation", "Teacher", "distillation/stage_report.html", {"result": result}
    )
    return StageReport(
        summary={"distillation": summary},
        warnings=warnings,
        sections=[section] if gain is not None else [],
        arms=[Arm("distillation", gain, result.is_kept, result.seconds)] if gain else [],
    )
