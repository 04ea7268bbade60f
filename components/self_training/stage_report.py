"""What self-training tells the report: what was learned of images without labels, and was kept."""

from typing import Any

from kfp_vision.components.shared.artifacts.self_training_result import (
    RoundResult,
    SelfTrainingResult,
)
from kfp_vision.components.shared.report.records import (
    Arm,
    ReportWarning,
    Section,
    StageReport,
    missed_wish,
)

__all__ = ["self_training_report"]

# Of the images without labels that were looked at: above, they may be those of something else.
_MANY_FOREIGN = 0.25


def self_training_report(result: SelfTrainingResult, is_wanted: bool) -> StageReport:
    """Returns `self_training` of `report.json`, the warnings and the section.

    There is no section where there are no images without labels.

    Args:
        result: What was found.
        is_wanted: Whether the user has asked for it.
    """
    rounds = [_row(each) for each in result.rounds]
    trials = [_row(each) for each in result.trials]
    names = (
        "skipped",
        "untried",
        "failed",
        "unlabeled",
        "asked",
        "copies",
        "foreign",
        "foreign_by",
        "foreign_distance",
        "foreign_judges",
        "foreign_within",
        "loss",
        "plain_images_seen",
        "seconds",
    )
    held = {name: getattr(result, name) for name in names}
    summary = {**held, "trials": trials, "rounds": rounds}
    data = {"result": result, "trials": trials, "rounds": rounds}
    section = Section("self-training", "Self-training", "self_training/stage_report.html", data)
    return StageReport(
        summary={"self_training": summary},
        warnings=[*missed_wish("self_training", result.skipped, is_wanted), *_warnings(result)],
        sections=[section] if result.unlabeled else [],
        arms=[
            Arm(
                f"self-training: {_named(each)}",
                each.gain,
                each.is_kept,
                each.seconds,
                is_step=not each.number,
            )
            for each in (*result.trials, *result.rounds)
        ],
    )


def _named(each: RoundResult) -> str:
    return f"{each.arm}, round {each.number}" if each.number else f"{each.arm}, trial"


def _row(each: RoundResult) -> dict[str, Any]:
    gain = each.refined
    return {
        "round": each.number,
        "arm": each.arm,
        "images": each.images,
        "images_seen": each.images_seen,
        "judges": each.judges,
        "loss": each.loss,
        "gain": each.gain.value,
        "ci95": [each.gain.low, each.gain.high],
        "kept": each.is_kept,
        "neighbours": each.neighbours,
        "refined_gain": gain and gain.value,
        "refined_ci95": gain and [gain.low, gain.high],
        "seconds": each.seconds,
    }


def _warnings(result: SelfTrainingResult) -> list[ReportWarning]:
    warnings = []
    if result.failed:
        warnings.append(
            ReportWarning(
                "self_training_failed",
                "Students of the images without labels could not be trained; the model before them "
                f"stays. {result.failed}",
            )
        )
    if result.copies:
        warnings.append(
            ReportWarning(
                "unlabeled_copies",
                f"{result.copies:,} images without labels are near duplicates of validation or "
                "test images. They were not learned: the model would be judged by what it knows.",
                result.copies,
                "data",
            )
        )
    if result.foreign > _MANY_FOREIGN * max(1, result.asked):
        warnings.append(
            ReportWarning(
                "unlabeled_foreign",
                f"{result.foreign:,} of {result.asked:,} images without labels are unlike the "
                "training images and were not learned. Look at the examples: they may show "
                "something else.",
                result.foreign,
                "data",
            )
        )
    return warnings
