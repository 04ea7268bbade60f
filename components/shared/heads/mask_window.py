"""The window of a box, in which the mask of its object is given by S x S points.

Plain arithmetic: for arrays, tensors and those of a model under construction.
"""

from typing import Any

import numpy as np

__all__ = ["MASK_SIDE", "WINDOW", "window_points"]

# S of what a model returns.
MASK_SIDE = 28
# Sides of a window to those of its box: a box that is a little too small cuts nothing off.
WINDOW = 1.5


def window_points(boxes: Any, side: int) -> tuple[Any, Any]:
    """Returns x [..., S] of the columns and y [..., S] of the rows of points, evenly spaced.

    Args:
        boxes: [..., 4] as (left, top, right, bottom), pixels.
        side: S.
    """
    steps = ((np.arange(side) + 0.5) / side - 0.5).astype(np.float32) * WINDOW
    low, high = boxes[..., :2], boxes[..., 2:]
    x, y = (
        (low + high)[..., axis, None] / 2.0 + (high - low)[..., axis, None] * steps
        for axis in (0, 1)
    )
    return x, y
