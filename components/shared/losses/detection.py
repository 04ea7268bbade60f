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

__all__ = ["CentreTargets", "centre_targets", "detection_loss", "in_parts", "inside_boxes"]

# Standard deviation of a Gaussian around a centre, as a share of the side of the box, and at least
# so many cells.
_SPREAD, _LEAST_SPREAD = 0.09, 0.4
# Cells further out learn no sides.
_NEAR = 0.05
_BOX_WEIGHT = 2.0
# Objects of an image that are drawn at once.
_DRAWN = 16


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

    rows, columns = along(1, height), along(0, width)
    drawn = _draw(rows, columns, classes, is_object, num_classes)
    flat = tf.reshape(drawn.nearest, [-1, height * width])
    # The integral of the Gaussian, or the value at the centre of a narrow one.
    mass = tf.maximum(2 * np.pi * spreads[..., 0] * spreads[..., 1], 1.0)

    def of_nearest(values: tf.Tensor) -> tf.Tensor:
        found = tf.gather(values, flat, batch_dims=1)
        return tf.reshape(found, [-1, height, width, *values.shape[2:]])

    outside = 1.0 - inside_boxes(boxes, ((classes >= 0) & crowd)[..., None], height, width)
    return CentreTargets(
        tf.transpose(drawn.heat, [0, 2, 3, 1]),
        outside * tf.where(drawn.nearness >= 1.0, of_nearest(share), 1.0)[..., None],
        of_nearest(boxes),
        tf.where(drawn.nearness >= _NEAR, drawn.nearness * of_nearest(share / mass), 0.0),
        tf.maximum(tf.reduce_sum(share, 1), 1.0),
    )


class _Drawn(NamedTuple):
    """Gaussians of all objects.

    Attributes:
        heat: float32 [B, C, h, w], the greatest of each class.
        nearness: float32 [B, h, w], the greatest of all.
        nearest: int32 [B, h, w], whose that is.
    """

    heat: tf.Tensor
    nearness: tf.Tensor
    nearest: tf.Tensor


def _draw(
    rows: tf.Tensor, columns: tf.Tensor, classes: tf.Tensor, is_object: tf.Tensor, num_classes: int
) -> _Drawn:
    """Returns the Gaussians, made of a few objects of every image at a time.

    Time grows with the objects of the fullest image of the batch, not with the places for them, and
    memory with neither.

    Args:
        rows: Of each object along the height, [B, M, h].
        columns: The same along the width, [B, M, w].
        classes: int32 [B, M].
        is_object: Which places hold one, bool [B, M].
        num_classes: C.
    """
    most, height, width = classes.shape[1], rows.shape[2], columns.shape[2]
    batch = classes.shape[0] or tf.shape(classes)[0]
    there = tf.cast(is_object, tf.float32)
    # Of equal ones the first come first.
    order = tf.math.top_k(there, most).indices
    images = tf.range(batch)[:, None]
    maps = tf.stack(
        [images + tf.zeros_like(order), tf.clip_by_value(classes, 0, num_classes - 1)], -1
    )
    held = [in_parts(each, order, _DRAWN) for each in (rows * there[..., None], columns, maps)]

    def draw(part: tf.Tensor, *so_far: tf.Tensor) -> tuple[tf.Tensor, ...]:
        heat, nearness, nearest = so_far
        down, across, place = (tf.gather(each, part) for each in held)
        near = down[..., None] * across[..., None, :]
        greatest = tf.reduce_max(near, 1)
        whose = part * _DRAWN + tf.argmax(near, 1, tf.int32)
        return (
            part + 1,
            tf.tensor_scatter_nd_max(
                heat, tf.reshape(place, [-1, 2]), tf.reshape(near, [-1, height, width])
            ),
            tf.maximum(nearness, greatest),
            tf.where(greatest > nearness, whose, nearest),
        )

    fullest = tf.cast(tf.reduce_max(tf.reduce_sum(there, 1)), tf.int32)
    empty = tf.zeros([batch, height, width])
    _, heat, nearness, nearest = tf.while_loop(
        lambda part, *_: part * _DRAWN < fullest,
        draw,
        (0, tf.zeros([batch, num_classes, height, width]), empty, tf.cast(empty, tf.int32)),
    )
    whose = tf.gather(order, tf.reshape(nearest, [batch, height * width]), batch_dims=1)
    return _Drawn(heat, nearness, tf.reshape(whose, [batch, height, width]))


def in_parts(values: tf.Tensor, order: tf.Tensor, size: int) -> tf.Tensor:
    """Returns values [B, M, ...] of objects, a few at a time, [parts, B, size, ...], then zeros.

    Args:
        values: Of every place for an object.
        order: Numbers of the places, those with objects first, int32 [B, M].
        size: Objects of an image in a part.
    """
    most = values.shape[1]
    parts, rest = -(-most // size), [[0, 0]] * (len(values.shape) - 2)
    ordered = tf.gather(values, order, batch_dims=1)
    padded = tf.pad(ordered, [[0, 0], [0, parts * size - most], *rest])
    split = tf.reshape(padded, [-1, parts, size, *values.shape[2:]])
    return tf.transpose(split, [1, 0, *range(2, len(split.shape))])


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
