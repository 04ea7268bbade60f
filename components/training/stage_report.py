"""What the training tells the report: the model, the curves and what went wrong."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kfp_vision.components.shared.artifacts.training_result import TrainingResult
from kfp_vision.components.shared.report.charts import Chart, Line, line_chart, thin
from kfp_vision.components.shared.report.figures import label
from kfp_vision.components.shared.report.records import ReportWarning, Section, StageReport

__all__ = ["training_charts", "training_report"]

_LAST = ("learning_rate", "gradient_norm")


def training_report(
    training: TrainingResult, curves: Sequence[Mapping[str, Any]], primary: str
) -> StageReport:
    """Returns `model` of `report.json`, the warnings and the section on the training.

    Args:
        training: How it went.
        curves: Rows `{"step", "split", "metric", "value"}`.
        primary: Name of the primary metric.
    """
    data = {
        "training": training,
        "charts": []
        if training.trainable == "head"
        else training_charts(curves, primary, training.best_step),
    }
    return StageReport(
        summary={"model": training.summary},
        warnings=[ReportWarning("training", sentence) for sentence in training.warnings],
        sections=[Section("training", "Training", "training/stage_report.html", data)],
    )


def training_charts(
    curves: Sequence[Mapping[str, Any]], primary: str, best_step: int
) -> list[Chart]:
    """Returns one chart per logged metric: the loss, the primary metric, the others.

    Args:
        curves: Rows `{"step", "split", "metric", "value"}`.
        primary: Name of the primary metric.
        best_step: Step of the checkpoint that was kept; marked.
    """
    held: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for row in curves:
        held.setdefault(row["metric"], {}).setdefault(row["split"], []).append(
            (row["step"], row["value"])
        )
    first = [name for name in ("loss", primary) if name in held]
    last = [name for name in _LAST if name in held]
    middle = sorted(set(held) - {*first, *last})
    charts = []
    steps = (0.0, float(max([1, *(row["step"] for row in curves)])))
    for metric in [*first, *middle, *last]:
        lines = []
        for split, points in sorted(held[metric].items()):
            x, y = thin(*np.array(sorted(points), float).T)
            lines.append(Line(label(split), x, y))
        charts.append(
            line_chart(
                label(metric),
                lines,
                "Step",
                label(metric),
                x_range=steps,
                markers=[(best_step, "kept")],
            )
        )
    return charts
