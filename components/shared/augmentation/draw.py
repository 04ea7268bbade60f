"""Draw: everything random about a batch, as a function of a key for each image.

Shapes: B images, D draws of a branch, L operations in one, T pixel transforms.
"""

import functools
import math
from collections.abc import Mapping
from typing import NamedTuple

import tensorflow as tf

from kfp_vision.components.shared.augmentation.mixing import centred_boxes
from kfp_vision.components.shared.augmentation.policy import MAX_DRAWS
from kfp_vision.components.shared.augmentation.threefry import hash_words, uniform
from kfp_vision.components.shared.augmentation.transforms import PIXEL_TRANSFORMS, TRANSFORMS
from kfp_vision.components.shared.runtime.seeds import seed_word

__all__ = ["Drawn", "Mix", "batch_keys", "draw_mix", "draw_seed", "draw_transforms", "view_keys"]

# Streams of random numbers.
_MIXING, _TRANSFORMS = 0, 2
# Of the hash that makes a key: places of a batch, or views of an image.
_PLACES, _VIEWS = 0, 1

_NUM_TRANSFORMS = len(PIXEL_TRANSFORMS)
_ERASE = TRANSFORMS["erase"]


class Drawn(NamedTuple):
    """What happens to the pixels of each image.

    Attributes:
        magnitudes: [B, T] in [0, 1]; 0 or 1 for those that are on or off.
        signs: [B, T], -1 or 1.
        erased: Boxes int32 [B, 4] that are filled, as (left, top, right, bottom), pixels.
    """

    magnitudes: tf.Tensor
    signs: tf.Tensor
    erased: tf.Tensor


class Mix(NamedTuple):
    """What images are mixed with.

    Attributes:
        partners: int32 [B], whom each image is mixed with.
        weights: [B], own share in MixUp, 1 for none.
        boxes: int32 [B, 4], the part of the partner in CutMix, empty for none.
        mosaics: bool [B], whether it is a quarter of a mosaic beside three others.
    """

    partners: tf.Tensor
    weights: tf.Tensor
    boxes: tf.Tensor
    mosaics: tf.Tensor


def draw_seed(seed: int, draw: int) -> tf.Tensor:
    """Returns the seed of a batch, int32 [2].

    Args:
        seed: Not negative, of any size.
        draw: Number of the batch, below 2^31.
    """
    return tf.bitcast(tf.constant([seed_word(seed), draw], tf.uint32), tf.int32)


def batch_keys(seed: tf.Tensor, batch: int) -> tf.Tensor:
    """Returns a key for each image of a batch, int32 [B, 2].

    Args:
        seed: int32 [2], of the batch.
        batch: B.
    """
    places = tf.range(batch)
    return hash_words(seed, tf.stack([places, tf.fill([batch], _PLACES)], -1))


def view_keys(seed: tf.Tensor, images: tf.Tensor, views: tf.Tensor) -> tf.Tensor:
    """Returns a key for each image that is the same in whatever batch the image is, int32 [B, 2].

    Args:
        seed: int32, a scalar.
        images: Numbers of the images, int32 [B].
        views: Which of its views is drawn of each, int32 [B].
    """
    keys = tf.stack([tf.broadcast_to(seed, views.shape), views], -1)
    return hash_words(keys, tf.stack([images, tf.fill(images.shape, _VIEWS)], -1))


def draw_transforms(
    keys: tf.Tensor,
    policy: Mapping[str, tf.Tensor],
    height: int,
    width: int,
) -> Drawn:
    """Returns what happens to each image of a batch before mixing.

    Args:
        keys: int32 [B, 2], of `batch_keys` or `view_keys`.
        policy: As `policy_tensors` returns it.
        height: Image height, pixels.
        width: Image width, pixels.
    """
    slots = (MAX_DRAWS + 1) * policy["transforms"].shape[1]
    sizes = [MAX_DRAWS, 1, slots, slots, _NUM_TRANSFORMS, _NUM_TRANSFORMS, 2]
    numbers = uniform(keys, _TRANSFORMS, sum(sizes))
    branch, length, chance, strength, on, side, centres = tf.split(numbers, sizes, -1)
    magnitudes = _magnitudes(policy, branch, length, chance, strength)
    switched = tf.constant([TRANSFORMS[name].chance for name in PIXEL_TRANSFORMS])
    magnitudes = tf.where(switched, tf.cast(on < magnitudes, tf.float32), magnitudes)
    sides = _ERASE.extreme * magnitudes[:, PIXEL_TRANSFORMS.index("erase")]
    erased = centred_boxes(centres, sides, height, width)
    return Drawn(magnitudes, tf.where(side < 0.5, -1.0, 1.0), erased)


def _magnitudes(
    policy: Mapping[str, tf.Tensor],
    branch: tf.Tensor,
    length: tf.Tensor,
    chance: tf.Tensor,
    strength: tf.Tensor,
) -> tf.Tensor:
    """Returns the greatest magnitude drawn for each transform, [B, T].

    Args:
        policy: As `policy_tensors` returns it.
        branch: Uniform numbers [B, D]: which branch each draw takes.
        length: [B, 1]: how many draws there are.
        chance: [B, (D + 1) * L]: which operations take place; `always` comes last.
        strength: [B, (D + 1) * L]: at which magnitude.
    """
    always = policy["branch_ends"].shape[0]
    branches = _branches(policy["branch_ends"], branch)
    least, greatest = policy["draws"][0], policy["draws"][1]
    extra = tf.floor(length * tf.cast(greatest - least + 1, tf.float32))
    used = tf.range(MAX_DRAWS) < least + tf.cast(extra, tf.int32)
    last = [[0, 0], [0, 1]]
    used = tf.pad(used, last, constant_values=True)[..., None]
    rows = tf.pad(branches, last, constant_values=always)
    low, high, probability, transforms = (
        tf.gather(policy[name], rows) for name in ("low", "high", "probability", "transforms")
    )
    chance, strength = tf.reshape(chance, low.shape), tf.reshape(strength, low.shape)
    drawn = tf.where((chance < probability) & used, low + strength * (high - low), 0.0)
    # Draw by draw, then over the operations of all: over both at once takes much longer.
    placed = (
        drawn[:, draw, :, None] * tf.one_hot(transforms[:, draw], _NUM_TRANSFORMS)
        for draw in range(MAX_DRAWS + 1)
    )
    return tf.reduce_max(functools.reduce(tf.maximum, placed), 1)


def _branches(ends: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
    """Returns the branch that each number falls into, int32.

    Over blocks of ends, then within one: to compare with all of them takes three times as long.

    Args:
        ends: [N], rising, where each branch ends on the way from 0 to 1; N is a square.
        numbers: Uniform numbers of any shape.
    """

    def passed(bounds: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(tf.cast(numbers[..., None] >= bounds, tf.int32), -1)

    side = math.isqrt(ends.shape[0])
    blocks = tf.reshape(ends, [side, side])
    block = passed(blocks[:-1, -1])
    # The last end of all is 1, up to rounding.
    return block * side + passed(tf.gather(blocks[:, :-1], block))


def draw_mix(keys: tf.Tensor, policy: Mapping[str, tf.Tensor], height: int, width: int) -> Mix:
    """Returns whom each image is mixed with, and how.

    Args:
        keys: As of `draw_transforms`.
        policy: As `policy_tensors` returns it.
        height: Image height, pixels.
        width: Image width, pixels.
    """
    batch = keys.shape[0]
    numbers = uniform(keys, _MIXING, 5)
    # The batch turned by a random number of places: nobody is mixed with itself.
    turn = 1 + tf.cast(numbers[0, 0] * (batch - 1), tf.int32)
    partners = (tf.range(batch) + turn) % batch
    mixup, to_cutmix, to_mosaic = (
        numbers[:, 1] < end for end in tf.unstack(policy["mixing_ends"], num=3)
    )
    cutmix, mosaics = to_cutmix & ~mixup, to_mosaic & ~to_cutmix
    # Linear between the tabulated quantiles.
    quantiles = policy["mixing_quantiles"]
    place = numbers[:, 2] * (quantiles.shape[1] - 1)
    index = tf.cast(place, tf.int32)
    below, above = tf.gather(quantiles, index, axis=1), tf.gather(quantiles, index + 1, axis=1)
    own = below + (place - tf.floor(place)) * (above - below)
    shares = tf.where(cutmix, tf.sqrt(1.0 - own[1]), 0.0)
    boxes = centred_boxes(numbers[:, 3:], shares, height, width)
    return Mix(partners, tf.where(mixup, own[0], 1.0), boxes, mosaics)
