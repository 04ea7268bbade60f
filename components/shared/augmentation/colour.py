"""Colour: brightness, contrast, saturation and hue as one matrix per image, then arithmetic.

Shapes: images [B, H, W, C] float32 0..255, C = 1 (gray) or 3 (RGB); parameters [B].
"""

import math
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

__all__ = ["apply_colour", "channel_means", "colour_matrices", "solarize_and_posterize"]

# ITU-R BT.601, as in PIL's conversion to gray.
_LUMA = np.array([0.299, 0.587, 0.114], "float32")
_CHROMA = np.eye(3, dtype="float32") - _LUMA
# More pixels than these do not change a mean visibly.
_MEAN_PIXELS = 2**14
# A quarter turn of the colour circle: its square is -_CHROMA, and it keeps the luma.
_QUARTER = _CHROMA @ (np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]], "float32") / math.sqrt(3.0))


def channel_means(images: tf.Tensor) -> tf.Tensor:
    """Returns the mean [B, C] of each channel over the image; of every n-th row of large ones."""
    height, width = images.shape[1:3]
    images = images[:, :: math.ceil(height * width / _MEAN_PIXELS)]
    batch, height, width, channels = images.shape
    # Over the rows first, whose pixels lie side by side: twice as fast.
    whole = tf.int32 if images.dtype == tf.uint8 else tf.float32
    rows = tf.cast(tf.reshape(images, [batch, height, width * channels]), whole)
    sums = tf.reshape(tf.reduce_sum(rows, 1), [batch, width, channels])
    return tf.reduce_sum(tf.cast(sums, tf.float32), 1) / (height * width)


def colour_matrices(
    values: Mapping[str, tf.Tensor], means: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns gains [B, C, C] and offsets [B, C]: a pixel p becomes gains @ p + offsets.

    Saturation, hue, brightness, contrast, in this order. Brightness, contrast (about the mean
    luma of the image) and saturation are PIL's; the hue turns at constant luma, as in SVG's
    `hueRotate`. A gray image has neither of these two.

    Args:
        values: Parameters as in the table of transforms.
        means: [B, C], the mean of each channel over the image.
    """
    gain = (values["brightness"] * values["contrast"])[:, None, None]
    channels = means.shape[-1]
    gray = means if channels == 1 else tf.reduce_sum(means * _LUMA, -1, keepdims=True)
    offset = (1.0 - values["contrast"][:, None]) * values["brightness"][:, None] * gray
    offsets = tf.repeat(offset, channels, axis=-1)
    if channels == 1:
        return gain, offsets
    angle = (2.0 * math.pi) * values["hue"][:, None, None]
    saturation = values["saturation"][:, None, None]
    # Changes from the identity, so that no change is exactly none.
    turned = (tf.cos(angle) - 1.0) * _CHROMA + tf.sin(angle) * _QUARTER
    change = (saturation - 1.0) * _CHROMA + saturation * turned
    return gain * (np.eye(3, dtype="float32") + change), offsets


def apply_colour(images: tf.Tensor, gains: tf.Tensor, offsets: tf.Tensor) -> tf.Tensor:
    """Returns the images with every pixel multiplied by its image's matrix, within 0..255."""
    # Not `tf.matmul`, which a GPU may round to 10 bits.
    mixed = sum(
        images[..., channel : channel + 1] * gains[:, None, None, :, channel]
        for channel in range(images.shape[-1])
    )
    return tf.clip_by_value(mixed + offsets[:, None, None], 0.0, 255.0)


def solarize_and_posterize(images: tf.Tensor, values: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """Returns the images with bright pixels inverted, then with fewer bits.

    Inverting is solarizing from 0 on: of the two thresholds the lower holds, because one after
    the other they would cancel out.
    """
    threshold = values["solarize"] * (1.0 - values["invert"])
    threshold = threshold[:, None, None, None]
    images = tf.where(images >= threshold, 255.0 - images, images)
    bits = tf.round(values["posterize"])[:, None, None, None]
    step = tf.pow(2.0, 8.0 - bits)
    return tf.where(bits < 8.0, tf.floor(images / step) * step, images)
