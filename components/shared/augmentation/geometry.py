"""Geometry: one 3x3 matrix per image, one bilinear resampling.

Images that are only flipped, turned by quarters or shifted are shifted by whole pixels: the
resampling then copies pixels, where fractions of a pixel would blur small images.

Shapes: images [B, H, W, C] uint8 or float 0..255; matrices [B, 3, 3] float32 take a point of the
source to its place in the output, (x, y, 1) in pixels, the centre of the top left pixel at (0, 0).
"""

import math
from collections.abc import Mapping

import tensorflow as tf

__all__ = ["invert", "matrices", "sample_points", "warp"]

# With none of these, every output pixel can be one pixel of the source.
_RESAMPLING = ("rotate", "shear_x", "shear_y", "zoom_in", "zoom_out")


def _matrix(a: tf.Tensor, b: tf.Tensor, c: tf.Tensor, d: tf.Tensor) -> tf.Tensor:
    return tf.stack([tf.stack([a, b], -1), tf.stack([c, d], -1)], -2)


def _product(first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
    # Not `tf.matmul`, which a GPU may round to 10 bits.
    return tf.reduce_sum(second[:, :, :, None] * first[:, None, :, :], axis=2)


def matrices(values: Mapping[str, tf.Tensor], height: int, width: int) -> tf.Tensor:
    """Returns the matrices [B, 3, 3] of flips, rot90, zoom, shear, rotate, translate.

    All but the translation are about the centre of the image. Of zooming in and out the stronger
    holds: one after the other they would cancel out. The translation is rounded to whole pixels
    for images without rotation, shear and zoom.

    Args:
        values: Parameters [B] as in the table of transforms.
        height: Image height, pixels.
        width: Image width, pixels.
    """
    one, zero = tf.ones_like(values["rotate"]), tf.zeros_like(values["rotate"])
    quarter = values["rot90"]
    upright = 1.0 - tf.abs(quarter)
    zoom_in, zoom_out = values["zoom_in"], values["zoom_out"]
    scale = tf.pow(2.0, tf.where(zoom_in >= zoom_out, zoom_in, -zoom_out))
    angle = values["rotate"] * (math.pi / 180.0)
    linear = _matrix(
        1.0 - 2.0 * values["horizontal_flip"], zero, zero, 1.0 - 2.0 * values["vertical_flip"]
    )
    for following in (
        _matrix(upright, -quarter, quarter, upright),
        _matrix(scale, zero, zero, scale),
        _matrix(one, values["shear_x"], zero, one),
        _matrix(one, zero, values["shear_y"], one),
        _matrix(tf.cos(angle), -tf.sin(angle), tf.sin(angle), tf.cos(angle)),
    ):
        linear = _product(linear, following)
    centre = tf.constant([(width - 1) / 2.0, (height - 1) / 2.0])
    shift = tf.stack([values["translate_x"] * width, values["translate_y"] * height], -1)
    offset = centre - tf.reduce_sum(linear * centre, -1) + shift
    resampled = tf.stack([values[name] for name in _RESAMPLING], -1)
    warped = tf.reduce_any(resampled != 0.0, -1, keepdims=True)
    return _affine(linear, tf.where(warped, offset, tf.round(offset)))


def _affine(linear: tf.Tensor, offset: tf.Tensor) -> tf.Tensor:
    top = tf.concat([linear, offset[:, :, None]], -1)
    return tf.concat([top, tf.broadcast_to([[[0.0, 0.0, 1.0]]], tf.shape(top[:, :1]))], 1)


def invert(matrix: tf.Tensor) -> tf.Tensor:
    """Returns the inverses [B, 3, 3] of affine matrices, exact for turns and mirrorings."""
    a, b, c, d = (matrix[:, row, column] for row in (0, 1) for column in (0, 1))
    linear = _matrix(d, -b, -c, a) / (a * d - b * c)[:, None, None]
    return _affine(linear, -tf.reduce_sum(linear * matrix[:, None, :2, 2], -1))


def sample_points(matrix: tf.Tensor, height: int, width: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns where in the source each output pixel comes from: x and y [B, H, W], pixels."""
    inverse = invert(matrix)[:, :, :, None, None]
    rows = tf.range(height, dtype=tf.float32)[:, None]
    columns = tf.range(width, dtype=tf.float32)
    x, y = (
        inverse[:, axis, 0] * columns + inverse[:, axis, 1] * rows + inverse[:, axis, 2]
        for axis in (0, 1)
    )
    return x, y


def warp(images: tf.Tensor, matrix: tf.Tensor) -> tf.Tensor:
    """Returns the images resampled bilinearly, float32; pixels beyond the border repeat it.

    Four gathers rather than `ImageProjectiveTransformV3`, which XLA does not compile.
    """
    batch, height, width, channels = images.shape
    x, y = sample_points(matrix, height, width)
    x = tf.clip_by_value(x, 0.0, width - 1.0)
    y = tf.clip_by_value(y, 0.0, height - 1.0)
    # The last pixel is the whole of a right neighbour: all four are then at fixed distances.
    across, down = min(1, width - 1), min(1, height - 1)
    left = tf.minimum(tf.floor(x), width - 1.0 - across)
    top = tf.minimum(tf.floor(y), height - 1.0 - down)
    right_share, bottom_share = (x - left)[..., None], (y - top)[..., None]
    pixels = tf.reshape(images, [-1, channels])
    rows = tf.range(batch)[:, None, None] * height + tf.cast(top, tf.int32)
    places = rows * width + tf.cast(left, tf.int32)

    def pixels_at(distance: int) -> tf.Tensor:
        return tf.cast(tf.gather(pixels, places + distance), tf.float32)

    def row_at(distance: int) -> tf.Tensor:
        first, second = pixels_at(distance), pixels_at(distance + across)
        return first + right_share * (second - first)

    upper, lower = row_at(0), row_at(down * width)
    return upper + bottom_share * (lower - upper)
