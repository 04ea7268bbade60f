"""Multiply-adds of a network: what an image costs in inference, whatever the machine."""

import functools
import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
from keras import layers

__all__ = ["count_multiply_adds"]


def count_multiply_adds(model: Any) -> int:
    """Returns the multiply-adds of one image in the convolutions and dense layers of a model.

    Args:
        model: Built for one size of images; models within it are counted too.
    """
    held = list(_counted_layers(model))
    pixels = {id(layer): _output_pixels(layer.output) for layer in held}
    if None in pixels.values():
        pixels = dict(_seen_pixels(model, held))
    kernels = [(layer, each) for layer in held for each in _kernels(layer)]
    return sum((pixels[id(layer)] or 0) * math.prod(kernel.shape) for layer, kernel in kernels)


def _counted_layers(model: Any) -> Iterator[Any]:
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from _counted_layers(layer)
        elif _kernels(layer) and (isinstance(layer, layers.Dense) or len(layer.output.shape) == 4):
            yield layer


def _kernels(layer: Any) -> list[Any]:
    names = ("kernel", "depthwise_kernel", "pointwise_kernel")
    return [getattr(layer, name) for name in names if getattr(layer, name, None) is not None]


def _output_pixels(output: Any) -> int | None:
    """Returns the pixels of a map [B, h, w, F], 1 for a vector; None where they are not known."""
    sides = output.shape[1:3] if len(output.shape) == 4 else ()
    return None if None in sides else math.prod(sides)


def _seen_pixels(model: Any, held: list[Any]) -> Counter[int]:
    """Returns the pixels of the outputs of layers, by their ids, as an image runs through them.

    Layers within a model that takes any size do not know what it is given.
    """
    seen: Counter[int] = Counter()

    def watched(layer: Any, call: Any, *args: Any, **kwargs: Any) -> Any:
        output = call(*args, **kwargs)
        seen[id(layer)] += _output_pixels(output) or 0
        return output

    calls = [layer.call for layer in held]
    for layer, call in zip(held, calls, strict=True):
        layer.call = functools.partial(watched, layer, call)
    try:
        model(np.zeros((1, *model.input_shape[1:]), np.float32), training=False)
    finally:
        for layer, call in zip(held, calls, strict=True):
            layer.call = call
    return seen
