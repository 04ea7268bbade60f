"""The loss of `heads/centre_detector.py`: its targets are made here, from the boxes.

Shapes: M objects of an image at most, boxes [B, M, 4] in pixels of the image, a grid of h x w
cells. References: Zhou et al., 2019, arXiv:1904.07850; Liu et al., 2020, arXiv:1909.00700 (every
cell near a centre learns the sides, which is faster than the centre alone).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from kfp_vision.components.shared.heads.centre_detector import CELL, boxes_around
from kfp_vision.components.shared.losses.box_iou import generalised_iou_loss
from kfp_vision.components.shared.losses.centre_focal import centre_focal_loss

__all__ = ["CentreTargets", "centre_targets", "detection_loss", "inside_boxes"]

# Standard deviation of a Gaussian around a centre, as a share of the side of the box, and at least
# so many cells.
_SPREAD, _LEAST_SPREAD = 0.09, 0.4
# Cells further out learn no sides.
_NEAR = 0.05
_BOX_WEIGHT = 2.0


class CentreTargets(NamedTuple):
    """What each cell is to say.

    Attributes:
        heat: float32 [B, h, w, C], 1 at centres.
        heat_weights: float32 [B, h, w, 1], 0 within crowds, at centres the share of the object.
        boxes: float32 [B, h, w, 4], of the nearest object.
        box_weights: float32 [B, h, w], about its share in total for each object.
        count: float32 [B], the shares of all objects, at least 1.
    """

    heat: tf.Tensor
    heat_weights: tf.Tensor
    boxes: tf.Tensor
    box_weights: tf.Tensor
    count: tf.Tensor


def centre_targets(
    targets: Mapping[str, Any], height: int, width: int, num_classes: int
) -> CentreTargets:
    """Returns what a grid of cells is to say of the objects.

    Args:
        targets: `boxes`, `box_classes` int32 [B, M] (below 0 for none), `crowd` bool [B, M], and
            where images are mixed `share` float32 [B, M], how much is left of an object.
        height: h.
        width: w.
        num_classes: C.
    """
    boxes = tf.cast(targets["boxes"], tf.float32)
    classes, crowd = tf.cast(targets["box_classes"], tf.int32), tf.cast(targets["crowd"], tf.bool)
    is_object = (classes >= 0) & ~crowd
    share = targets.get("share", tf.ones_like(boxes[..., 0])) * tf.cast(is_object, tf.float32)
    sides = (boxes[..., 2:] - boxes[..., :2]) / CELL
    limits = tf.constant([width - 1, height - 1], tf.float32)
    # Of the cell that holds it.
    centres = tf.clip_by_value(tf.floor((boxes[..., :2] + boxes[..., 2:]) / 2 / CELL), 0.0, limits)
    spreads = tf.maximum(_SPREAD * sides, _LEAST_SPREAD)

    def along(axis: int, length: int) -> tf.Tensor:
        apart = tf.range(length, dtype=tf.float32) - centres[..., axis, None]
        return tf.exp(-0.5 * tf.square(apart / spreads[..., axis, None]))

    near = along(1, height)[..., None] * along(0, width)[..., None, :]
    near = tf.where(is_object[..., None, None], near, 0.0)
    batch, most = classes.shape[0] or tf.shape(classes)[0], classes.shape[1]
    rows = tf.repeat(tf.range(batch)[:, None], most, axis=1)
    places = tf.stack([rows, tf.clip_by_value(classes, 0, num_classes - 1)], -1)
    heat = tf.tensor_scatter_nd_max(
        tf.zeros([batch, num_classes, height, width]),
        tf.reshape(places, [-1, 2]),
        tf.reshape(near, [-1, height, width]),
    )
    nearest = tf.argmax(near, axis=1, output_type=tf.int32)
    nearness = tf.reduce_max(near, axis=1)
    flat = tf.reshape(nearest, [batch, height * width])
    # The integral of the Gaussian, or the value at the centre of a narrow one.
    mass = tf.maximum(2 * np.pi * spreads[..., 0] * spreads[..., 1], 1.0)

    def of_nearest(values: tf.Tensor) -> tf.Tensor:
        found = tf.gather(values, flat, batch_dims=1)
        return tf.reshape(found, [batch, height, width, *values.shape[2:]])

    outside = 1.0 - inside_boxes(boxes, ((classes >= 0) & crowd)[..., None], height, width)
    return CentreTargets(
        tf.transpose(heat, [0, 2, 3, 1]),
        outside * tf.where(nearness >= 1.0, of_nearest(share), 1.0)[..., None],
        of_nearest(boxes),
        tf.where(nearness >= _NEAR, nearness * of_nearest(share / mass), 0.0),
        tf.maximum(tf.reduce_sum(share, 1), 1.0),
    )


def inside_boxes(boxes: tf.Tensor, chosen: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """Returns which cells have their middle in a chosen box, 0 or 1, float32 [B, h, w, F].

    Args:
        boxes: [B, M, 4].
        chosen: Boxes of each of F maps, bool [B, M, F].
        height: h.
        width: w.
    """

    def along(axis: int, length: int) -> tf.Tensor:
        middle = (tf.range(length, dtype=tf.float32) + 0.5) * CELL
        low, high = boxes[..., axis, None], boxes[..., axis + 2, None]
        return tf.cast((middle >= low) & (middle < high), tf.float32)

    columns = along(0, width)[..., None] * tf.cast(chosen, tf.float32)[:, :, None]
    return tf.minimum(tf.einsum("bmh,bmwf->bhwf", along(1, height), columns), 1.0)


def detection_loss(targets: Mapping[str, Any], outputs: Mapping[str, Any]) -> tf.Tensor:
    """Returns focal loss of the centres plus twice 1 - GIoU, of each image an object, [B].

    Args:
        targets: As of `centre_targets`.
        outputs: As the head returns them.
    """
    heat, reach = outputs["heat"], tf.cast(outputs["reach"], tf.float32)
    _, height, width, num_classes = heat.shape
    wanted = centre_targets(targets, height, width, num_classes)
    centres = centre_focal_loss(heat, wanted.heat, wanted.heat_weights)
    x, y = ((tf.range(length, dtype=tf.float32) + 0.5) * CELL for length in (width, height))
    said = boxes_around(tf.stack(tf.meshgrid(x, y) * 2, -1), reach)
    sides = generalised_iou_loss(said, wanted.boxes) * wanted.box_weights
    total = tf.reduce_sum(centres, [1, 2, 3]) + _BOX_WEIGHT * tf.reduce_sum(sides, [1, 2])
    return total / wanted.count
