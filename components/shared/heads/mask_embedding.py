"""Masks of detected objects: where each pixel says that its object lies.

A pixel p says an offset o and how little it belongs to any object, z >= 0. It is of the object with
the middle c and the half sides r of its box where exp(-ln 2 |(p + o - c) / r|^2 - z) > 1/2: without
an offset in the ellipse within the box. What is learned deforms it.

Shapes: `embedding` [B, h2, w2, 3] of (x, y, z before softplus), on cells of 2 x 2 pixels; N objects
of an image; masks [B, N, S, S] of S x S points of the window of each, its box enlarged by half.
References: Neven et al., 2019, arXiv:1906.11109, whose bandwidths are those of the boxes here; Wang
et al., 2020, arXiv:1912.04488 (scores of masks).
"""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import layers

from kfp_vision.components.shared.heads.centre_detector import (
    CELL,
    branch,
    centre_branches,
    convolve,
    enlarge,
    find_peaks,
    pyramid,
)
from kfp_vision.components.shared.heads.mask_window import MASK_SIDE, window_points

__all__ = [
    "MASK_CELL",
    "find_masks",
    "mask_embedding",
    "mask_values",
]

# Pixels a side of a cell of the embedding.
MASK_CELL = 2
_PRIOR_Z = -2.0
# Channels of the map that the embedding is made of.
_WIDTH = 32
# What is added to half sides of boxes in pixels, and to sums: none is 0.
_TINY = 0.01


def mask_embedding(features: Sequence[Any], num_classes: int, dropout: float) -> dict[str, Any]:
    """Returns `heat` and `reach`, as `centre_detector` does, and `embedding`, float32.

    Args:
        features: As of `Task.build_head`.
        num_classes: C.
        dropout: Rate before the last convolutions.
    """
    x = pyramid(features)
    size = [math.ceil(side / MASK_CELL) for side in features[0].shape[1:3]]
    fine = enlarge(convolve(x, 1, _WIDTH), size)
    near = [each for each in features[1:] if CELL * each.shape[1] > 1.5 * features[0].shape[1]]
    if near:
        fine = layers.Add()([fine, enlarge(convolve(near[-1], 1, _WIDTH), size)])
    return {
        **centre_branches(x, num_classes, dropout),
        "embedding": branch(fine, "embedding", 3, 0.0, dropout, _WIDTH),
    }


def mask_values(boxes: Any, x: Any, y: Any, embedding: Any) -> Any:
    """Returns how much each point is of its object, from 0 to 1, [B, N, S, S].

    Args:
        boxes: Of the objects, [B, N, 4], pixels.
        x: Of points, pixels, [B, N, 1, S] or [B, N, S, S].
        y: The same, [B, N, S, 1] or [B, N, S, S].
        embedding: What the head says there, [B, N, S, S, 3].
    """
    middle = (boxes[..., :2] + boxes[..., 2:])[..., None, None, :] / 2.0
    half = (boxes[..., 2:] - boxes[..., :2])[..., None, None, :] / 2.0 + _TINY
    across = (x + CELL * embedding[..., 0] - middle[..., 0]) / half[..., 0]
    down = (y + CELL * embedding[..., 1] - middle[..., 1]) / half[..., 1]
    away = keras.ops.softplus(embedding[..., 2] + _PRIOR_Z)
    return keras.ops.exp(-math.log(2.0) * (across * across + down * down) - away)


def find_masks(heat: Any, reach: Any, embedding: Any, most: int) -> dict[str, Any]:
    """Returns what `find_peaks` does, and `masks` [B, N, S, S] of the same objects.

    The score of a centre is multiplied by how sure its mask is, the mean of the values p of its
    points, each counted by p. The embedding between the middles of cells is interpolated, by
    products of matrices.

    Args:
        heat: As the head returns it.
        reach: The same.
        embedding: The same.
        most: As of `find_peaks`.
    """
    ops = keras.ops
    found = find_peaks(heat, reach, most)
    boxes = found["boxes"]
    number = boxes.shape[1]
    _, height, width, channels = embedding.shape
    x, y = window_points(boxes, MASK_SIDE)
    across, down = _shares(x, width), _shares(y, height)
    rows = ops.matmul(
        ops.reshape(down, (-1, number * MASK_SIDE, height)),
        ops.reshape(embedding, (-1, height, width * channels)),
    )
    rows = ops.reshape(rows, (-1, number, MASK_SIDE, width, channels))
    rows = ops.transpose(rows, (0, 1, 3, 2, 4))
    rows = ops.reshape(rows, (-1, number, width, MASK_SIDE * channels))
    points = ops.matmul(across, rows)
    points = ops.reshape(points, (-1, number, MASK_SIDE, MASK_SIDE, channels))
    points = ops.transpose(points, (0, 1, 3, 2, 4))
    masks = mask_values(boxes, x[..., None, :], y[..., :, None], points)
    flat = ops.reshape(masks, (-1, number, MASK_SIDE**2))
    sure = ops.sum(flat * flat, axis=-1) / (ops.sum(flat, axis=-1) + _TINY)
    scores, order = ops.top_k(found["scores"] * sure, number)
    return {
        "boxes": ops.take_along_axis(boxes, order[..., None], axis=1),
        "scores": scores,
        "classes": ops.take_along_axis(found["classes"], order, axis=1),
        "masks": ops.take_along_axis(masks, order[..., None, None], axis=1),
    }


def _shares(places: Any, length: int) -> Any:
    """Returns the shares of cells in what is interpolated at places, [B, N, S, length].

    Args:
        places: Pixels, [B, N, S]; beyond the middle of the last cell that one counts alone.
        length: Of the cells.
    """
    cells = keras.ops.clip(places / MASK_CELL - 0.5, 0.0, length - 1.0)
    apart = keras.ops.abs(cells[..., None] - np.arange(length, dtype=np.float32))
    return keras.ops.maximum(1.0 - apart, 0.0)
