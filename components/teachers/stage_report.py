"""What the teachers tell the report: who they are, how they differ, and what was made of them."""

from typing import Any

from kfp_vision.components.shared.artifacts.teachers_result import TeachersResult
from kfp_vision.components.shared.artifacts.training_result import TrainingResult
from kfp_vision.components.shared.report.records import (
    Arm,
    ReportWarning,
    Section,
    StageReport,
    missed_wish,
)

__all__ = ["teachers_report"]

_WORDS = {
    "average": "average of all",
    "greedy": "greedy selection",
    "stacking": "stack",
    "soup": "soup of weights",
}


def teachers_report(
    result: TeachersResult, training: TrainingResult, is_wanted: bool, is_too_late: bool
) -> StageReport:
    """Returns `teachers` of `report.json`, the warnings and the section.

    There is no section where no network was trained, unless it was for lack of time. Where the
    ensemble is deployed, `model` is it.

    Args:
        result: What was found.
        training: Of the model.
        is_wanted: Whether the user has asked for teachers.
        is_too_late: Whether there was no time for them.
    """
    tried = [
        {
            "way": each.way,
            "loss": each.loss,
            "gain": each.gain.value,
            "ci95": [each.gain.low, each.gain.high],
            "kept": each.way == result.kept,
        }
        for each in result.tried
    ]
    summary = {
        **vars(result),
        "members": [vars(each) for each in result.members],
        "tried": tried,
    }
    warnings = missed_wish("teachers", result.skipped, is_wanted)
    if result.failed:
        warnings.append(
            ReportWarning(
                "teachers_failed",
                "Networks that were to teach the model could not be trained; the others went on. "
                + " ".join(result.failed),
                len(result.failed),
            )
        )
    data = {"result": result, "tried": tried, "ways": _WORDS}
    section = Section("teachers", "Teachers", "teachers/stage_report.html", data)
    return StageReport(
        summary={"teachers": summary, **_deployed(result, training)},
        warnings=warnings,
        sections=[section] if result.tried or is_too_late else [],
        arms=[_best_arm(result)] if result.tried else [],
    )


def _deployed(result: TeachersResult, training: TrainingResult) -> dict[str, Any]:
    """Returns `model` where that is the ensemble, else nothing."""
    if not result.is_deployed:
        return {}
    used = [each.architecture for each in result.members if each.weight]
    held = {
        "architecture": "ensemble of " + ", ".join(used),
        "parameters": result.parameters,
        "image_size": result.image_size,
    }
    return {"model": training.summary | held}


def _best_arm(result: TeachersResult) -> Arm:
    """Returns the way that was kept, or gains most."""
    best = max(result.tried, key=lambda each: (each.way == result.kept, each.gain.value))
    name = f"ensemble: {_WORDS[best.way]}"
    is_kept = best.way == result.kept
    return Arm(name, best.gain, is_kept, result.seconds, is_step=is_kept and not result.is_deployed)
