"""The feature maps of a network at every size, for heads that look at several."""

import math
from collections.abc import Sequence
from typing import Any

import keras

__all__ = ["feature_maps", "halved_maps"]


def feature_maps(model: keras.Model) -> list[Any]:
    """Returns the last feature map [B, h, w, F] of each size in a network, finest first.

    The first one is of the size of the image. Networks within the network are looked into. Maps of
    one pixel, such as those of squeeze and excitation, are left out.

    Args:
        model: Of pixels [B, H, W, C], in layers of Keras.

    Raises:
        ValueError: There is no feature map.
    """
    maps = _last_maps(model)
    height, width = model.inputs[0].shape[1:3]
    # Padding makes some a little larger than the image.
    fitting = [m for m in maps if m.shape[1] <= height and m.shape[2] <= width]
    if not fitting:
        raise ValueError(
            "A network must have feature maps [B, h, w, F] of more than a pixel. Received: none"
        )
    return fitting


def _last_maps(model: keras.Model) -> list[Any]:
    last: dict[tuple[int, int], Any] = {}
    graph = model._functional if isinstance(model, keras.Sequential) else model
    nodes = graph._nodes_by_depth
    # Not the layers of the model, which may be called in others, too: its calls of them.
    for node in [each for depth in sorted(nodes, reverse=True) for each in nodes[depth]]:
        if isinstance(node.operation, keras.Model):
            inner = keras.Model(node.operation.inputs, _last_maps(node.operation))
            tensors = inner(node.input_tensors)
        else:
            tensors = node.output_tensors
        last |= {each.shape[1:3]: each for each in tensors if len(each.shape) == 4}
    maps = [each for size, each in last.items() if size != (1, 1)]
    return sorted(maps, key=lambda each: -each.shape[1])


def halved_maps(maps: Sequence[Any]) -> list[Any]:
    """Returns the map nearest to each halving of the image, finest first.

    Networks that pad, or cut borders, have several maps of almost the same size.

    Args:
        maps: From `feature_maps`.
    """
    height = maps[0].shape[1]
    nearest: dict[int, tuple[float, Any]] = {}
    for each in maps:
        halvings = math.log2(height / each.shape[1])
        level, apart = round(halvings), abs(halvings - round(halvings))
        # Of equally near ones the last: it has seen more of the network.
        if level not in nearest or apart <= nearest[level][0]:
            nearest[level] = apart, each
    return [nearest[level][1] for level in sorted(nearest)]
