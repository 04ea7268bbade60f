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
from kfp_vision.components.shared.losses.detection import inside_boxes
from kfp_vision.components.shared.losses.offset_l1 import offset_l1_loss

__all__ = ["keypoint_loss", "point_targets"]

# Standard deviation of a Gaussian around a keypoint, as a share of the square root of the area of
# the box, and in cells.
_SPREAD, _LEAST_SPREAD, _MOST_SPREAD = 0.04, 0.6, 1.5
# Cells to each side of a keypoint that its Gaussian reaches; those beside it learn offsets.
_HEAT_RADIUS = 4
_PLACE_WEIGHT = 5.0


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
    keypoint that is not labelled, the box of its object. At a keypoint counts the share of it.

    Args:
        targets: `boxes`, `box_classes`, `crowd` and `share` as of `centre_targets`, `keypoints`
            with a third value above 0 where they are labelled.
        height: h.
        width: w.
    """
    boxes, labelled, share = _known(targets)
    batch = labelled.shape[0] or tf.shape(labelled)[0]
    number = labelled.shape[2]
    at = tf.cast(targets["keypoints"][..., :2], tf.float32) / CELL - 0.5
    cells, parts = _near(at, _HEAT_RADIUS, height, width)
    spread = tf.clip_by_value(_SPREAD * tf.sqrt(_areas(boxes)) / CELL, _LEAST_SPREAD, _MOST_SPREAD)
    apart = np.sum(_steps(_HEAT_RADIUS) ** 2, -1).astype(np.float32)
    near = tf.exp(-0.5 * apart / tf.square(spread)[..., None])[:, :, None] * labelled[..., None]
    near = tf.where(parts > 0.0, near, 0.0)
    # A map of every keypoint of every image: the first index of a place.
    maps = tf.reshape(tf.range(batch * number), [batch, 1, number, 1, 1])
    maps = tf.zeros_like(cells[..., :1]) + maps
    places = tf.reshape(tf.concat([maps, cells], -1), [-1, 3])

    def drawn(values: tf.Tensor) -> tf.Tensor:
        empty = tf.zeros([batch * number, height, width])
        found = tf.tensor_scatter_nd_max(empty, places, tf.reshape(values, [-1]))
        return tf.transpose(tf.reshape(found, [batch, number, height, width]), [0, 2, 3, 1])

    heat = drawn(near)
    shares = drawn(tf.where(near >= 1.0, share[..., None, None], 0.0))
    is_object = tf.cast(targets["box_classes"], tf.int32) >= 0
    unknown = inside_boxes(boxes, is_object[..., None] & (labelled <= 0.0), height, width)
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
