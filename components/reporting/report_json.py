"""The contents of `report.json`: what the stages measured, under the names that tools rely on."""

import dataclasses
import importlib.metadata
from collections.abc import Mapping, Sequence
from typing import Any

from kfp_vision.components.shared.artifacts.run_plan import PLAN
from kfp_vision.components.shared.report.records import StageRecord

__all__ = ["collect_warnings", "rejection", "shortfall", "summarise", "total_cost"]

_GRAVEST_FIRST = ("model", "data", "run")
# What a report cannot do without; other stages may add more.
_REQUIRED = ("task", "dataset", "model", "metrics", "baselines", "verdict", "exports")


def collect_warnings(records: Sequence[StageRecord]) -> list[dict[str, Any]]:
    """Returns `{"code", "message", "count"}` of all that a reader has to know, gravest first."""
    warnings = [warning for record in records for warning in record.report.warnings]
    warnings.sort(key=lambda warning: _GRAVEST_FIRST.index(warning.about))
    return [{"code": each.code, "message": each.message, "count": each.count} for each in warnings]


def total_cost(records: Sequence[StageRecord], plain_s: float) -> dict[str, Any]:
    """Returns the cost of the run, in seconds and as a multiple of one plain training.

    Args:
        records: Of all stages.
        plain_s: Seconds of the plain training.
    """
    total_s = sum(record.cost.seconds for record in records)
    return {
        "plain_training_s": plain_s,
        "total_s": total_s,
        "multiple": total_s / plain_s if plain_s > 0 else None,
        "stages": _stage_costs(records),
    }


def _stage_costs(records: Sequence[StageRecord]) -> list[dict[str, Any]]:
    """Returns the cost of each stage, and what the newest plan before it had estimated."""
    costs: list[dict[str, Any]] = []
    estimates: dict[str, float] = {}
    for record in records:
        estimate = estimates.get(record.cost.name)
        costs.append({**dataclasses.asdict(record.cost), "estimated_s": estimate})
        estimates |= record.report.summary.get(PLAN, {}).get("stages", {})
    return costs


def rejection(verdict: Mapping[str, Any], exports: Sequence[Mapping[str, Any]]) -> str:
    """Returns why the model is rejected; empty when it is not."""
    if verdict["outcome"] == "rejected":
        return " ".join(verdict["reasons"]) or "It does not pass the evaluation."
    if any(export["passed"] for export in exports):
        return ""
    failures = " ".join(f"{export['format']}: {export['reason']}" for export in exports)
    return f"No format could be exported. {failures}".rstrip()


def shortfall(model: Mapping[str, Any]) -> str:
    """Returns how short a training was that made less than half of its steps; else empty.

    Args:
        model: `model` of `report.json`.
    """
    made, planned = model["steps"], model["planned_steps"]
    if 2 * made >= planned:
        return ""
    return f"only {made:,} of {planned:,} steps: too few minutes"


def summarise(records: Sequence[StageRecord]) -> dict[str, Any]:
    """Returns `report.json`.

    Raises:
        ValueError: A stage that the report cannot do without is missing.
    """
    held: dict[str, Any] = {}
    for record in records:
        held |= record.report.summary
    if missing := [name for name in _REQUIRED if name not in held]:
        stages = ", ".join(record.artifact for record in records) or "none"
        raise ValueError(
            f"The stages must tell the report {', '.join(_REQUIRED)}. Received: nothing about "
            f"{', '.join(missing)}, from the artifacts {stages}"
        )
    reason = rejection(held["verdict"], held["exports"])
    return {
        "kfp_vision_version": importlib.metadata.version("kfp-vision"),
        "status": "rejected" if reason else "passed",
        "reason": reason,
        "shortfall": shortfall(held["model"]),
        **held,
        "arms": [
            {
                "name": arm.name,
                "gain": arm.gain.value,
                "ci95": [arm.gain.low, arm.gain.high],
                "kept": arm.is_kept,
                "step": arm.is_step,
                "seconds": arm.seconds,
            }
            for record in records
            for arm in record.report.arms
        ],
        "cost": total_cost(records, held["model"]["plain_training_s"]),
        "warnings": collect_warnings(records),
    }
