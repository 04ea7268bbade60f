"""Multiply-adds of a network: what an image costs in inference, whatever the machine."""

import math
from typing import Any

from keras import layers

__all__ = ["count_multiply_adds"]


def count_multiply_adds(model: Any) -> int:
    """Returns the multiply-adds of one image in the convolutions and dense layers of a model.

    Args:
        model: Built for one size of images; models within it are counted too.
    """
    total = 0
    for layer in model.layers:
        if hasattr(layer, "layers"):
            total += count_multiply_adds(layer)
        elif isinstance(layer, layers.Dense):
            total += math.prod(layer.kernel.shape)
        elif hasattr(layer, "kernel") and len(layer.output.shape) == 4:
            kernels = [layer.kernel, getattr(layer, "pointwise_kernel", None)]
            pixels = math.prod(layer.output.shape[1:3])
            total += sum(pixels * math.prod(each.shape) for each in kernels if each is not None)
    return total
