"""What the teachers tell the report: who they are, how they differ, and what was made of them."""

from kfp_vision.components.shared.artifacts.teachers_result import TeachersResult
from kfp_vision.components.shared.report.records import ReportWarning, Section, StageReport

__all__ = ["teachers_report"]


def teachers_report(result: TeachersResult) -> StageReport:
    """Returns `teachers` of `report.json`, the warnings and the section.

    There is no section where no network was trained.
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
    warnings = []
    if result.failed:
        warnings.append(
            ReportWarning(
                "teachers_failed",
                "Networks that were to teach the model could not be trained; the others went on. "
                + " ".join(result.failed),
                len(result.failed),
            )
        )
    section = Section(
        "teachers", "Teachers", "teachers/stage_report.html", {"result": result, "tried": tried}
    )
    return StageReport(
        summary={"teachers": summary},
        warnings=warnings,
        sections=[section] if result.tried else [],
    )
