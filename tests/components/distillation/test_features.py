"""What a teacher sees, and the axes that it is kept along, against closed forms."""

from pathlib import Path

import keras
import numpy as np
import pytest

from kfp_vision.components.distillation.features import PrincipalAxes, with_features
from kfp_vision.components.teachers.ensemble import Average, Stack
from kfp_vision.components.teachers.ensemble_model import build_ensemble

_GENERATOR = np.random.default_rng(0)
_PIXELS = _GENERATOR.uniform(0, 255, (4, 8, 8, 3)).astype(np.float32)


def _network(width: int) -> keras.Model:
    pixels = keras.Input((8, 8, 3))
    features = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(width, 3)(pixels))
    return keras.Model(pixels, keras.layers.Dense(5)(features))


def _seen_by(model: keras.Model) -> np.ndarray:
    """Returns the features of a network, of unit length."""
    features = np.asarray(keras.Model(model.inputs, model.layers[-1].input)(_PIXELS))
    unit: np.ndarray = features / np.linalg.norm(features, axis=1, keepdims=True)
    return unit


def test_a_network_says_what_it_said_and_shows_what_its_last_layer_reads() -> None:
    network = _network(6)
    outputs, features = with_features(network)(_PIXELS)
    np.testing.assert_array_equal(outputs, network(_PIXELS))
    np.testing.assert_allclose(features, _seen_by(network), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("combination", "used"),
    [
        (Average(np.array([0.5, 0.0, 0.5]), np.ones(3), multilabel=False), [0, 2]),
        (Average(np.array([0.2, 0.3, 0.5]), np.ones(3), multilabel=True), [0, 1, 2]),
        (Stack(_GENERATOR.normal(size=(15, 5)), np.zeros(5), multilabel=False), [0, 1, 2]),
    ],
)
def test_an_ensemble_shows_what_all_its_members_see(
    combination: Average | Stack, used: list[int], tmp_path: Path
) -> None:
    networks = [_network(width) for width in (6, 9, 4)]
    build_ensemble(networks, combination, (8, 8)).save(tmp_path / "ensemble.keras")
    ensemble = keras.models.load_model(tmp_path / "ensemble.keras", safe_mode=True)
    outputs, features = with_features(ensemble)(_PIXELS)
    np.testing.assert_allclose(outputs, ensemble(_PIXELS), rtol=1e-6)
    expected = np.concatenate([_seen_by(networks[at]) for at in used], axis=1)
    # In whatever order the members are.
    found = np.asarray(features)[:, np.argsort(features[0])]
    expected = expected[:, np.argsort(expected[0])]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_features_along_all_axes_are_as_far_apart_as_before_times_a_constant() -> None:
    sample = _GENERATOR.normal(3.0, np.arange(1, 9), (200, 8)).astype(np.float32)
    along = PrincipalAxes.of(sample, 8)(sample)
    assert along.var(axis=0).mean() == pytest.approx(1.0, rel=1e-4)
    # The widest first, and none says what another one does.
    np.testing.assert_allclose(np.cov(along.T), np.diag(np.cov(along.T).diagonal()), atol=1e-4)
    assert (np.diff(along.var(axis=0)) < 0).all()
    ratio = np.linalg.norm(along[0] - along[1:], axis=1) / np.linalg.norm(
        sample[0] - sample[1:], axis=1
    )
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-3)


def test_few_axes_keep_the_most_variance_that_so_many_can() -> None:
    sample = _GENERATOR.normal(0.0, [1.0, 9.0, 2.0, 5.0], (300, 4)).astype(np.float32)
    axes = PrincipalAxes.of(sample, 2)
    largest = np.sort(np.linalg.eigvalsh(np.cov(sample.T, ddof=0)))[-2:]
    expected = 2 * largest[::-1] / largest.sum()
    np.testing.assert_allclose(axes(sample).var(axis=0), expected, rtol=1e-3)


def test_axes_that_a_small_sample_does_not_have_are_zero() -> None:
    along = PrincipalAxes.of(_PIXELS[:3, 0, 0], 8)(_PIXELS[:, 0, 0])
    assert along.shape == (4, 8)
    assert (along[:, 3:] == 0).all()
    constant = np.full((5, 4), 0.3, np.float32)
    np.testing.assert_allclose(PrincipalAxes.of(constant, 2)(constant), 0.0, atol=1.0)
