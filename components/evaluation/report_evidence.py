"""What the section on the results shows: rows, cells and charts.

C is the number of classes. Nothing here knows HTML; the template knows no arithmetic.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kfp_vision.components.shared.artifacts.champion_comparison import ChampionComparison
from kfp_vision.components.shared.report.charts import Chart, Line, Style, line_chart
from kfp_vision.components.shared.report.figures import label

__all__ = [
    "calibration_chart",
    "champion_rows",
    "compare_baselines",
    "confusion_cells",
    "frequent_confusions",
    "metric_names",
    "operating_charts",
    "weakest_classes",
]

_CURVES = {
    "roc": ("ROC", "False positive rate", "True positive rate"),
    "precision_recall": ("Precision and recall", "Recall", "Precision"),
}
_SHARE = (0.0, 1.0)
# What tells weak classes from strong ones, of whole images, masks and boxes.
_JUDGES = ("f1", "iou", "average_precision")
_TABLE_CLASSES = 1000
# The accuracy of fewer says nothing: its standard error is above 0.15.
_MIN_BIN_IMAGES = 10


def metric_names(report: Mapping[str, Any]) -> list[str]:
    """Returns the names of all metrics, the primary one first."""
    primary = report["metrics"]["primary"]
    splits = [report["metrics"].get(split, {}) for split in ("test", "validation")]
    return list(dict.fromkeys([primary, *(name for held in splits for name in held)]))


def compare_baselines(report: Mapping[str, Any], metric: str) -> list[dict[str, Any]]:
    """Returns `{"name", "value", "ci95", "is_model"}` of the model, then the baselines, best first.

    Only what was measured is there: a baseline without probabilities has no AUROC, for instance.
    """
    model = report["metrics"].get("test", {}).get(metric)
    rows = [
        {"name": name, **figures[metric], "is_model": False}
        for name, figures in report["baselines"].items()
        if figures.get(metric) and figures[metric]["value"] is not None
    ]
    # A calibration error is better when it is lower.
    rows.sort(key=lambda row: row["value"], reverse=metric != "ece")
    if model and model["value"] is not None:
        rows.insert(0, {"name": "this_model", **model, "is_model": True})
    return rows


def champion_rows(comparison: ChampionComparison) -> dict[str, Any]:
    """Returns the rows of the figure of differences, and its scale.

    Returns:
        `rows` (`name`, `num_images`, `model`, `champion`, `difference`, and in percent of the axis
        `low`, `width` and `place`), `zero` and `margin` in percent, and `limit`, at which the axis
        ends on both sides.
    """
    parts = [each for each in comparison.parts if each.difference]
    bounds = [abs(bound) for each in parts for bound in (each.difference or {})["ci95"]]
    limit = 1.1 * max([comparison.margin, *bounds], default=1.0)

    def place(value: float) -> float:
        return 50 + 50 * value / limit

    rows = []
    for each in parts:
        held = each.difference or {}
        low, high = map(place, held["ci95"])
        row = {"place": place(held["value"]), "low": low, "width": high - low}
        rows.append({**dataclasses.asdict(each), **row})
    margin = -comparison.margin if comparison.rule == "not_worse" else 0.0
    return {"rows": rows, "limit": limit, "zero": place(0.0), "margin": place(margin)}


def confusion_cells(
    classes: Sequence[str], confusion: Sequence[Sequence[int]], limit: int = 24
) -> dict[str, Any]:
    """Returns the cells of the heat map, of the `limit` classes with the most confusions.

    Args:
        classes: C names.
        confusion: Counts [C][C], `[true][predicted]`.
        limit: Most classes that can be told apart on a page.

    Returns:
        `classes`, `rows` (cells `{"count", "share", "heat"}`; `share` is of the true class, `heat`
        is the share relative to the largest of its kind, right or wrong), `largest_error`.
    """
    counts = np.asarray(confusion, float)
    wrong = counts - np.diag(np.diag(counts))
    order = np.argsort(-(wrong.sum(0) + wrong.sum(1)), kind="stable")[:limit]
    shown = np.sort(order)
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    errors = share - np.diag(np.diag(share))
    largest = float(errors[np.ix_(shown, shown)].max(initial=0.0))
    return {
        "classes": [classes[index] for index in shown],
        "largest_error": largest,
        "rows": [
            [
                {
                    "count": int(counts[true, predicted]),
                    "share": float(share[true, predicted]),
                    "heat": float(share[true, predicted] / (1.0 if right else largest or 1.0)),
                    "right": right,
                }
                for predicted in shown
                for right in [bool(true == predicted)]
            ]
            for true in shown
        ],
    }


def frequent_confusions(
    classes: Sequence[str], confusion: Sequence[Sequence[int]], limit: int = 10
) -> list[dict[str, Any]]:
    """Returns `{"true", "predicted", "count", "share"}` of the most frequent confusions."""
    counts = np.asarray(confusion, np.int64)
    totals = counts.sum(1)
    wrong = counts * (1 - np.eye(len(counts), dtype=np.int64))
    pairs = [np.unravel_index(at, counts.shape) for at in np.argsort(-wrong, axis=None)[:limit]]
    return [
        {
            "true": classes[true],
            "predicted": classes[predicted],
            "count": int(wrong[true, predicted]),
            "share": float(wrong[true, predicted] / totals[true]),
        }
        for true, predicted in pairs
        if wrong[true, predicted]
    ]


def weakest_classes(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Returns the rows of all classes or, where they are many, of the weakest ones."""
    if not rows:
        return []
    judge = next(name for name in _JUDGES if name in rows[0])
    lowest = sorted(rows, key=lambda row: np.inf if row[judge] is None else row[judge])
    shown = {row["class"] for row in lowest[:_TABLE_CLASSES]}
    return [row for row in rows if row["class"] in shown]


def operating_charts(curves: Mapping[str, Mapping[str, Mapping[str, list[float]]]]) -> list[Chart]:
    """Returns the ROC and the precision-recall chart, one line per class."""
    charts = []
    for name, lines in curves.items():
        title, x_label, y_label = _CURVES.get(name, (label(name), "x", "y"))
        drawn = [Line(key, held["x"], held["y"], "faint") for key, held in lines.items()]
        if len(drawn) == 1:
            drawn = [Line(drawn[0].name, drawn[0].x, drawn[0].y)]
        if drawn:
            charts.append(
                line_chart(title, drawn, x_label, y_label, x_range=_SHARE, y_range=_SHARE)
            )
    return charts


def calibration_chart(calibration: Mapping[str, Any]) -> Chart | None:
    """Returns accuracy over confidence before and after temperature scaling, or None."""
    kinds: tuple[tuple[str, str, Style], ...] = (
        ("After", "bins_after", "solid"),
        ("Before", "bins_before", "dashed"),
    )
    lines = []
    for name, key, style in kinds:
        bins = [held for held in calibration.get(key, []) if held["count"] >= _MIN_BIN_IMAGES]
        x, y = ([held[axis] for held in bins] for axis in ("confidence", "accuracy"))
        lines.append(Line(name, x, y, style))
    if not any(len(line.x) for line in lines):
        return None
    ideal = Line("Ideal", [0.0, 1.0], [0.0, 1.0], "faint")
    return line_chart(
        "Accuracy at each confidence",
        [*lines, ideal],
        "Confidence",
        "Accuracy",
        x_range=_SHARE,
        y_range=_SHARE,
    )
