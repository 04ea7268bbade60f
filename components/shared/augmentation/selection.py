"""Costly operations on those images of a batch that need them, at static shapes."""

from collections.abc import Callable

import tensorflow as tf

__all__ = ["apply_where"]


def apply_where(
    needed: tf.Tensor,
    images: tf.Tensor,
    operation: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
) -> tf.Tensor:
    """Returns the images, those that need it replaced by what the operation makes of them.

    A loop over the images that need it: it costs in proportion to how many do, and no shape
    depends on how many that is, so that XLA compiles it.

    Args:
        needed: bool [B].
        images: [B, ...].
        operation: Takes one image [1, ...] and its place in the batch, int32 [1].
    """
    batch = needed.shape[0]
    places = tf.range(batch)

    def next_after(place: tf.Tensor) -> tf.Tensor:
        return tf.reduce_min(tf.where(needed & (places > place), places, batch))

    def step(place: tf.Tensor, result: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        at = place[None]
        changed = tf.cast(operation(tf.gather(result, at), at), result.dtype)
        return next_after(place), tf.tensor_scatter_nd_update(result, at[:, None], changed)

    return tf.while_loop(lambda place, _: place < batch, step, (next_after(-1), images))[1]
