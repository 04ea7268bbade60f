"""The loss of the masks of `heads/mask_embedding.py`, from the boxes of the truth.

Each object is looked at in the same number of points of its window, however large it is: memory
does not grow with its pixels, nor with those of the image.

Shapes: M objects of an image at most, K of them looked at, in S x S points of each.
References: Milletari et al., 2016, arXiv:1606.04797, section 3 (Dice).
"""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from kfp_vision.components.shared.heads.mask_embedding import MASK_CELL, mask_values
from kfp_vision.components.shared.heads.mask_window import window_points

__all__ = ["mask_loss", "object_dice"]

# Points a side.
_SIDE = 16
# Of masks to that of centres.
_WEIGHT = 2.0
_TINY = 1e-6
# Objects of a mixed image that are looked at in any case.
_FEWEST = 16


def object_dice(boxes: Any, places: Any, instances: Any, embedding: Any) -> Any:
    """Returns 1 - 2 |p t| / (|p| + |t|) of the mask of each object, [B, K].

    Args:
        boxes: [B, K, 4], pixels; those of places without an object may be anything.
        places: int32 [B, K, 2], the map of each object, and what its pixels are there.
        instances: int [B, F, H, W], F maps; below 0 what is not known.
        embedding: Of the head.
    """
    batch = boxes.shape[0] or tf.shape(boxes)[0]
    _, num_maps, height, width = instances.shape
    x, y = window_points(boxes, _SIDE)
    x, y = tf.repeat(x[:, :, None, :], _SIDE, 2), tf.repeat(y[..., None], _SIDE, 3)

    def cells(size: int, rows: int, columns: int) -> tf.Tensor:
        """Returns which cell of a map of rows and columns holds each point."""
        row = tf.clip_by_value(tf.cast(y / size, tf.int32), 0, rows - 1)
        return row * columns + tf.clip_by_value(tf.cast(x / size, tf.int32), 0, columns - 1)

    def at(values: tf.Tensor, chosen: tf.Tensor, *rest: int) -> tf.Tensor:
        flat = tf.reshape(values, [batch, -1, *rest])
        return tf.gather(flat, chosen, batch_dims=1)

    which, number = (each[..., None, None] for each in tf.unstack(places, axis=-1))
    held = at(tf.cast(instances, tf.int32), which * (height * width) + cells(1, height, width))
    inside = (x >= 0.0) & (x < width) & (y >= 0.0) & (y < height) & (held >= 0)
    known = tf.cast(inside, tf.float32)
    true = known * tf.cast(held == number, tf.float32)
    rows, columns, channels = embedding.shape[1:]
    said = at(tf.cast(embedding, tf.float32), cells(MASK_CELL, rows, columns), channels)
    p = known * mask_values(boxes, x, y, said)
    overlap, total = (tf.reduce_sum(each, [2, 3]) for each in (p * true, p + true))
    return 1.0 - 2.0 * overlap / tf.maximum(total, _TINY)


def mask_loss(targets: Mapping[str, Any], embedding: Any) -> Any:
    """Returns twice the Dice loss of the masks of each image, the mean over its objects, [B].

    Of mixed images that hold more objects than any image by itself, so many of them count, by
    turns: there are four times the places, and each costs as much as an object.

    Args:
        targets: As of `centre_targets`, and `instances` [B, H, W], 1 + m in the pixels of object m
            and below 0 what is not known; where images are mixed, the same of the second half of
            the objects in `partner_instances`.
        embedding: Of the head.
    """
    boxes = tf.cast(targets["boxes"], tf.float32)
    maps = [targets[name] for name in ("instances", "partner_instances") if name in targets]
    is_object = (targets["box_classes"] >= 0) & ~tf.cast(targets["crowd"], tf.bool)
    share = targets.get("share", tf.ones_like(boxes[..., 0])) * tf.cast(is_object, tf.float32)
    slots = boxes.shape[1]
    half = slots // len(maps)
    # Mixed images have the objects of four.
    looked_at = _by_turns(boxes, share, slots if len(maps) == 1 else slots // 4)
    boxes, share = (tf.gather(each, looked_at, batch_dims=1) for each in (boxes, share))
    places = tf.stack([looked_at // half, 1 + looked_at % half], -1)
    missed = object_dice(boxes, places, tf.stack(maps, 1), embedding)
    count = tf.maximum(tf.reduce_sum(share, 1), 1.0)
    return _WEIGHT * tf.reduce_sum(share * missed, 1) / count


def _by_turns(boxes: tf.Tensor, share: tf.Tensor, most: int) -> tf.Tensor:
    """Returns which objects of each image are looked at, those that are there first, int32 [B, K].

    Args:
        boxes: [B, N, 4]; where they are decides whose turn it is.
        share: [B, N], 0 of places without an object.
        most: Objects of an image that is not mixed.
    """
    slots = boxes.shape[1]
    first = tf.cast(tf.reduce_sum(boxes, [1, 2]), tf.int32)[:, None]
    turn = tf.cast(1 + (tf.range(slots) + first) % most, tf.float32)
    there = tf.where(share > 0.0, turn, 0.0)
    return tf.math.top_k(there, min(slots, max(most, _FEWEST))).indices
