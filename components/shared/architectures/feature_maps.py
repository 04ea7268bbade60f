"""The feature maps of a network at every size, for heads that look at several."""

from typing import Any

import keras

__all__ = ["feature_maps"]


def feature_maps(model: keras.Model) -> list[Any]:
    """Returns the last feature map [B, h, w, F] of each size in a network, finest first.

    Networks within the network are looked into. Maps of one pixel, such as those of squeeze and
    excitation, are left out.

    Args:
        model: Of pixels [B, H, W, C], in layers of Keras.

    Raises:
        ValueError: There is no feature map.
    """
    last: dict[tuple[int, int], Any] = {}
    for operation in model.operations:
        if isinstance(operation, keras.Model):
            inner = keras.Model(operation.inputs, feature_maps(operation))
            tensors = inner(operation._inbound_nodes[-1].input_tensors)
        else:
            tensors = keras.tree.flatten(operation.output)
        last |= {each.shape[1:3]: each for each in tensors if len(each.shape) == 4}
    maps = [each for size, each in last.items() if size != (1, 1)]
    if not maps:
        raise ValueError(
            "A network must have feature maps [B, h, w, F] of more than a pixel. Received: none"
        )
    return sorted(maps, key=lambda each: -each.shape[1])
