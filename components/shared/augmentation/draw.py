"""Draw: everything random about a batch, as a function of a seed.

Shapes: B images, K chains, D draws of a branch, L operations in one, T pixel transforms.
"""

from collections.abc import Mapping
from typing import NamedTuple

import tensorflow as tf

from kfp_vision.components.shared.augmentation.mixing import centred_boxes
from kfp_vision.components.shared.augmentation.policy import MAX_CHAINS, MAX_DRAWS
from kfp_vision.components.shared.augmentation.threefry import uniform
from kfp_vision.components.shared.augmentation.transforms import PIXEL_TRANSFORMS, TRANSFORMS

__all__ = ["Drawn", "draw"]

_NUM_TRANSFORMS = len(PIXEL_TRANSFORMS)
_ERASE = TRANSFORMS["erase"]


class Drawn(NamedTuple):
    """What `apply` does to a batch.

    Attributes:
        magnitudes: [K, B, T] in [0, 1]; 0 or 1 for those that are on or off.
        signs: [K, B, T], -1 or 1.
        erased: Boxes int32 [K, B, 4] that are filled, as (left, top, right, bottom), pixels.
        num_chains: int32 [], of the K those that are used.
        chain_weights: [B, K], shares of the chains in the image; the rest is the image itself.
        partners: int32 [B], whom each image is mixed with.
        mixup_weights: [B], own share in MixUp.
        cutmix_boxes: int32 [B, 4], the part of the partner in CutMix, pixels.
    """

    magnitudes: tf.Tensor
    signs: tf.Tensor
    erased: tf.Tensor
    num_chains: tf.Tensor
    chain_weights: tf.Tensor
    partners: tf.Tensor
    mixup_weights: tf.Tensor
    cutmix_boxes: tf.Tensor


def draw(
    seed: tf.Tensor, policy: Mapping[str, tf.Tensor], batch: int, height: int, width: int
) -> Drawn:
    """Returns what happens to each image of a batch.

    Args:
        seed: int32 [2].
        policy: As `policy_tensors` returns it.
        batch: Number of images.
        height: Of the images, pixels.
        width: Of the images, pixels.
    """
    lead, slots = (MAX_CHAINS, batch), (MAX_DRAWS + 1) * policy["transforms"].shape[1]
    sizes = [MAX_DRAWS, 1, slots, slots, _NUM_TRANSFORMS, _NUM_TRANSFORMS, 2]
    branch, length, chance, strength, on, side, centre = tf.split(
        uniform(seed, 0, (*lead, sum(sizes))), sizes, -1
    )
    magnitudes = _magnitudes(policy, branch, length, chance, strength)
    switched = tf.constant([TRANSFORMS[name].chance for name in PIXEL_TRANSFORMS])
    magnitudes = tf.where(switched, tf.cast(on < magnitudes, tf.float32), magnitudes)
    erased = centred_boxes(
        tf.reshape(centre, [-1, 2]),
        tf.reshape(_ERASE.extreme * magnitudes[..., PIXEL_TRANSFORMS.index("erase")], [-1]),
        height,
        width,
    )
    per_image = uniform(seed, 1, (batch, MAX_CHAINS + 6))
    return Drawn(
        magnitudes,
        tf.where(side < 0.5, -1.0, 1.0),
        tf.reshape(erased, [*lead, 4]),
        policy["chains"],
        _chain_weights(policy["chains"], per_image[:, :MAX_CHAINS], per_image[:, MAX_CHAINS:-5]),
        *_mixing(policy, per_image[:, -5:], height, width),
    )


def _magnitudes(
    policy: Mapping[str, tf.Tensor],
    branch: tf.Tensor,
    length: tf.Tensor,
    chance: tf.Tensor,
    strength: tf.Tensor,
) -> tf.Tensor:
    """Returns the greatest magnitude drawn for each transform, [K, B, T].

    Args:
        policy: As `policy_tensors` returns it.
        branch: Uniform numbers [K, B, D]: which branch each draw takes.
        length: [K, B, 1]: how many draws there are.
        chance: [K, B, (D + 1) * L]: which operations take place; `always` comes last.
        strength: [K, B, (D + 1) * L]: at which magnitude.
    """
    always = policy["branch_ends"].shape[0]
    # The last end is 1, up to rounding.
    passed = branch[..., None] >= policy["branch_ends"][:-1]
    branches = tf.reduce_sum(tf.cast(passed, tf.int32), -1)
    least, greatest = policy["draws"][0], policy["draws"][1]
    extra = tf.floor(length * tf.cast(greatest - least + 1, tf.float32))
    used = tf.range(MAX_DRAWS) < least + tf.cast(extra, tf.int32)
    last = [[0, 0], [0, 0], [0, 1]]
    used = tf.pad(used, last, constant_values=True)[..., None]
    rows = tf.pad(branches, last, constant_values=always)
    low, high, probability, transforms = (
        tf.gather(policy[name], rows) for name in ("low", "high", "probability", "transforms")
    )
    chance, strength = tf.reshape(chance, low.shape), tf.reshape(strength, low.shape)
    drawn = tf.where((chance < probability) & used, low + strength * (high - low), 0.0)
    return tf.reduce_max(drawn[..., None] * tf.one_hot(transforms, _NUM_TRANSFORMS), [2, 3])


def _chain_weights(num_chains: tf.Tensor, parts: tf.Tensor, total: tf.Tensor) -> tf.Tensor:
    """Returns Dirichlet(1, ..., 1) weights times a Beta(1, 1), [B, K]; 1 for a single chain.

    Args:
        num_chains: Those that are used.
        parts: Uniform numbers [B, K].
        total: Uniform numbers [B, 1].
    """
    used = tf.range(MAX_CHAINS) < num_chains
    # Exponential variates over their sum are Dirichlet; the sum must not be 0.
    parts = tf.where(used, -tf.math.log(tf.maximum(parts, 1e-7)) + 1e-7, 0.0)
    shares = total * parts / tf.reduce_sum(parts, -1, keepdims=True)
    return tf.where(num_chains == 1, tf.cast(used, tf.float32), shares)


def _mixing(
    policy: Mapping[str, tf.Tensor], numbers: tf.Tensor, height: int, width: int
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns partners, MixUp weights and CutMix boxes; weight 1 and empty boxes for none.

    Args:
        policy: As `policy_tensors` returns it.
        numbers: Uniform, [B, 5].
        height: Of the images, pixels.
        width: Of the images, pixels.
    """
    batch = numbers.shape[0]
    # The batch turned by a random number of places: nobody is mixed with itself.
    turn = 1 + tf.cast(numbers[0, 0] * (batch - 1), tf.int32)
    partners = (tf.range(batch) + turn) % batch
    mixup = numbers[:, 1] < policy["mixing_ends"][0]
    cutmix = (numbers[:, 1] < policy["mixing_ends"][1]) & ~mixup
    # Linear between the tabulated quantiles.
    quantiles = policy["mixing_quantiles"]
    place = numbers[:, 2] * (quantiles.shape[1] - 1)
    index = tf.cast(place, tf.int32)
    below, above = tf.gather(quantiles, index, axis=1), tf.gather(quantiles, index + 1, axis=1)
    own = below + (place - tf.floor(place)) * (above - below)
    shares = tf.where(cutmix, tf.sqrt(1.0 - own[1]), 0.0)
    boxes = centred_boxes(numbers[:, 3:], shares, height, width)
    return partners, tf.where(mixup, own[0], 1.0), boxes
