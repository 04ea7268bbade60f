"""The loss of `heads/keypoint_detector.py` beyond that of its detector: from keypoints and boxes.

Shapes: M objects of an image at most, K keypoints, boxes [B, M, 4] and keypoints [B, M, K, 3] in
pixels of the image, a grid of h x w cells, P cells of a neighbourhood.
Reference: Zhou et al., 2019, arXiv:1904.07850, section 5.2.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from kfp_vision.components.shared.heads.centre_detector import CELL
from kfp_vision.components.shared.losses.centre_focal import centre_focal_loss
from kfp_vision.components.shared.losses.detection import in_parts, inside_boxes
from kfp_vision.components.shared.losses.offset_l1 import offset_l1_loss

__all__ = ["keypoint_loss", "point_targets"]

# Standard deviation of a Gaussian around a keypoint, as a share of the square root of the area of
# the box, and in cells.
_SPREAD, _LEAST_SPREAD, _MOST_SPREAD = 0.04, 0.6, 1.5
# Cells to each side of a keypoint that its Gaussian reaches; those beside it learn offsets.
_HEAT_RADIUS = 4
_PLACE_WEIGHT = 5.0
# Objects of an image that are drawn at once.
_DRAWN = 16


def keypoint_loss(targets: Mapping[str, Any], outputs: Mapping[str, Any]) -> tf.Tensor:
    """Returns focal loss of the keypoints plus L1 of both offsets, of each image a keypoint, [B].

    Those from the centre of the object count in fifths of the square root of the area of its box,
    those of the keypoint itself in cells. Keypoints that are not labelled count nowhere.

    Args:
        targets: As of `point_targets`, with `box_classes` int32 [B, M] (below 0 for none).
        outputs: As the head returns them.
    """
    points, offsets = outputs["points"], tf.cast(outputs["offsets"], tf.float32)
    _, height, width, number = points.shape
    boxes, labelled, share = _known(targets)
    heat, weights = point_targets(targets, height, width)
    total = tf.reduce_sum(centre_focal_loss(points, heat, weights), [1, 2, 3])

    at = tf.cast(targets["keypoints"][..., :2], tf.float32) / CELL - 0.5
    places, shifts = (
        tf.reshape(part, [-1, height, width, number, 2]) for part in tf.split(offsets, 2, -1)
    )
    # From the cells near the centre of an object to all of its keypoints: [B, M, P, K].
    cells, parts = _near((boxes[..., :2] + boxes[..., 2:]) / 2 / CELL - 0.5, 1, height, width)
    size = tf.sqrt(tf.maximum(_areas(boxes), CELL**2)) / CELL
    scales = _PLACE_WEIGHT * share / size
    said = tf.gather_nd(places, cells, batch_dims=1)
    wanted = at[:, :, None] - _xy(cells)[..., None, :]
    known = (parts * scales[..., None])[..., None] * labelled[:, :, None]
    total += tf.reduce_sum(offset_l1_loss(said, wanted, known), [1, 2, 3])
    # From the cells near a keypoint to itself: [B, M, K, P].
    cells, parts = _near(at, 1, height, width)
    kinds = tf.broadcast_to(tf.range(number)[:, None, None], [*cells.shape[1:4], 1])
    kinds = tf.repeat(kinds[None], tf.shape(cells)[0], axis=0)
    said = tf.gather_nd(shifts, tf.concat([cells, kinds], -1), batch_dims=1)
    known = parts * (labelled * share[..., None])[..., None]
    total += tf.reduce_sum(offset_l1_loss(said, at[:, :, :, None] - _xy(cells), known), [1, 2, 3])
    return total / tf.maximum(tf.reduce_sum(labelled * share[..., None], [1, 2]), 1.0)


def point_targets(
    targets: Mapping[str, Any], height: int, width: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns what the heat maps are to say and how much it counts, float32 [B, h, w, K].

    1 in the cells of labelled keypoints, less around them. What counts nothing: crowds and, of a
    keypoint that is not labelled, the box of its object. At a keypoint counts the share of it. Time
    grows with the objects of the fullest image of the batch, memory with neither these nor M.

    Args:
        targets: `boxes`, `box_classes`, `crowd` and `share` as of `centre_targets`, `keypoints`
            with a third value above 0 where they are labelled.
        height: h.
        width: w.
    """
    boxes, labelled, share = _known(targets)
    batch = labelled.shape[0] or tf.shape(labelled)[0]
    _, most, number = labelled.shape
    size = min(most, _DRAWN)
    is_object = tf.cast(tf.cast(targets["box_classes"], tf.int32) >= 0, tf.float32)
    order = tf.math.top_k(is_object, most).indices
    at = tf.cast(targets["keypoints"][..., :2], tf.float32) / CELL - 0.5
    unlabelled = is_object[..., None] * (1.0 - labelled)
    held = [in_parts(each, order, size) for each in (boxes, at, labelled, share, unlabelled)]
    apart = np.sum(_steps(_HEAT_RADIUS) ** 2, -1).astype(np.float32)
    # A map of every keypoint of every image: the first index of a place.
    maps = tf.reshape(tf.range(batch * number), [batch, 1, number, 1, 1])

    def draw(part: tf.Tensor, *so_far: tf.Tensor) -> tuple[tf.Tensor, ...]:
        heat, shares, unknown = so_far
        around, middle, known, left, hidden = (tf.gather(each, part) for each in held)
        cells, inside = _near(middle, _HEAT_RADIUS, height, width)
        spread = _SPREAD * tf.sqrt(_areas(around)) / CELL
        variance = tf.square(tf.clip_by_value(spread, _LEAST_SPREAD, _MOST_SPREAD))
        near = tf.exp(-0.5 * apart / variance[..., None])[:, :, None] * known[..., None]
        near = tf.where(inside > 0.0, near, 0.0)
        at_points = tf.where(near >= 1.0, left[..., None, None], 0.0)
        places = tf.concat([tf.zeros_like(cells[..., :1]) + maps, cells], -1)
        places = tf.reshape(places, [-1, 3])
        return (
            part + 1,
            tf.tensor_scatter_nd_max(heat, places, tf.reshape(near, [-1])),
            tf.tensor_scatter_nd_max(shares, places, tf.reshape(at_points, [-1])),
            tf.maximum(unknown, inside_boxes(around, hidden > 0.0, height, width)),
        )

    fullest = tf.cast(tf.reduce_max(tf.reduce_sum(is_object, 1)), tf.int32)
    empty = tf.zeros([batch * number, height, width])
    _, heat, shares, unknown = tf.while_loop(
        lambda part, *_: part * size < fullest,
        draw,
        (0, empty, empty, tf.zeros([batch, height, width, number])),
    )
    heat, shares = (
        tf.transpose(tf.reshape(each, [batch, number, height, width]), [0, 2, 3, 1])
        for each in (heat, shares)
    )
    return heat, tf.where(heat >= 1.0, shares, 1.0 - unknown)


def _known(targets: Mapping[str, Any]) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns boxes, which keypoints are labelled, 0 or 1 [B, M, K], and shares [B, M]."""
    boxes = tf.cast(targets["boxes"], tf.float32)
    crowd = tf.cast(targets["crowd"], tf.bool)
    is_object = (tf.cast(targets["box_classes"], tf.int32) >= 0) & ~crowd
    labelled = (tf.cast(targets["keypoints"][..., 2], tf.float32) > 0.0) & is_object[..., None]
    share = tf.cast(targets.get("share", tf.ones_like(boxes[..., 0])), tf.float32)
    return boxes, tf.cast(labelled, tf.float32), share


def _areas(boxes: tf.Tensor) -> tf.Tensor:
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def _steps(radius: int) -> np.ndarray:
    """Returns the (row, column) of all cells around one, int [P, 2]."""
    side = np.arange(-radius, radius + 1, dtype=np.int32)
    return np.stack(np.meshgrid(side, side, indexing="ij"), -1).reshape(-1, 2)


def _near(at: tf.Tensor, radius: int, height: int, width: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns (row, column) of the cells around places, int32 [..., P, 2], and their parts.

    The parts [..., P] are 0 for cells beyond the grid, which are moved into it, and 1 together.

    Args:
        at: (x, y) in cells, 0 in the middle of the first, [..., 2].
        radius: Cells to each side of the one that holds the place.
        height: h.
        width: w.
    """
    limits = tf.constant([height - 1, width - 1])
    # A place at the lower right border is in the last cell.
    middle = tf.clip_by_value(tf.cast(tf.floor(at[..., ::-1] + 0.5), tf.int32), 0, limits)
    cells = middle[..., None, :] + _steps(radius)
    inside = tf.cast(tf.reduce_all((cells >= 0) & (cells <= limits), -1), tf.float32)
    return tf.clip_by_value(cells, 0, limits), inside / tf.reduce_sum(inside, -1, keepdims=True)


def _xy(cells: tf.Tensor) -> tf.Tensor:
    """Returns (x, y) of cells, [..., 2]."""
    return tf.cast(cells[..., ::-1], tf.float32)
