"""Tone and detail: auto-contrast, equalize, sharpness, blur. Dear, so only for images drawn.

Shapes: images [B, H, W, C] uint8 or float 0..255, the same out; parameters [B].
"""

import math
from collections.abc import Mapping

import tensorflow as tf

__all__ = ["auto_contrast", "equalize", "filter_detail"]

# More pixels than these do not change a histogram of 256 bins visibly.
_HISTOGRAM_PIXELS = 2**14


def auto_contrast(images: tf.Tensor) -> tf.Tensor:
    """Returns the images, float32, with each channel stretched to 0..255, as PIL's."""
    low = tf.reduce_min(images, [1, 2], keepdims=True)
    high = tf.reduce_max(images, [1, 2], keepdims=True)
    return tf.where(high > low, tf.math.divide_no_nan((images - low) * 255.0, high - low), images)


def equalize(images: tf.Tensor) -> tf.Tensor:
    """Returns the images, float32, with a flat histogram in each channel, as PIL's.

    The histogram is that of every pixel up to 128 px a side, of a regular grid of them above.
    """
    batch, height, width, channels = images.shape
    stride = math.ceil(math.sqrt(height * width / _HISTOGRAM_PIXELS))
    # One histogram of 256 bins for each channel of each image, side by side.
    rows = tf.range(batch)[:, None, None, None] * channels + tf.range(channels)
    bins = rows * 256 + tf.cast(tf.round(images), tf.int32)
    seen = tf.reshape(bins[:, ::stride, ::stride], [-1])
    counts = tf.math.unsorted_segment_sum(tf.ones_like(seen), seen, batch * channels * 256)
    counts = tf.reshape(counts, [-1, 256])
    cumulative = tf.cumsum(counts, axis=-1)
    below = cumulative - counts
    # The brightest level is not counted, so that it lands on 255.
    darker = tf.where(cumulative < cumulative[:, -1:], cumulative, 0)
    step = tf.reduce_max(darker, -1, keepdims=True) // 255
    table = tf.minimum((below + step // 2) // tf.maximum(step, 1), 255)
    table = tf.where(step > 0, table, tf.range(256))
    return tf.cast(tf.gather(tf.reshape(table, [-1]), bins), tf.float32)


def _smooth(images: tf.Tensor, weights: tf.Tensor, size: int, axis: str) -> tf.Tensor:
    """Returns the images convolved along an axis; `weights` [B, S, S] fall off with distance."""
    kernel = weights / tf.reduce_sum(weights, -1, keepdims=True)
    return tf.einsum({"y": "bij,bjwc->biwc", "x": "bij,bhjc->bhic"}[axis], kernel, images)


def filter_detail(images: tf.Tensor, values: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """Returns the images, float32, sharpened, smoothed or blurred.

    Sharpness is PIL's `ImageEnhance.Sharpness`: the image extrapolated from its 3x3 mean. Blur is
    Gaussian, one percent of the short side (at least a pixel) at magnitude 1. For an image with
    both the blur holds: one after the other they would cancel out.
    """
    height, width = images.shape[1:3]
    deviation = (values["blur"] * max(1.0, min(height, width) / 100.0))[:, None, None]
    blurred = deviation > 0.0
    smooth = images
    for axis, size in (("y", height), ("x", width)):
        places = tf.range(size, dtype=tf.float32)
        distance = tf.abs(places[:, None] - places)
        gauss = tf.exp(-0.5 * tf.square(tf.math.divide_no_nan(distance, deviation)))
        box = tf.cast(distance <= 1.0, tf.float32)
        smooth = _smooth(smooth, tf.where(blurred, gauss, box), size, axis)
    # PIL's smooth filter has 1/13 all around 5/13: nine parts mean, four parts image.
    share = tf.where(blurred, 1.0, (1.0 - values["sharpness"][:, None, None]) * (9.0 / 13.0))
    return tf.clip_by_value(images + share[..., None] * (smooth - images), 0.0, 255.0)
