import keras
import numpy as np
import pytest
import tensorflow as tf

from kfp_vision.components.shared.heads.centre_detector import CELL
from kfp_vision.components.shared.heads.keypoint_detector import (
    find_keypoints,
    keypoint_detector,
)

_HEIGHT, _WIDTH, _POINTS = 12, 20, 3


def _maps(**planted):
    """Returns maps without anything, and those values in them: name -> {place: value}."""
    depths = {"heat": 1, "reach": 4, "points": _POINTS, "offsets": 4 * _POINTS}
    empty = {"heat": -9.0, "reach": np.log(4.0), "points": -9.0, "offsets": 0.0}
    maps = {
        name: np.full((1, _HEIGHT, _WIDTH, depth), empty[name], np.float32)
        for name, depth in depths.items()
    }
    for name, values in planted.items():
        for place, value in values.items():
            maps[name][(0, *place)] = value
    return {name: tf.constant(value) for name, value in maps.items()}


def _found(**planted):
    return {k: np.asarray(v) for k, v in find_keypoints(_maps(**planted), 40).items()}


def test_a_peak_near_is_taken_with_its_shift():
    # The centre is in the middle of (4, 6), at x = 26 and y = 18 pixels.
    found = _found(
        heat={(4, 6): 3.0},
        points={(4, 7, 0): 2.0, (4, 14, 0): 4.0, (5, 5, 1): 1.0},
        offsets={
            (4, 6): [1, 0, -1.2, 0.5, 2.5, 1.5, 0, 0, 0, 0, 0, 0],
            (4, 7): [0, 0, 0, 0, 0, 0, 0.3, -0.2, 0, 0, 0, 0],
            (5, 5): [0, 0, 0, 0, 0, 0, 0, 0, 0.1, 0.45, 0, 0],
        },
    )
    assert found["keypoints"].shape == (1, 40, _POINTS, 3)
    points = found["keypoints"][0, 0]
    p = 1 / (1 + np.exp([-2.0, -1.0, 9.0]))
    # A surer peak that is far belongs to another object. The last has none but the place itself.
    np.testing.assert_allclose(points[0], [31.2, 17.2, p[0]], rtol=1e-4)
    np.testing.assert_allclose(points[1], [22.4, 23.8, p[1]], rtol=1e-4)
    np.testing.assert_allclose(points[2], [36.0, 24.0, p[2]], rtol=1e-3, atol=1e-6)
    assert found["scores"][0, 0] == pytest.approx(1 / (1 + np.exp(-3.0)), rel=1e-5)


def test_every_object_takes_the_peak_near_it():
    found = _found(
        heat={(4, 4): 3.0, (7, 15): 2.0},
        points={(4, 4, 0): 1.0, (6, 15, 0): 2.0},
        offsets={(6, 15): [0, 0, 0, 0, 0, 0, 0.25, 0.25, 0, 0, 0, 0]},
    )
    np.testing.assert_allclose(found["keypoints"][0, :2, 0, :2], [[18, 18], [63, 27]], rtol=1e-5)


def test_keypoints_are_within_the_image():
    found = _found(heat={(0, 0): 3.0}, offsets={(0, 0): [-5, 2, 50, 2, 0, 90, *[0] * 6]})
    limits = np.array([_WIDTH, _HEIGHT]) * CELL
    assert found["keypoints"][0, 0, :, :2].tolist() == [[0, 10], [limits[0], 10], [2, limits[1]]]


def test_the_head_has_maps_of_every_keypoint():
    image = keras.Input((50, 70, 3))
    features = [keras.layers.Conv2D(4, 1)(keras.layers.Resizing(*s)(image)) for s in [(25, 35)]]
    model = keras.Model(image, keypoint_detector([image, *features], 2, 5, 0.1))
    depths = {"heat": 2, "reach": 4, "points": 5, "offsets": 20}
    assert {name: tuple(value.shape) for name, value in model.output.items()} == {
        name: (None, 13, 18, depth) for name, depth in depths.items()
    }
