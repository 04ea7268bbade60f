"""The metrics against scikit-learn, on sets and on resamples written out image by image."""

import numpy as np
import pytest
from sklearn import metrics as sk

from kfp_vision.components.shared.metrics.scores import (
    classification_metrics,
    multilabel_metrics,
    of_whole_set,
    ranking_metrics,
)


def draw_classification(num_images, num_classes, decimals, seed=0):
    generator = np.random.default_rng(seed)
    labels = generator.integers(num_classes, size=num_images)
    logits = generator.normal(size=(num_images, num_classes)) + 1.5 * np.eye(num_classes)[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return labels, np.round(probabilities, decimals)


def sklearn_classification(labels, probabilities, ranked):
    predicted = probabilities.argmax(axis=1)
    pairs = [(labels == c, probabilities[:, c]) for c in ranked if c in labels]
    return {
        "accuracy": sk.accuracy_score(labels, predicted),
        "balanced_accuracy": sk.recall_score(
            labels, predicted, labels=np.unique(labels), average="macro"
        ),
        "auroc": np.mean([sk.roc_auc_score(*pair) for pair in pairs]),
        "average_precision": np.mean([sk.average_precision_score(*pair) for pair in pairs]),
    }


# Two decimals make ties; they have a definition too.
@pytest.mark.parametrize("decimals", [16, 2])
@pytest.mark.parametrize(
    ("num_classes", "ranked"), [(2, [0]), (2, [1]), (3, range(3)), (7, range(7))]
)
def test_classification_metrics_agree_with_sklearn(num_classes, ranked, decimals):
    labels, probabilities = draw_classification(300, num_classes, decimals)
    once = np.ones((300, 1))
    measured = of_whole_set(classification_metrics(labels, probabilities, once, ranked))
    expected = sklearn_classification(labels, probabilities, ranked)
    for name, value in expected.items():
        assert measured[name] == pytest.approx(value, abs=1e-12), name


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_counts_are_the_same_as_repeating_the_images(dtype):
    labels, probabilities = draw_classification(80, 3, 2)
    counts = np.random.default_rng(1).poisson(1.0, size=(80, 20)).astype(dtype)
    measured = classification_metrics(labels, probabilities, counts, range(3))
    for r in range(20):
        rows = np.repeat(np.arange(80), counts[:, r].astype(int))
        expected = sklearn_classification(labels[rows], probabilities[rows], range(3))
        for name, value in expected.items():
            assert measured[name][r] == pytest.approx(value, abs=1e-6), name


def test_multilabel_metrics_agree_with_sklearn():
    generator = np.random.default_rng(2)
    labels = (generator.random((200, 5)) < [0.5, 0.3, 0.2, 0.1, 0.0]).astype(np.uint8)
    probabilities = 1 / (1 + np.exp(-(generator.normal(size=(200, 5)) + 2.0 * labels - 1.0)))
    measured = of_whole_set(multilabel_metrics(labels, probabilities, np.ones((200, 1))))
    present, predicted = labels.any(axis=0), probabilities >= 0.5
    assert measured == pytest.approx(
        {
            "mean_average_precision": sk.average_precision_score(
                labels[:, present], probabilities[:, present]
            ),
            "micro_f1": sk.f1_score(labels, predicted, average="micro"),
            "macro_f1": sk.f1_score(labels[:, present], predicted[:, present], average="macro"),
        },
        abs=1e-12,
    )


def test_ece_of_constant_confidence_is_its_gap_to_the_accuracy():
    labels = np.array([0] * 6 + [1] * 4)
    probabilities = np.tile([0.9, 0.1], (10, 1))
    measured = classification_metrics(labels, probabilities, np.ones((10, 1)), [1])
    assert measured["ece"] == pytest.approx(0.9 - 0.6)


def test_undefined_is_left_out_and_not_zero():
    one_class = np.zeros(5, int)
    probabilities = np.full((5, 3), 1 / 3)
    once = np.ones((5, 1))
    measured = of_whole_set(classification_metrics(one_class, probabilities, once, range(3)))
    assert "auroc" not in measured
    assert measured["accuracy"] == 1.0


@pytest.mark.parametrize(
    ("scores", "auroc"), [([3, 2, 1, 0], 1.0), ([0, 1, 2, 3], 0.0), ([1, 1, 1, 1], 0.5)]
)
def test_auroc_of_perfect_reversed_and_constant_scores(scores, auroc):
    positive = np.array([True, True, False, False])
    measured, _ = ranking_metrics(positive, np.array(scores, float), np.ones((4, 1)))
    assert measured == pytest.approx(auroc)
