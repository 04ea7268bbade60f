"""Baselines against closed forms and scikit-learn."""

import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestCentroid

from kfp_vision.components.shared.tasks.baselines import (
    BASELINES,
    Samples,
    fit_logistic,
    nearest_centroid,
    zero_rule,
)


def draw_blobs(seed=0, num_images=300):
    generator = np.random.default_rng(seed)
    labels = generator.integers(3, size=num_images)
    features = generator.normal(size=(num_images, 6)) + 2.0 * np.eye(3, 6)[labels]
    return Samples(features.astype(np.float32), labels)


def test_zero_rule_says_the_class_frequencies():
    train = Samples(np.zeros((10, 1), np.float32), np.array([0] * 7 + [1] * 2 + [2]))
    logits = zero_rule(train, train, 3)(np.zeros((2, 1), np.float32))
    np.testing.assert_allclose(softmax(logits, axis=1), [[0.7, 0.2, 0.1]] * 2)


def test_zero_rule_of_independent_labels():
    train = Samples(np.zeros((4, 1), np.float32), np.array([[1, 0], [1, 0], [0, 0], [0, 1]]))
    logits = zero_rule(train, train, 2)(train.features)
    np.testing.assert_allclose(expit(logits), [[0.5, 0.25]] * 4)


def test_nearest_centroid_is_that_of_sklearn():
    train, test = draw_blobs(0), draw_blobs(1)
    expected = NearestCentroid().fit(*train).predict(test.features)
    predicted = nearest_centroid(train, train, 3)(test.features).argmax(axis=1)
    np.testing.assert_array_equal(predicted, expected)


@pytest.mark.parametrize("multilabel", [False, True])
def test_logistic_regression_is_that_of_sklearn(multilabel):
    train, penalty = draw_blobs(), 0.01
    labels = np.eye(3, dtype=np.uint8)[train.labels] if multilabel else train.labels
    weights = fit_logistic(Samples(train.features, labels), np.zeros((7, 3)), penalty, 500)
    logits = train.features @ weights[:-1] + weights[-1]

    def reference(target):
        model = LogisticRegression(C=1 / (penalty * len(target)), tol=1e-8, max_iter=1000)
        return model.fit(train.features, target).predict_proba(train.features)

    if multilabel:
        expected = np.stack([reference(target)[:, 1] for target in labels.T], axis=1)
        np.testing.assert_allclose(expit(logits), expected, atol=2e-3)
    else:
        np.testing.assert_allclose(softmax(logits, axis=1), reference(labels), atol=2e-3)


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("multilabel", [False, True])
def test_class_without_training_images_stays_finite(name, multilabel):
    train = draw_blobs()
    labels = np.eye(4, dtype=np.uint8)[train.labels] if multilabel else train.labels
    samples = Samples(train.features, labels)
    logits = BASELINES[name](samples, samples, 4, False)(train.features)
    assert logits.shape == (300, 4)
    assert np.isfinite(logits).all()


def test_balanced_regression_is_that_of_sklearn_with_balanced_weights():
    blobs = draw_blobs()
    kept = np.flatnonzero((blobs.labels > 0) | (np.arange(len(blobs.labels)) % 10 == 0))
    train = Samples(blobs.features[kept], blobs.labels[kept])
    counts = np.bincount(train.labels)
    weights = len(kept) / (3 * counts[train.labels])
    fitted = fit_logistic(train, np.zeros((7, 3), np.float32), 0.01, 500, weights)
    reference = LogisticRegression(C=1 / (0.01 * len(kept)), class_weight="balanced").fit(*train)
    logits = train.features @ fitted[:-1] + fitted[-1]
    np.testing.assert_allclose(
        softmax(logits, axis=1), reference.predict_proba(train.features), atol=0.01
    )
    # The rare class is found more often.
    found = [
        (BASELINES["linear"](train, train, 3, balanced)(train.features).argmax(axis=1) == 0).sum()
        for balanced in (False, True)
    ]
    assert found[0] < found[1]
