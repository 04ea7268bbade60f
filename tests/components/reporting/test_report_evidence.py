import dataclasses
import shlex

import numpy as np
import pytest
from report_artifacts import Artifacts
from sklearn.metrics import confusion_matrix

from kfp_vision.components.evaluation import report_evidence as evidence
from kfp_vision.components.reporting.build import gap_closed, reproduction_command
from kfp_vision.components.training.stage_report import training_charts

CLASSES = ["cat", "dog", "eel"]
CONFUSION = [[8, 2, 0], [0, 9, 1], [0, 0, 0]]


def test_confusion_cells_are_shares_of_the_true_class() -> None:
    cells = evidence.confusion_cells(CLASSES, CONFUSION)
    shares = [[cell["share"] for cell in row] for row in cells["rows"]]
    assert shares == [[0.8, 0.2, 0.0], [0.0, 0.9, 0.1], [0.0, 0.0, 0.0]]
    assert cells["largest_error"] == 0.2
    assert [[cell["right"] for cell in row] for row in cells["rows"]] == np.eye(
        3, dtype=bool
    ).tolist()
    assert max(cell["heat"] for row in cells["rows"] for cell in row if not cell["right"]) == 1.0


def test_only_the_most_confused_classes_are_drawn() -> None:
    rng = np.random.default_rng(0)
    true = rng.integers(0, 100, 5000)
    predicted = np.where((true < 5) & (rng.random(5000) < 0.5), (true + 1) % 5, true)
    names = [str(index) for index in range(100)]
    cells = evidence.confusion_cells(names, confusion_matrix(true, predicted), limit=5)
    assert cells["classes"] == names[:5]


def test_frequent_confusions_are_sorted_and_never_right_answers() -> None:
    pairs = evidence.frequent_confusions(CLASSES, CONFUSION)
    assert [(pair["true"], pair["predicted"], pair["count"]) for pair in pairs] == [
        ("cat", "dog", 2),
        ("dog", "eel", 1),
    ]
    assert pairs[0]["share"] == 0.2


@pytest.mark.parametrize(
    ("value", "baseline", "share"),
    [(0.9, 0.8, 0.5), (0.8, 0.9, -1.0), (1.0, 1.0, None), (None, 0.5, None), (0.5, None, None)],
)
def test_gap_closed(value: float | None, baseline: float | None, share: float | None) -> None:
    report = {
        "metrics": {"primary": "accuracy", "test": {"accuracy": {"value": value}}},
        "baselines": {"linear": {"accuracy": {"value": baseline}}},
        "verdict": {"best_baseline": "linear"},
    }
    assert gap_closed(report) == (None if share is None else pytest.approx(share))
    unknown = {**report, "verdict": {"best_baseline": ""}}
    assert gap_closed(unknown) is None


@pytest.mark.parametrize(
    ("metric", "order"), [("accuracy", ["good", "bad"]), ("ece", ["bad", "good"])]
)
def test_the_best_baseline_comes_first(metric: str, order: list[str]) -> None:
    report = {
        "metrics": {"primary": "accuracy", "test": {metric: {"value": 0.5, "ci95": [0.4, 0.6]}}},
        "baselines": {
            "bad": {metric: {"value": 0.1, "ci95": [0.0, 0.2]}},
            "good": {metric: {"value": 0.4, "ci95": [0.3, 0.5]}},
            "silent": {},
            "undefined": {metric: {"value": None, "ci95": None}},
        },
    }
    names = [row["name"] for row in evidence.compare_baselines(report, metric)]
    assert names == ["this_model", *order]


def test_training_charts_start_with_the_loss_and_mark_the_kept_step(digits_run: Artifacts) -> None:
    extra = [{"step": 300, "split": "train", "metric": "learning_rate", "value": 0.1}]
    curves = [*extra, *digits_run.curves]
    charts = training_charts(curves, "accuracy", best_step=150)
    assert [chart.title for chart in charts] == ["Loss", "Accuracy", "Learning rate"]
    assert [line["name"] for line in charts[0].lines] == ["Train", "Validation"]
    assert charts[0].markers[0].position == 50


def test_calibration_without_bins_has_no_chart(digits_run: Artifacts) -> None:
    assert evidence.calibration_chart({"temperature": 1.0}) is None
    chart = evidence.calibration_chart(digits_run.evaluation.calibration)
    assert chart is not None
    assert [line["name"] for line in chart.lines] == ["After", "Before", "Ideal"]


def test_the_command_survives_a_shell() -> None:
    uri = "/data/my images; rm -rf $HOME"
    words = shlex.split(reproduction_command(uri, "", 7))
    assert words[:4] == ["kfp-vision", "run", "--dataset-uri", uri]
    assert "--unlabeled-uri" not in words
    assert words[words.index("--seed") + 1] == "7"
    words = shlex.split(reproduction_command(uri, "/data/more images", 7))
    assert words[words.index("--unlabeled-uri") + 1] == "/data/more images"


def test_metric_names_put_the_primary_first(digits_run: Artifacts) -> None:
    evaluation = dataclasses.replace(digits_run.evaluation, primary="balanced_accuracy")
    report = {"metrics": {**evaluation.metrics, "primary": evaluation.primary}}
    assert evidence.metric_names(report) == ["balanced_accuracy", "accuracy"]
