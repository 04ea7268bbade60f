"""Multiply-adds of a network: what an image costs in inference, whatever the machine."""

import functools
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import layers

__all__ = ["count_multiply_adds"]


def count_multiply_adds(model: Any) -> int:
    """Returns the multiply-adds of one image in the layers of a model that hold most of them.

    They are convolutions, dense layers, also of tokens [B, T, F], and attention of several heads.

    Args:
        model: Built for one size of images; models within it are counted too.
    """
    held = list(_counted_layers(model))
    costs = [_cost(layer, keras.tree.flatten(layer.input), layer.output) for layer in held]
    known = [cost for cost in costs if cost is not None]
    return sum(known) if len(known) == len(held) else _seen_cost(model, held)


def _counted_layers(model: Any) -> Iterator[Any]:
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from _counted_layers(layer)
        elif isinstance(layer, layers.MultiHeadAttention | layers.EinsumDense) or _kernels(layer):
            yield layer


def _kernels(layer: Any) -> list[Any]:
    names = ("kernel", "depthwise_kernel", "pointwise_kernel")
    return [getattr(layer, name) for name in names if getattr(layer, name, None) is not None]


def _cost(layer: Any, inputs: Sequence[Any], output: Any) -> int | None:
    """Returns the multiply-adds of a call of a layer; None where its size is not known.

    Args:
        layer: From `_counted_layers`.
        inputs: Tensors that it is given: of attention the queries first, then the values.
        output: Tensor that it returns, or several, the first of which counts.
    """
    output = keras.tree.flatten(output)[0]
    if None in (*inputs[0].shape[1:], *output.shape[1:]):
        return None
    if isinstance(layer, layers.MultiHeadAttention):
        queries, values = (_positions(each) for each in (*inputs, *inputs)[:2])
        of_queries, of_values = (
            sum(_product(dense.kernel.shape) for dense in both)
            for both in (
                (layer.query_dense, layer.output_dense),
                (layer.key_dense, layer.value_dense),
            )
        )
        pair: int = layer.num_heads * (layer.key_dim + layer.value_dim)
        return queries * of_queries + values * of_values + queries * values * pair
    if isinstance(layer, layers.EinsumDense):
        _, held, result = re.split(",|->", layer.equation)
        sums = (n for label, n in zip(held, layer.kernel.shape, strict=True) if label not in result)
        return _product(output.shape[1:]) * _product(sums)
    return _positions(output) * sum(_product(kernel.shape) for kernel in _kernels(layer))


def _positions(tensor: Any) -> int:
    """Returns the pixels of a map [B, h, w, F], the tokens of [B, T, F], 1 for a vector."""
    return _product(tensor.shape[1:-1])


def _product(sizes: Iterable[int]) -> int:
    return math.prod(sizes)


def _seen_cost(model: Any, held: Sequence[Any]) -> int:
    """Returns the multiply-adds of layers as an image runs through them.

    Layers within a model that takes any size do not know what it is given.
    """
    seen = []

    def watched(layer: Any, call: Any, *args: Any, **kwargs: Any) -> Any:
        output = call(*args, **kwargs)
        given = [each for each in keras.tree.flatten((args, kwargs)) if hasattr(each, "shape")]
        seen.append(_cost(layer, given, output) or 0)
        return output

    calls = [layer.call for layer in held]
    for layer, call in zip(held, calls, strict=True):
        layer.call = functools.partial(watched, layer, call)
    try:
        model(np.zeros((1, *model.input_shape[1:]), np.float32), training=False)
    finally:
        for layer, call in zip(held, calls, strict=True):
            layer.call = call
    return sum(seen)
