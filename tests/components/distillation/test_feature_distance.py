"""The loss of features against what regression leaves unexplained."""

import numpy as np

from kfp_vision.components.distillation.feature_distance import feature_distance

_GENERATOR = np.random.default_rng(0)


def test_it_is_the_mean_squared_difference_of_each_image() -> None:
    features = np.array([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]], np.float32)
    projected = np.array([[1.0, 0.0, 4.0], [3.0, 0.0, 0.0]], np.float32)
    np.testing.assert_allclose(feature_distance(features, projected), [5 / 3, 3.0], rtol=1e-6)
    np.testing.assert_array_equal(feature_distance(features, features), 0.0)


def test_of_features_of_variance_1_it_is_the_share_that_is_not_explained() -> None:
    seen = _GENERATOR.normal(size=(400, 3))
    features = seen @ _GENERATOR.normal(size=(3, 5)) + _GENERATOR.normal(size=(400, 5))
    features = (features - features.mean(axis=0)) / features.std(axis=0)
    read = np.column_stack([seen, np.ones(400)])
    projected = read @ np.linalg.lstsq(read, features, rcond=None)[0]
    loss = np.asarray(feature_distance(features, projected)).mean()
    correlations = [np.corrcoef(*each)[0, 1] for each in zip(features.T, projected.T, strict=True)]
    np.testing.assert_allclose(loss, 1 - np.square(correlations).mean(), rtol=1e-5)
    np.testing.assert_allclose(
        np.asarray(feature_distance(features, np.zeros((400, 5)))).mean(), 1.0, rtol=1e-5
    )
