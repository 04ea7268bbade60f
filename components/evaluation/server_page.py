"""What a Kubeflow Pipelines or an MLflow server shows of an evaluation.

The figures of the former lie in its database, and its page draws little: 15 pixels a cell of a
confusion matrix, tables sorted by name, ten rows at a time. C is the number of classes.

Source: `frontend/src/components/viewers` of kubeflow/pipelines 2.17.0.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from kfp_vision.components.shared.artifacts.champion_comparison import ChampionComparison
from kfp_vision.components.shared.artifacts.evaluation_result import Evaluation

__all__ = ["confusion_table", "roc_curve", "scalars", "tags", "test_scores"]

_MAX_CLASSES = 40


def scalars(evaluation: Evaluation) -> dict[str, float | None]:
    """Returns name -> number; the primary metric has the first name of an alphabetical table."""
    primary = f"test_{evaluation.primary}"
    values = {
        f"{split}_{name}": score["value"]
        for split, scores in evaluation.metrics.items()
        for name, score in scores.items()
    }
    for name, scores in evaluation.baselines.items():
        values[f"{name}_{evaluation.primary}"] = scores.get(evaluation.primary, {}).get("value")
    first = {f"(primary) {primary}": values.pop(primary, None)}
    return {
        **first,
        "passed": float(evaluation.passed),
        **_champion_scalars(evaluation.champion),
        **values,
    }


def _champion_scalars(comparison: ChampionComparison | None) -> dict[str, float | None]:
    """Returns the champion's metric, the difference, its lower bound, and what follows from it."""
    if comparison is None:
        return {}
    figures: dict[str, float | None] = {"replaces_champion": float(comparison.promotes)}
    for part in comparison.parts[:1]:
        champion, difference = part.champion or {}, part.difference or {}
        figures[f"champion_{comparison.primary}"] = champion.get("value")
        figures["champion_difference"] = difference.get("value")
        figures["champion_difference_low"] = difference.get("ci95", [None])[0]
    return figures


def test_scores(evaluation: Evaluation) -> dict[str, float | None]:
    """Returns `test/metric` -> number, named as the curves of the training are."""
    scores = evaluation.metrics.get("test", {})
    return {f"test/{name}": score["value"] for name, score in scores.items()}


def tags(evaluation: Evaluation) -> dict[str, str]:
    """Returns the verdict in words."""
    return {
        "kfp_vision.status": "passed" if evaluation.passed else "rejected",
        "kfp_vision.primary_metric": evaluation.primary,
        "kfp_vision.verdict": evaluation.sentence,
    }


def roc_curve(evaluation: Evaluation) -> Mapping[str, Sequence[float]] | None:
    """Returns `x`, `y` and `threshold` of two classes of whole images.

    None of more classes, of masks, and where the test images are of one class.
    """
    curves = list(evaluation.curves.get("roc", {}).values())
    return curves[0] if len(evaluation.confusion) == 2 and curves else None


def confusion_table(
    classes: Sequence[str], confusion: Sequence[Sequence[int]]
) -> tuple[list[str], list[list[int]]]:
    """Returns names and counts [n][n] of at most 40 rows, `[true][predicted]`.

    Of more classes those that are confused most have rows; the others are summed up in a last one.

    Args:
        classes: C names.
        confusion: Counts [C][C], `[true][predicted]`.
    """
    counts = np.asarray(confusion, np.int64)
    if len(classes) <= _MAX_CLASSES:
        return list(classes), counts.tolist()
    wrong = counts * (1 - np.eye(len(counts), dtype=np.int64))
    order = np.argsort(-(wrong.sum(0) + wrong.sum(1)), kind="stable")
    shown = np.sort(order[: _MAX_CLASSES - 1])
    place = np.full(len(classes), len(shown))
    place[shown] = np.arange(len(shown))
    summed = np.zeros((len(shown) + 1, len(shown) + 1), np.int64)
    np.add.at(summed, (place[:, None], place[None, :]), counts)
    names = [classes[index] for index in shown]
    return [*names, f"{len(classes) - len(shown)} other classes"], summed.tolist()
