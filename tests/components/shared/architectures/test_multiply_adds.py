"""Multiply-adds of networks that can be counted by hand, of fixed size and of any."""

import keras
import numpy as np
import pytest
from keras import layers

from kfp_vision.components.shared.architectures.multiply_adds import count_multiply_adds


def network(inner_sides: tuple[int | None, int | None]) -> keras.Model:
    """A network of 8 x 12 pixels around one of another signature."""
    convolutions = [layers.Conv2D(4, 3, padding="same"), layers.SeparableConv2D(5, 3, strides=2)]
    inner = keras.Sequential([keras.Input((*inner_sides, 3)), *convolutions])
    pixels = keras.Input((8, 12, 3))
    pooled = layers.GlobalAveragePooling2D()(inner(pixels))
    return keras.Model(pixels, layers.Dense(7)(pooled))


@pytest.mark.parametrize("inner_sides", [(8, 12), (None, None)])
def test_every_pixel_of_the_output_costs_a_kernel(inner_sides):
    # (8 - 3) // 2 + 1 = 3 rows and 5 columns after the stride.
    expected = 8 * 12 * (9 * 3 * 4) + 3 * 5 * (9 * 4 + 4 * 5) + 5 * 7
    model = network(inner_sides)
    before = np.asarray(model(np.ones((1, 8, 12, 3)), training=False))
    assert count_multiply_adds(model) == expected
    np.testing.assert_array_equal(model(np.ones((1, 8, 12, 3)), training=False), before)


@pytest.mark.parametrize("tokens", [6, None])
def test_every_token_costs_a_kernel_and_every_pair_of_tokens_a_product(tokens):
    inner_pixels = keras.Input((tokens and 2, tokens and 3, 4))
    x = layers.Reshape((-1 if tokens is None else tokens, 4))(inner_pixels)
    queries, values = layers.Dense(10)(x), layers.Conv1D(10, 2, strides=2)(x)
    x = layers.MultiHeadAttention(2, key_dim=3, value_dim=5)(queries, values)
    x = layers.EinsumDense("btf,fhd->bthd", (None, 2, 7))(x)
    pixels = keras.Input((2, 3, 4))
    model = keras.Model(pixels, keras.Model(inner_pixels, x)(pixels))
    projections = 6 * 10 * (2 * 3) + 3 * 10 * (2 * 3) + 3 * 10 * (2 * 5) + 6 * (2 * 5) * 10
    attention = 6 * 3 * 2 * (3 + 5)
    expected = 6 * 4 * 10 + 3 * (2 * 4 * 10) + projections + attention + 6 * 10 * (2 * 7)
    assert count_multiply_adds(model) == expected
