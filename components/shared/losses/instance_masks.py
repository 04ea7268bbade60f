"""The loss of the masks of `heads/mask_embedding.py`, from the boxes of the truth.

Each object is looked at in the same number of points of its window, however large it is: memory
does not grow with its pixels, nor with those of the image.

Shapes: M objects of an image at most, S x S points of each.
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


def object_dice(boxes: Any, instances: Any, embedding: Any) -> Any:
    """Returns 1 - 2 |p t| / (|p| + |t|) of the mask of each object, [B, M].

    Args:
        boxes: [B, M, 4], pixels; those of places without an object may be anything.
        instances: int [B, H, W], 1 + m in the pixels of object m; below 0 what is not known.
        embedding: Of the head.
    """
    batch = boxes.shape[0] or tf.shape(boxes)[0]
    _, height, width = instances.shape
    x, y = window_points(boxes, _SIDE)
    x, y = tf.repeat(x[:, :, None, :], _SIDE, 2), tf.repeat(y[..., None], _SIDE, 3)

    def at(values: tf.Tensor, cell: int) -> tf.Tensor:
        """Returns the values [B, h, w, ...] of the cells that hold the points."""
        rows, columns = values.shape[1:3]
        row = tf.clip_by_value(tf.cast(y / cell, tf.int32), 0, rows - 1)
        column = tf.clip_by_value(tf.cast(x / cell, tf.int32), 0, columns - 1)
        flat = tf.reshape(values, [batch, rows * columns, *values.shape[3:]])
        return tf.gather(flat, row * columns + column, batch_dims=1)

    held = at(tf.cast(instances, tf.int32), 1)
    inside = (x >= 0.0) & (x < width) & (y >= 0.0) & (y < height) & (held >= 0)
    known = tf.cast(inside, tf.float32)
    place = 1 + tf.range(boxes.shape[1])[:, None, None]
    true = known * tf.cast(held == place, tf.float32)
    p = known * mask_values(boxes, x, y, at(tf.cast(embedding, tf.float32), MASK_CELL))
    overlap, total = (tf.reduce_sum(each, [2, 3]) for each in (p * true, p + true))
    return 1.0 - 2.0 * overlap / tf.maximum(total, _TINY)


def mask_loss(targets: Mapping[str, Any], embedding: Any) -> Any:
    """Returns twice the Dice loss of the masks of each image, the mean over its objects, [B].

    Args:
        targets: As of `centre_targets`, and `instances`, as of `object_dice`; `partner_instances`
            where images are mixed, of the second half of the objects.
        embedding: Of the head.
    """
    boxes = tf.cast(targets["boxes"], tf.float32)
    maps = [targets[name] for name in ("instances", "partner_instances") if name in targets]
    parts = zip(tf.split(boxes, len(maps), 1), maps, strict=True)
    missed = tf.concat([object_dice(*part, embedding) for part in parts], 1)
    is_object = (targets["box_classes"] >= 0) & ~tf.cast(targets["crowd"], tf.bool)
    share = targets.get("share", tf.ones_like(missed)) * tf.cast(is_object, tf.float32)
    count = tf.maximum(tf.reduce_sum(share, 1), 1.0)
    return _WEIGHT * tf.reduce_sum(share * missed, 1) / count
