"""The augmentation of a batch: draw what happens to each image, then apply it.

Shapes: images [B, H, W, C] uint8 or float 0..255, C = 1 or 3, static; magnitudes as in draw.py.
Pure TensorFlow: eagerly, in a `tf.function` and under XLA.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import tensorflow as tf

from kfp_vision.components.shared.augmentation.colour import (
    apply_colour,
    channel_means,
    colour_matrices,
    solarize_and_posterize,
)
from kfp_vision.components.shared.augmentation.draw import (
    Drawn,
    Mix,
    draw_mix,
    draw_transforms,
)
from kfp_vision.components.shared.augmentation.geometry import matrices, warp
from kfp_vision.components.shared.augmentation.mixing import inside, label_weights, mix
from kfp_vision.components.shared.augmentation.selection import apply_where
from kfp_vision.components.shared.augmentation.tone import auto_contrast, equalize, filter_detail
from kfp_vision.components.shared.augmentation.transforms import (
    PIXEL_TRANSFORMS,
    TRANSFORMS,
    parameters,
)

__all__ = ["Augmented", "apply_transforms", "augment"]


class Augmented(NamedTuple):
    """Augmented images, and what happened to them: targets are changed the same way.

    Attributes:
        images: float32 for uint8, their own type for float.
        drawn: What happened to the pixels of each image.
        mixing: Whom each image is mixed with afterwards, and how.
        shares: float32 [B], the part of each image that is its own after mixing.
    """

    images: tf.Tensor
    drawn: Drawn
    mixing: Mix
    shares: tf.Tensor


def augment(images: tf.Tensor, policy: Mapping[str, tf.Tensor], keys: tf.Tensor) -> Augmented:
    """Returns augmented images and what happened to them.

    Args:
        images: uint8 or float 0..255.
        policy: As `policy_tensors` returns it.
        keys: int32 [B, 2], of `batch_keys` or `view_keys`; the same keys draw the same.
    """
    _, height, width, _ = images.shape
    drawn = draw_transforms(keys, policy, height, width)
    transformed = apply_transforms(images, drawn)
    mixing = draw_mix(keys, policy, height, width)
    weights = label_weights(mixing.weights, mixing.boxes, height, width)
    is_mixed = tf.reduce_any((weights < 1.0) | mixing.mosaics)
    result = tf.cond(is_mixed, lambda: mix(transformed, *mixing), lambda: transformed)
    return Augmented(result, drawn, mixing, weights)


def apply_transforms(images: tf.Tensor, drawn: Drawn) -> tf.Tensor:
    """Returns the images after what was drawn, float32 for uint8, their own type for float.

    Tone and detail, then geometry, erasing and colour. Tone and detail come first, where their
    costly work is limited to the images that need it.
    """
    # bfloat16 holds every whole number up to 256, but not the values between them.
    pixels = images if images.dtype == tf.uint8 else tf.cast(images, tf.float32)
    values = parameters(drawn.magnitudes, drawn.signs)
    pixels = _tone_and_detail(pixels, drawn.magnitudes, values)
    height, width = images.shape[1:3]
    means = tf.cond(
        tf.reduce_any(_uses(drawn.magnitudes, "contrast", "erase")),
        lambda: channel_means(pixels),
        lambda: tf.zeros([pixels.shape[0], pixels.shape[-1]]),
    )
    moved = tf.cond(
        tf.reduce_any(_uses(drawn.magnitudes, *_of_kind("geometry"))),
        lambda: warp(pixels, matrices(values, height, width)),
        lambda: tf.cast(pixels, tf.float32),
    )

    def paint() -> tf.Tensor:
        filled = tf.where(inside(drawn.erased, height, width), means[:, None, None], moved)
        coloured = apply_colour(filled, *colour_matrices(values, means))
        return solarize_and_posterize(coloured, values)

    painted = tf.reduce_any(_uses(drawn.magnitudes, *_of_kind("colour"), "erase"))
    result = tf.cond(painted, paint, lambda: moved)
    return result if images.dtype == tf.uint8 else tf.cast(result, images.dtype)


def _of_kind(kind: str) -> list[str]:
    return [name for name in PIXEL_TRANSFORMS if TRANSFORMS[name].kind == kind]


def _uses(magnitudes: tf.Tensor, *names: str) -> tf.Tensor:
    """Returns which images have one of these transforms, bool [B]."""
    columns = tf.constant([float(name in names) for name in PIXEL_TRANSFORMS])
    return tf.reduce_max(magnitudes * columns, -1) > 0.0


def _tone_and_detail(
    images: tf.Tensor, magnitudes: tf.Tensor, values: Mapping[str, tf.Tensor]
) -> tf.Tensor:
    """Returns the images of the same type; uint8 are rounded, as PIL does."""

    def blend(name: str, operation: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
        def change(image: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
            pixels = tf.cast(image, tf.float32)
            share = tf.gather(values[name], place)[:, None, None, None]
            return whole(pixels + share * (operation(pixels) - pixels))

        return apply_where(_uses(magnitudes, name), images, change)

    def detail(image: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
        own = {name: tf.gather(values[name], place) for name in _of_kind("filter")}
        return whole(filter_detail(tf.cast(image, tf.float32), own))

    whole = tf.round if images.dtype == tf.uint8 else tf.identity
    images = blend("auto_contrast", auto_contrast)
    images = blend("equalize", equalize)
    return apply_where(_uses(magnitudes, *_of_kind("filter")), images, detail)
