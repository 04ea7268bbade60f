"""Generalised intersection over union of pairs of boxes, as a loss.

Shapes: boxes [..., 4] as (left, top, right, bottom).
Reference: Rezatofighi et al., 2019, arXiv:1902.09630, algorithm 1.
"""

from typing import Any

import keras

__all__ = ["generalised_iou_loss"]

_TINY = 1e-6


def generalised_iou_loss(boxes: Any, others: Any) -> Any:
    """Returns 1 - GIoU [...], from 0 for equal boxes to 2 for points far apart."""
    low = keras.ops.maximum(boxes[..., :2], others[..., :2])
    high = keras.ops.minimum(boxes[..., 2:], others[..., 2:])
    shared = _area(low, high)
    first, second = (_area(each[..., :2], each[..., 2:]) for each in (boxes, others))
    union = first + second - shared
    hull = _area(
        keras.ops.minimum(boxes[..., :2], others[..., :2]),
        keras.ops.maximum(boxes[..., 2:], others[..., 2:]),
    )
    iou = shared / keras.ops.maximum(union, _TINY)
    return 1.0 - iou + (hull - union) / keras.ops.maximum(hull, _TINY)


def _area(low: Any, high: Any) -> Any:
    sides = keras.ops.maximum(high - low, 0.0)
    return sides[..., 0] * sides[..., 1]
