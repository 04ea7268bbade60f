"""Soft Dice loss: classes of few pixels count as much as those of many.

Shapes: one_hot and p [B, H, W, C]; a pixel of which nothing is known is zero for every class.
Reference: Milletari et al., 2016, arXiv:1606.04797, section 3.
"""

from typing import Any

import keras

__all__ = ["dice_loss"]


def dice_loss(one_hot: Any, p: Any) -> Any:
    """Returns 1 - 2 |p t| / (|p| + |t|), the mean over the classes that an image shows, [B].

    It is 0 for an image of which nothing is known.

    Args:
        one_hot: The true classes, t.
        p: Predicted probabilities.
    """
    known = keras.ops.sum(one_hot, axis=-1, keepdims=True)
    overlap = keras.ops.sum(p * one_hot, axis=(1, 2))
    true = keras.ops.sum(one_hot, axis=(1, 2))
    total = keras.ops.sum(p * known, axis=(1, 2)) + true
    shown = keras.ops.cast(true > 0, p.dtype)
    missed = shown * (1.0 - 2.0 * overlap / keras.ops.maximum(total, 1.0))
    return keras.ops.sum(missed, axis=-1) / keras.ops.maximum(keras.ops.sum(shown, axis=-1), 1.0)
