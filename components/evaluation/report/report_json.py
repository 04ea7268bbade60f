"""The contents of `report.json`: what the stages measured, under the names that tools rely on."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from kfp_vision.components.evaluation.report.inputs import Run
from kfp_vision.components.shared.artifacts.cost import StageCost

__all__ = ["collect_warnings", "rejection", "summarise", "total_cost"]


def collect_warnings(run: Run) -> list[dict[str, Any]]:
    """Returns `{"code", "message", "count"}` of all that a reader has to know, gravest first."""
    warnings = [
        *(("evaluation", reason, 1) for reason in run.evaluation.reasons),
        *(
            ("indistinguishable", sentence, 1)
            for sentence in [run.evaluation.sentence]
            if run.evaluation.outcome == "indistinguishable"
        ),
        *(
            ("export_failed", f"{export.format}: {export.reason}", 1)
            for export in run.exports
            if not export.passed
        ),
        *((found.code, found.message, found.count) for found in run.profile.findings),
        *(
            (f"rejected_{code}", f"Files left out by the import: {code.replace('_', ' ')}.", count)
            for code, count in run.dataset.rejected.items()
        ),
        *(("search", sentence, 1) for sentence in run.search.notes),
        *(("training", sentence, 1) for sentence in run.training.warnings),
    ]
    return [{"code": code, "message": message, "count": count} for code, message, count in warnings]


def total_cost(costs: Mapping[str, StageCost], plain_s: float) -> dict[str, Any]:
    """Returns the cost of the run, in seconds and as a multiple of one plain training.

    Args:
        costs: Artifact name -> cost.
        plain_s: Seconds of the plain training, see `TrainingSummary.plain_seconds`.
    """
    total_s = sum(cost.seconds for cost in costs.values())
    return {
        "plain_training_s": plain_s,
        "total_s": total_s,
        "multiple": total_s / plain_s if plain_s > 0 else None,
        "stages": [dataclasses.asdict(cost) for cost in costs.values()],
    }


def rejection(run: Run) -> str:
    """Returns why the model is rejected; empty when it is not."""
    if not run.evaluation.passed:
        return " ".join(run.evaluation.reasons) or "It does not pass the evaluation."
    if any(export.passed for export in run.exports):
        return ""
    failures = " ".join(f"{export.format}: {export.reason}" for export in run.exports)
    return f"No format could be exported. {failures}".rstrip()


def summarise(run: Run) -> dict[str, Any]:
    """Returns `report.json`."""
    dataset, training, evaluation = run.dataset, run.training, run.evaluation
    reason = rejection(run)
    return {
        "kfp_vision_version": run.version,
        "status": "rejected" if reason else "passed",
        "reason": reason,
        "task": dataset.task,
        "dataset": {
            "uri": dataset.source_uri,
            "fingerprint": dataset.fingerprint,
            "splits": dataset.splits,
            "classes": dataset.classes,
        },
        "model": {
            "architecture": training.architecture,
            "parameters": training.parameters,
            "image_size": training.image_size,
        },
        "metrics": {**evaluation.metrics, "primary": evaluation.primary},
        "baselines": evaluation.baselines,
        "verdict": {
            "outcome": evaluation.outcome,
            "best_baseline": evaluation.best_baseline,
            "sentence": evaluation.sentence,
        },
        "exports": [dataclasses.asdict(export) for export in run.exports],
        "probe": dataclasses.asdict(run.probe),
        "augmentation": dataclasses.asdict(run.augmentation),
        "search": dataclasses.asdict(run.search),
        "cost": total_cost(run.costs, training.plain_seconds),
        "warnings": collect_warnings(run),
    }
