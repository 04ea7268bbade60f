"""Boxes in the image, MixUp and CutMix: one formula with a weight for every pixel; mosaics.

Shapes: images [B, H, W, C] float32; boxes int32 [B, 4] as (left, top, right, bottom), pixels;
partners int32 [B], whom each image is mixed with; weights float32 [B] in [0, 1].
Sources: MixUp, Zhang et al., 2018, arXiv:1710.09412; CutMix, Yun et al., 2019, arXiv:1905.04899;
mosaics, Bochkovskiy et al., 2020, arXiv:2004.10934, section 3.3.
"""

import tensorflow as tf

__all__ = ["centred_boxes", "inside", "join_quarters", "label_weights", "mix", "quarters"]


def centred_boxes(centres: tf.Tensor, shares: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """Returns whole-pixel boxes of the image's proportions, clipped to the image.

    Args:
        centres: [B, 2], x and y in [0, 1).
        shares: [B], sides of the boxes as shares of the image's.
        height: Image height, pixels.
        width: Image width, pixels.
    """
    size = tf.constant([width, height], tf.float32)
    sides = tf.round(shares[:, None] * size)
    corners = tf.floor(centres * size) - tf.floor(sides / 2.0)
    ends = tf.concat([corners, corners + sides], -1)
    return tf.cast(tf.clip_by_value(ends, 0.0, tf.tile(size, [2])), tf.int32)


def inside(boxes: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """Returns which pixels lie in the box of their image, bool [B, H, W, 1]."""
    left, top, right, bottom = tf.unstack(boxes[:, None], axis=-1)
    x, y = tf.range(width), tf.range(height)
    rows, columns = (y >= top) & (y < bottom), (x >= left) & (x < right)
    return (rows[:, :, None] & columns[:, None])[..., None]


def label_weights(weights: tf.Tensor, boxes: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """Returns the share [B] of each mixed image that is its own, to weigh its labels with."""
    sides = tf.cast(boxes[:, 2:] - boxes[:, :2], tf.float32)
    return weights * (1.0 - sides[:, 0] * sides[:, 1] / (height * width))


def mix(
    images: tf.Tensor,
    partners: tf.Tensor,
    weights: tf.Tensor,
    boxes: tf.Tensor,
    mosaics: tf.Tensor,
) -> tf.Tensor:
    """Returns each image averaged with its partner by its weight, and all partner in its box.

    Those that `mosaics` names are a quarter of themselves, in the mean of two by two pixels.
    """
    height, width = images.shape[1:3]
    own = tf.where(inside(boxes, height, width), 0.0, weights[:, None, None, None])
    mixed = own * images + (1.0 - own) * tf.gather(images, partners)

    def with_mosaics() -> tf.Tensor:
        halves = quarters(tf.nn.avg_pool2d(images, 2, 2, "SAME"), partners)
        return tf.where(mosaics[:, None, None, None], join_quarters(halves, height, width), mixed)

    return tf.cond(tf.reduce_any(mosaics), with_mosaics, lambda: mixed)


def quarters(values: tf.Tensor, partners: tf.Tensor) -> list[tf.Tensor]:
    """Returns what belongs in the quarters of a mosaic, row by row, each as [B, ...].

    They are those of each image and of its partner's partner, then the same of the partner.
    """
    second = tf.gather(partners, partners)
    places = (partners, tf.gather(partners, second))
    theirs, last = (tf.gather(values, each) for each in places)
    return [values, tf.gather(values, second), theirs, last]


def join_quarters(maps: list[tf.Tensor], height: int, width: int) -> tf.Tensor:
    """Returns one map [B, height, width, ...] of four at half the size, rounded up."""
    rows = [tf.concat([left, right[:, :, : width // 2]], 2) for left, right in (maps[:2], maps[2:])]
    return tf.concat([rows[0], rows[1][:, : height // 2]], 1)
