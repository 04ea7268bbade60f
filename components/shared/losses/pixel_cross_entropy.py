"""Cross-entropy of a class for every pixel.

Shapes: one_hot and log_p [B, H, W, C]; a pixel of which nothing is known is zero for every class.
"""

from typing import Any

import keras

__all__ = ["pixel_cross_entropy"]


def pixel_cross_entropy(
    one_hot: Any, log_p: Any, label_smoothing: Any = 0.0, class_weights: Any | None = None
) -> Any:
    """Returns the mean over the known pixels of each image, in nats, [B]; 0 without any.

    Args:
        one_hot: The true classes.
        log_p: Logarithms of the predicted probabilities.
        label_smoothing: Share of the truth that moves to all classes evenly.
        class_weights: [C] or None.
    """
    known = keras.ops.sum(one_hot, axis=-1)
    weighted = one_hot if class_weights is None else one_hot * class_weights
    true = -keras.ops.sum(weighted * log_p, axis=-1)
    even = -keras.ops.mean(log_p, axis=-1) * keras.ops.sum(weighted, axis=-1)
    losses = (1.0 - label_smoothing) * true + label_smoothing * even
    count = keras.ops.maximum(keras.ops.sum(known, axis=(1, 2)), 1.0)
    return keras.ops.sum(losses, axis=(1, 2)) / count
