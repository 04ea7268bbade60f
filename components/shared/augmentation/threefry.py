"""Uniform numbers that are the same eagerly, in a graph, under XLA and on every device.

TensorFlow's stateless generators draw other numbers under XLA than without it. Threefry-2x32 with
20 rounds: Salmon et al., 2011, "Parallel random numbers: as easy as 1, 2, 3", section 4.2.
"""

import tensorflow as tf

__all__ = ["hash_words", "threefry", "uniform"]

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


def hash_words(key: tf.Tensor, counter: tf.Tensor) -> tf.Tensor:
    """Returns 64 random bits for each row of two words, int32 [B, 2].

    Args:
        key: int32 [2] or [B, 2].
        counter: int32 [B, 2].
    """
    words = (tf.unstack(tf.bitcast(each, tf.uint32), axis=-1) for each in (key, counter))
    return tf.bitcast(tf.stack(threefry(*map(tuple, words)), -1), tf.int32)


def uniform(keys: tf.Tensor, stream: int, num: int) -> tf.Tensor:
    """Returns float32 numbers [B, num] in [0, 1), multiples of 2^-24.

    Args:
        keys: int32 [B, 2]; each has numbers of its own.
        stream: Numbers of different streams are independent.
        num: How many of each key.
    """
    first, second = tf.unstack(tf.bitcast(keys, tf.uint32)[:, None], axis=-1)
    places = tf.cast(tf.range((num + 1) // 2), tf.uint32)[None]
    words = threefry((first, second), (places, tf.fill([1, places.shape[1]], _word(stream))))
    # The upper 24 bits, which is what float32 holds.
    top = tf.bitwise.right_shift(tf.concat(words, 1)[:, :num], _word(8))
    return tf.cast(tf.bitcast(top, tf.int32), tf.float32) * 2.0**-24
