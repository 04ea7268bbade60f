"""Costly operations on those images of a batch that need them, at static shapes."""

from collections.abc import Callable

import tensorflow as tf

__all__ = ["apply_where"]

_GROUP = 4


def apply_where(
    needed: tf.Tensor,
    images: tf.Tensor,
    operation: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
) -> tf.Tensor:
    """Returns the images, those that need it replaced by what the operation makes of them.

    A loop over groups of the images that need it: it costs in proportion to how many do, and no
    shape depends on how many that is, so that XLA compiles it.

    Args:
        needed: bool [B].
        images: [B, ...].
        operation: Takes images [G, ...] and their places in the batch int32 [G]; leaves an image
            that does not need it as it is.
    """
    batch = needed.shape[0]
    group = min(_GROUP, batch)
    count = tf.reduce_sum(tf.cast(needed, tf.int32))
    # Stable: those that need it come first.
    order = tf.argsort(tf.cast(needed, tf.int32), direction="DESCENDING", stable=True)

    def step(start: tf.Tensor, result: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        # The last group reaches back over images that are done; they are done again, from `images`.
        begin = tf.minimum(start, batch - group)
        places = tf.slice(order, [begin], [group])
        changed = tf.cast(operation(tf.gather(images, places), places), images.dtype)
        return start + group, tf.tensor_scatter_nd_update(result, places[:, None], changed)

    _, images = tf.while_loop(lambda start, _: start < count, step, (0, images))
    return images
