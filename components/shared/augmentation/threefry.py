"""Uniform numbers that are the same eagerly, in a graph, under XLA and on every device.

TensorFlow's stateless generators draw other numbers under XLA than without it. Threefry-2x32 with
20 rounds: Salmon et al., 2011, "Parallel random numbers: as easy as 1, 2, 3", section 4.2.
"""

import math

import tensorflow as tf

__all__ = ["threefry", "uniform"]

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA


def _word(value: int) -> tf.Tensor:
    return tf.constant(value, tf.uint32)


def threefry(
    key: tuple[tf.Tensor, tf.Tensor], counter: tuple[tf.Tensor, tf.Tensor]
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns 64 random bits for each pair of counters, as two uint32 of their shape."""
    xor = tf.bitwise.bitwise_xor
    keys = (*key, xor(xor(*key), _word(_PARITY)))
    x, y = counter[0] + keys[0], counter[1] + keys[1]
    for group in range(5):
        for bits in _ROTATIONS[group % 2]:
            x += y
            left = tf.bitwise.left_shift(y, _word(bits))
            y = xor(x, left | tf.bitwise.right_shift(y, _word(32 - bits)))
        x += keys[(group + 1) % 3]
        y += keys[(group + 2) % 3] + _word(group + 1)
    return x, y


def uniform(seed: tf.Tensor, stream: tf.Tensor | int, shape: tuple[int, ...]) -> tf.Tensor:
    """Returns float32 numbers in [0, 1), multiples of 2^-24.

    Args:
        seed: int32 [2].
        stream: Numbers of different streams are independent.
        shape: Shape of the result.
    """
    size = math.prod(shape)
    first, second = tf.unstack(tf.bitcast(seed, tf.uint32))
    places = tf.cast(tf.range((size + 1) // 2), tf.uint32)
    words = threefry((first, second), (places, tf.zeros_like(places) + tf.cast(stream, tf.uint32)))
    # The upper 24 bits, which is what float32 holds.
    top = tf.bitwise.right_shift(tf.concat(words, 0)[:size], _word(8))
    return tf.reshape(tf.cast(tf.bitcast(top, tf.int32), tf.float32) * 2.0**-24, shape)
