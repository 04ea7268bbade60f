"""The augmentation of a batch: draw what happens to each image, then apply it.

Shapes: images [B, H, W, C] uint8 or float 0..255, C = 1 or 3, static; partners int32 [B]; weights
float32 [B]. Pure TensorFlow: eagerly, in a `tf.function` and under XLA.
"""

from collections.abc import Mapping

import tensorflow as tf

from kfp_vision.components.shared.augmentation.colour import (
    apply_colour,
    colour_matrices,
    solarize_and_posterize,
)
from kfp_vision.components.shared.augmentation.draw import Drawn, draw
from kfp_vision.components.shared.augmentation.geometry import matrices, warp
from kfp_vision.components.shared.augmentation.mixing import inside, label_weights, mix
from kfp_vision.components.shared.augmentation.selection import apply_where
from kfp_vision.components.shared.augmentation.tone import auto_contrast, equalize, filter_detail
from kfp_vision.components.shared.augmentation.transforms import (
    PIXEL_TRANSFORMS,
    TRANSFORMS,
    parameters,
)

__all__ = ["apply", "augment"]


def augment(
    images: tf.Tensor, policy: Mapping[str, tf.Tensor], seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns augmented images, partners and weights.

    The loss of a batch is `weights * loss(targets) + (1 - weights) * loss(targets[partners])`.

    Args:
        images: uint8 or float 0..255.
        policy: As `policy_tensors` returns it.
        seed: int32 [2]; the same seed draws the same.

    Returns:
        Images of the type of `images`, float32 for uint8; partners; weights.
    """
    batch, height, width, _ = images.shape
    drawn = draw(seed, policy, batch, height, width)
    weights = label_weights(drawn.mixup_weights, drawn.cutmix_boxes, height, width)
    return apply(images, drawn), drawn.partners, weights


def apply(images: tf.Tensor, drawn: Drawn) -> tf.Tensor:
    """Returns the images after what was drawn, float32 for uint8, their own type for float."""
    given = images.dtype if images.dtype.is_floating else tf.float32
    # bfloat16 holds every whole number up to 256, but not the values between them.
    pixels = images if images.dtype == tf.uint8 else tf.cast(images, tf.float32)
    first = _transform(pixels, drawn, 0)
    several = drawn.num_chains > 1
    result = tf.cond(several, lambda: _average_chains(pixels, first, drawn), lambda: first)
    mixed = tf.reduce_any(drawn.mixup_weights < 1.0) | tf.reduce_any(drawn.cutmix_boxes[:, 2] > 0)
    result = tf.cond(
        mixed,
        lambda: mix(result, drawn.partners, drawn.mixup_weights, drawn.cutmix_boxes),
        lambda: result,
    )
    return tf.cast(result, given)


def _average_chains(images: tf.Tensor, first: tf.Tensor, drawn: Drawn) -> tf.Tensor:
    weights = drawn.chain_weights[:, :, None, None, None]
    own = 1.0 - tf.reduce_sum(weights, 1)

    def step(chain: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return chain + 1, total + weights[:, chain] * _transform(images, drawn, chain)

    start = own * tf.cast(images, tf.float32) + weights[:, 0] * first
    _, total = tf.while_loop(lambda chain, _: chain < drawn.num_chains, step, (1, start))
    return total


def _used(magnitudes: tf.Tensor, *kinds: str) -> tf.Tensor:
    """Returns which images have a transform of these kinds, bool [B]."""
    of_kind = tf.constant([float(TRANSFORMS[name].kind in kinds) for name in PIXEL_TRANSFORMS])
    return tf.reduce_max(magnitudes * of_kind, -1) > 0.0


def _transform(images: tf.Tensor, drawn: Drawn, chain: tf.Tensor | int) -> tf.Tensor:
    """Returns one chain: tone, detail, geometry, erase, colour; float32.

    Tone and detail come first, where pixels are still whole numbers and their costly work is
    limited to the images that need it.
    """
    height, width = images.shape[1:3]
    magnitudes = drawn.magnitudes[chain]
    values = parameters(magnitudes, drawn.signs[chain])

    def prepare(images: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
        return _tone_and_detail(
            images, {name: tf.gather(value, places) for name, value in values.items()}
        )

    images = apply_where(_used(magnitudes, "tone", "filter"), images, prepare)
    # A mean from whole rows of float32 would cost another copy of the batch.
    means = tf.reduce_mean(tf.cast(images, tf.float32), [1, 2])
    moved = tf.cond(
        tf.reduce_any(_used(magnitudes, "geometry")),
        lambda: warp(images, matrices(values, height, width)),
        lambda: tf.cast(images, tf.float32),
    )

    def paint() -> tf.Tensor:
        filled = tf.where(inside(drawn.erased[chain], height, width), means[:, None, None], moved)
        coloured = apply_colour(filled, *colour_matrices(values, means))
        return solarize_and_posterize(coloured, values)

    return tf.cond(tf.reduce_any(_used(magnitudes, "colour", "erase")), paint, lambda: moved)


def _tone_and_detail(images: tf.Tensor, values: Mapping[str, tf.Tensor]) -> tf.Tensor:
    pixels = tf.cast(images, tf.float32)
    for name, operation in (("auto_contrast", auto_contrast), ("equalize", equalize)):
        pixels += values[name][:, None, None, None] * (operation(pixels) - pixels)
    pixels = filter_detail(pixels, values)
    return tf.round(pixels) if images.dtype == tf.uint8 else pixels
