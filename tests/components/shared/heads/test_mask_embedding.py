"""Masks of objects from planted maps, and the shapes of the head."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from kfp_vision.components.shared.heads.centre_detector import CELL
from kfp_vision.components.shared.heads.mask_embedding import (
    MASK_CELL,
    find_masks,
    mask_embedding,
    mask_values,
)
from kfp_vision.components.shared.heads.mask_window import MASK_SIDE, window_points

# An embedding of pixels that are not of no object.
_OBJECT = -20.0


@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param([(64, 96), (32, 48), (16, 24), (8, 12)], id="halved"),
        pytest.param([(50, 70), (25, 35), (13, 18), (7, 9)], id="odd"),
        pytest.param([(64, 64), (4, 4)], id="a coarse map alone"),
        pytest.param([(20, 20)], id="no map but the image"),
    ],
)
def test_the_embedding_has_cells_of_two_pixels(sizes):
    image = keras.Input((*sizes[0], 3))
    maps = [keras.layers.Conv2D(4, 1)(keras.layers.Resizing(*size)(image)) for size in sizes[1:]]
    model = keras.Model(image, mask_embedding([image, *maps], 3, 0.1))
    for name, cell, width in (("heat", CELL, 3), ("reach", CELL, 4), ("embedding", MASK_CELL, 3)):
        grid = tuple(math.ceil(side / cell) for side in sizes[0])
        assert model.output[name].shape == (None, *grid, width)


def _maps(objects):
    """Returns maps of 48 x 64 pixels with objects of 16 x 16 pixels in some cells."""
    heat = np.full((1, 12, 16, 1), -8.0, np.float32)
    reach = np.full((1, 12, 16, 4), math.log(2.0), np.float32)
    for row, column, logit in objects:
        heat[0, row, column, 0] = logit
    embedding = np.zeros((1, 24, 32, 3), np.float32)
    embedding[..., 2] = _OBJECT
    return heat, reach, embedding


def _find(*maps):
    heat, reach, embedding = map(tf.constant, maps)
    found = find_masks(heat, reach, embedding, 100)
    return {name: np.asarray(value) for name, value in found.items()}


def test_without_an_offset_a_mask_is_the_ellipse_in_its_box():
    found = _find(*_maps([(5, 6, 3.0), (9, 12, 2.0)]))
    assert found["masks"].shape == (1, 100, MASK_SIDE, MASK_SIDE)
    np.testing.assert_allclose(found["boxes"][0, 0], [18, 14, 34, 30], atol=1e-5)
    x, y = window_points(np.array([-1.0, -1.0, 1.0, 1.0]), MASK_SIDE)
    expected = np.exp(-math.log(2.0) * (x**2 + y[:, None] ** 2))
    np.testing.assert_allclose(found["masks"][0, 0], expected, atol=1e-2)


def test_an_offset_moves_pixels_to_their_object():
    heat, reach, embedding = _maps([(5, 6, 3.0)])
    # What lies right of the middle, at x = 26, says it belongs 8 pixels further.
    embedding[:, :, 13:, 0] = 8 / CELL
    mask = _find(heat, reach, embedding)["masks"][0, 0]
    x, _ = window_points(np.array([18.0, 14.0, 34.0, 30.0]), MASK_SIDE)
    middle = mask[MASK_SIDE // 2]
    assert (middle[(x > 19) & (x < 25)] > 0.5).all()
    assert (middle[x > 27] < 0.51).all()


def test_objects_whose_masks_are_unsure_come_later():
    heat, reach, embedding = _maps([(5, 3, 3.0), (5, 12, 2.5)])
    # Around the first one everything is of its object by half at most.
    embedding[:, :, :16, 2] = 2.0
    found = _find(heat, reach, embedding)
    assert found["boxes"][0, :2, 0].tolist() == [42.0, 6.0]
    for place, logit in enumerate((2.5, 3.0)):
        p = found["masks"][0, place]
        sure = (p * p).sum() / p.sum()
        expected = sure / (1 + math.exp(-logit))
        assert found["scores"][0, place] == pytest.approx(expected, rel=1e-3)


def test_pixels_of_no_object_are_of_none():
    heat, reach, embedding = _maps([(5, 6, 3.0)])
    embedding[..., 2] = 10.0
    assert _find(heat, reach, embedding)["masks"].max() < 0.01


def test_between_cells_the_embedding_is_interpolated():
    heat, reach, embedding = _maps([(5, 6, 3.0)])
    x, y = (np.arange(length) * MASK_CELL + 1.0 for length in (32, 24))
    embedding[..., 0], embedding[..., 1] = 0.01 * x, (-0.02 * y)[:, None]
    found = _find(heat, reach, embedding)
    columns, rows = window_points(found["boxes"], MASK_SIDE)
    columns, rows = np.meshgrid(columns[0, 0], rows[0, 0])
    said = np.stack([0.01 * columns, -0.02 * rows, np.full(columns.shape, _OBJECT)], -1)
    said = said.astype(np.float32)[None, None]
    expected = mask_values(found["boxes"][:, :1], columns, rows, said)
    np.testing.assert_allclose(found["masks"][:, :1], expected, atol=1e-4)
