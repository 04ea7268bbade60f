"""What a server is told is true of the whole, and little enough for its page."""

import dataclasses

import numpy as np
import pytest

from kfp_vision.components.evaluation.server_page import confusion_table, roc_curve, scalars
from kfp_vision.components.shared.artifacts.evaluation_result import Evaluation
from kfp_vision.components.shared.tasks.mask_evidence import MaskEvidence

_EVALUATION = Evaluation(
    primary="accuracy",
    metrics={},
    baselines={},
    per_class=[],
    confusion=[],
    curves={},
    calibration={},
    mistakes=[],
    passed=True,
    reasons=[],
)


@pytest.mark.parametrize("count", [2, 40, 41, 1000])
def test_the_confusion_of_any_number_of_classes_fits_and_loses_no_image(count):
    confusion = np.random.default_rng(0).poisson(0.05, (count, count)) + 40 * np.eye(
        count, dtype=int
    )
    confusion[0, count - 1] = 9999
    classes = [f"class {index}" for index in range(count)]
    names, rows = confusion_table(classes, confusion.tolist())
    summed = np.array(rows)
    assert summed.shape == (len(names), len(names))
    assert len(names) == min(count, 40)
    assert summed.sum() == confusion.sum()
    # The worst confusion is between two rows of the table.
    assert summed[names.index("class 0"), names.index(classes[-1])] == 9999
    shown = [classes.index(name) for name in names if name in classes]
    assert (summed[: len(shown), : len(shown)] == confusion[np.ix_(shown, shown)]).all()
    if count > 40:
        assert names[-1] == f"{count - 39} other classes"
        assert (summed[:-1].sum(1) == confusion.sum(1)[shown]).all()
        assert (summed[:, :-1].sum(0) == confusion.sum(0)[shown]).all()


def test_two_classes_of_pixels_have_no_roc_curve():
    masks = np.array([[[0, 1], [1, 1]], [[0, 0], [0, 1]]], np.uint8)
    evidence = MaskEvidence(["background", "cell"], None, num_shown=0)  # type: ignore[arg-type]
    evidence.add(0, {"mask": masks}, np.eye(2)[masks])
    confused = dataclasses.replace(_EVALUATION, **evidence.fields())
    assert confused.confusion == [[4, 0], [0, 4]]
    assert roc_curve(confused) is None
    curve = {"x": [0.0, 1.0], "y": [0.0, 1.0], "threshold": [1.0, 0.0]}
    curves = {"roc": {"cell": curve}, "precision_recall": {}}
    assert roc_curve(dataclasses.replace(confused, curves=curves)) == curve


def test_the_primary_metric_is_the_first_of_an_alphabetical_table():
    evaluation = dataclasses.replace(
        _EVALUATION,
        primary="balanced_accuracy",
        metrics={
            "test": {"accuracy": {"value": 0.8}, "balanced_accuracy": {"value": 0.9}},
            "validation": {"accuracy": {"value": 0.7}},
        },
        baselines={"zero_rule": {"balanced_accuracy": {"value": 0.5}}},
    )
    names = list(scalars(evaluation))
    assert names[0] == min(names) == "(primary) test_balanced_accuracy"
    assert scalars(evaluation)[names[0]] == 0.9
    assert scalars(evaluation)["zero_rule_balanced_accuracy"] == 0.5
    unmeasured = dataclasses.replace(evaluation, metrics={}, baselines={"zero_rule": {}})
    assert scalars(unmeasured) == {
        names[0]: None,
        "passed": 1.0,
        "zero_rule_balanced_accuracy": None,
    }
