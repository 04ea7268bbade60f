"""Which images a head is fitted to."""

import keras
import numpy as np
import pytest
from keras import layers

from kfp_vision.components.shared.training.pretrained_head import head_rows


def network(side: int) -> keras.Model:
    return keras.Sequential([keras.Input((side, side, 3)), layers.Conv2D(16, 3, padding="same")])


def test_all_rows_of_a_set_that_is_small_enough():
    rows = np.array([5, 2, 9])
    assert head_rows(rows, network(8)) is rows


def test_so_many_rows_of_a_large_set_whatever_its_size():
    for count in (20_001, 10**6):
        drawn = head_rows(np.arange(0, 3 * count, 3), network(8))
        assert len(np.unique(drawn)) == len(drawn) == 20_000
        assert (np.diff(drawn) > 0).all()
        assert (drawn % 3 == 0).all()
        # Drawn from everywhere: their mean is that of all, within four standard errors.
        error = 3 * count / 12**0.5 / 20_000**0.5
        assert abs(drawn.mean() - 1.5 * count) < 4 * error
        np.testing.assert_array_equal(drawn, head_rows(np.arange(0, 3 * count, 3), network(8)))


@pytest.mark.parametrize(("side", "rows"), [(1024, 17_660), (16_384, 1000)])
def test_a_large_network_looks_at_fewer_images(side, rows):
    # 27 x 16 multiply-adds a pixel; 8e12 in all, and 1000 images in any case.
    assert len(head_rows(np.arange(10**5), network(side))) == rows


@pytest.mark.parametrize(("side", "rows"), [(8, 20_000), (64, 1024)])
def test_features_that_are_many_leave_fewer_images(side, rows):
    # 16 features a pixel in float32; 256 MiB in all.
    head = [layers.Flatten(), layers.Dense(2)]
    model = keras.Sequential([*network(side).layers, *head])
    model.build((None, side, side, 3))
    assert len(head_rows(np.arange(10**5), model)) == rows
