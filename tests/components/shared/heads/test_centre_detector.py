import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from kfp_vision.components.shared.heads.centre_detector import (
    CELL,
    centre_detector,
    find_peaks,
)


def _maps(*sizes):
    """Returns the image and maps of these sizes."""
    image = keras.Input((*sizes[0], 3))
    return [
        image,
        *(keras.layers.Conv2D(4, 1)(keras.layers.Resizing(*size)(image)) for size in sizes[1:]),
    ]


@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param([(64, 96), (32, 48), (16, 24), (8, 12), (4, 6)], id="halved"),
        pytest.param([(50, 70), (25, 35), (13, 18), (7, 9)], id="odd"),
        pytest.param([(224, 224), (111, 111), (55, 55), (27, 27), (13, 13)], id="borders cut"),
        pytest.param([(32, 32), (16, 16)], id="no coarse map"),
        pytest.param([(64, 64), (4, 4)], id="a coarse map alone"),
        pytest.param([(20, 20)], id="no map but the image"),
    ],
)
def test_the_grid_has_cells_of_four_pixels(sizes):
    features = _maps(*sizes)
    model = keras.Model(features[0], centre_detector(features, 3, 0.1))
    grid = tuple(math.ceil(side / CELL) for side in sizes[0])
    assert model.output["heat"].shape == (None, *grid, 3)
    assert model.output["reach"].shape == (None, *grid, 4)


def test_peaks_are_the_planted_objects():
    heat = np.full((2, 10, 12, 3), -8.0, np.float32)
    reach = np.zeros((2, 10, 12, 4), np.float32)
    # A neighbour that is less sure is no object of its own, one of another class is.
    heat[0, 4, 5, 1], heat[0, 4, 6, 1], heat[0, 4, 6, 2] = 3.0, 2.5, 1.0
    reach[0, 4, 5] = np.log([1.5, 2.0, 3.0, 4.0])
    heat[1, 9, 11, 0] = 2.0
    found = {
        name: np.asarray(value)
        for name, value in find_peaks(tf.constant(heat), tf.constant(reach), 100).items()
    }
    assert found["boxes"].shape == (2, 100, 4)
    np.testing.assert_allclose(found["boxes"][0, 0], [22 - 6, 18 - 8, 22 + 12, 18 + 16], rtol=1e-5)
    assert found["classes"][0, :2].tolist() == [1, 2]
    np.testing.assert_allclose(
        found["scores"][0, :3], 1 / (1 + np.exp([-3.0, -1.0, 8.0])), rtol=1e-5
    )
    # Cut by the border.
    np.testing.assert_allclose(found["boxes"][1, 0], [42, 34, 48, 40], rtol=1e-5)


def test_of_equal_neighbours_one_is_a_peak():
    heat = np.full((1, 8, 8, 1), -9.0, np.float32)
    heat[0, 2:4, 5:7, 0] = 1.25
    scores = np.asarray(find_peaks(tf.constant(heat), tf.zeros([1, 8, 8, 4]), 50)["scores"])
    assert (scores > 0.5).sum() == 1
    np.testing.assert_allclose(scores[0, 0], 1 / (1 + np.exp(-1.25)), rtol=1e-6)


def test_small_grids_have_fewer_detections():
    found = find_peaks(tf.zeros([1, 2, 3, 2]), tf.zeros([1, 2, 3, 4]), 100)
    assert found["scores"].shape == (1, 12)
