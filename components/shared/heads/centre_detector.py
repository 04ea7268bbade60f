"""Detection without anchors: where centres of objects are, and how far their sides from there.

Shapes: maps [B, h, w, F] -> `heat` logits [B, h4, w4, C] and `reach` [B, h4, w4, 4], on a grid of
cells of 4 x 4 pixels of the image; boxes (left, top, right, bottom) in those pixels.
References: Zhou et al., 2019, arXiv:1904.07850 (centres as peaks); Tian et al., 2019,
arXiv:1904.01355 (sides from a place); Lin et al., 2017, arXiv:1612.03144 (the pyramid).
"""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import layers

__all__ = [
    "CELL",
    "PRIOR_LOGIT",
    "PRIOR_REACH",
    "boxes_around",
    "branch",
    "centre_branches",
    "centre_detector",
    "convolve",
    "detect",
    "enlarge",
    "find_peaks",
    "middles",
    "peak_logits",
    "pyramid",
    "read_cells",
]

# Pixels a side of a cell of the grid.
CELL = 4
# An untrained head says this everywhere: no centre, with p = 0.1, and boxes of 36 pixels.
PRIOR_LOGIT, PRIOR_REACH = -math.log(9.0), math.log(18.0 / CELL)
_WIDTH = 64
# A map is at least so many times as high as the next one of the pyramid.
_HALVED = 1.5
# In logits: far below the steps of int8; and of no probability at all.
_TIE_BREAK, _NO_PEAK = 1e-5, -1e4
# exp of it is beyond any image.
_MAX_REACH = 8.0


def centre_detector(features: Sequence[Any], num_classes: int, dropout: float) -> dict[str, Any]:
    """Returns `heat` and `reach`, float32.

    `heat`: logits of a centre of each class in the cell. `reach`: logarithms of how many cells the
    four sides are away from the middle of the cell.

    Args:
        features: As of `Task.build_head`.
        num_classes: C.
        dropout: Rate before the last convolutions.
    """
    return centre_branches(pyramid(features), num_classes, dropout)


def centre_branches(x: Any, num_classes: int, dropout: float) -> dict[str, Any]:
    """Returns what `centre_detector` does, from the map of `pyramid`."""
    return {
        name: branch(x, name, width, prior, dropout)
        for name, width, prior in (("heat", num_classes, PRIOR_LOGIT), ("reach", 4, PRIOR_REACH))
    }


def pyramid(features: Sequence[Any]) -> Any:
    """Returns one map of the grid of cells, [B, h4, w4, 64], from maps of every size."""
    size = [math.ceil(side / CELL) for side in features[0].shape[1:3]]
    coarse = _levels(features, size[0] + 1)
    x = convolve(coarse[-1], 1)
    for each in reversed(coarse[:-1]):
        enlarged = enlarge(x, each.shape[1:3])
        x = convolve(layers.Add()([enlarged, convolve(each, 1)]), 3)
    return enlarge(x, size)


def branch(
    x: Any, name: str, width: int, prior: float, dropout: float, hidden: int = _WIDTH
) -> Any:
    """Returns an output of every cell, float32 [B, h4, w4, width].

    Args:
        x: Of `pyramid`.
        name: Of the last layer.
        width: Values a cell.
        prior: What an untrained branch says everywhere, nearly.
        dropout: Rate before the last convolution.
        hidden: Channels before it.
    """
    x = convolve(x, 3, hidden)
    if dropout > 0:
        x = layers.SpatialDropout2D(dropout, name=f"{name}_dropout")(x)
    return layers.Conv2D(
        width,
        1,
        kernel_initializer=keras.initializers.RandomNormal(stddev=0.01),
        bias_initializer=keras.initializers.Constant(prior),
        dtype="float32",
        name=name,
    )(x)


def _levels(features: Sequence[Any], most: int) -> list[Any]:
    """Returns the last map of about each halving that is no higher than `most`, finest first.

    Finer ones say little of what is there: they are taken where there is no other.
    """
    levels: list[Any] = []
    for each in [each for each in features if each.shape[1] <= most] or features[-1:]:
        if levels and levels[-1].shape[1] < _HALVED * each.shape[1]:
            levels.pop()
        levels.append(each)
    return levels


def convolve(x: Any, side: int, width: int = _WIDTH) -> Any:
    """Returns a convolution of `side` cells a side and `width` channels, normalised, with ReLU."""
    x = layers.Conv2D(width, side, padding="same", use_bias=False)(x)
    return layers.ReLU()(layers.BatchNormalization()(x))


def enlarge(x: Any, size: Sequence[int]) -> Any:
    """Returns a map of about a whole fraction of a size at that size.

    Repeated, then cut or padded: a map of 7 resized to 13 is one of 12 in ONNX.
    """
    factors = [max(1, round(wanted / has)) for wanted, has in zip(size, x.shape[1:3], strict=True)]
    if factors != [1, 1]:
        x = layers.UpSampling2D(factors)(x)
    missing = [wanted - has for wanted, has in zip(size, x.shape[1:3], strict=True)]
    if any(each > 0 for each in missing):
        x = layers.ZeroPadding2D([(0, max(0, each)) for each in missing])(x)
    if any(each < 0 for each in missing):
        x = layers.Cropping2D([(0, max(0, -each)) for each in missing])(x)
    return x


def find_peaks(heat: Any, reach: Any, most: int) -> dict[str, Any]:
    """Returns `boxes` [B, N, 4], `scores` [B, N] by falling score, and `classes` int32 [B, N].

    A centre is a cell that no neighbour exceeds, which stands for non-maximum suppression. Works on
    tensors and on those of a model under construction, with standard operations alone.

    Args:
        heat: As the head returns it.
        reach: The same.
        most: N, but for a smaller grid.
    """
    return detect(heat, reach, most)[0]


def detect(heat: Any, reach: Any, most: int) -> tuple[dict[str, Any], Any]:
    """Returns what `find_peaks` does, and the cells of the centres, int32 [B, N]."""
    ops = keras.ops
    _, height, width, num_classes = heat.shape
    peaks = ops.reshape(peak_logits(heat), (-1, height * width * num_classes))
    number = min(most, height * width * num_classes)
    logits, places = ops.top_k(peaks, number)
    cells = places // num_classes
    middle = ops.tile(middles(cells, width), (1, 1, 2))
    # Within the image, but for cells that its border cuts.
    limits = np.array([width, height, width, height], np.float32) * CELL
    boxes = boxes_around(middle, read_cells(reach, cells))
    boxes = ops.minimum(ops.maximum(boxes, 0.0), limits)
    scores = ops.sigmoid(logits)
    return {"boxes": boxes, "scores": scores, "classes": places % num_classes}, cells


def peak_logits(heat: Any) -> Any:
    """Returns the logits [B, h, w, C] of cells that no neighbour exceeds; elsewhere p is 0.

    Of equal neighbours, which int8 has often, the last one is a peak.
    """
    ops = keras.ops
    _, height, width, _ = heat.shape
    # Of the 9 cells of a window no two have the same.
    rows, columns = np.mgrid[:height, :width]
    order = _TIE_BREAK * (3 * rows + columns)[None, :, :, None].astype(np.float32)
    ranked = heat + order
    highest = ops.max_pool(ranked, 3, strides=1, padding="same")
    return ops.where(ranked >= highest, heat, _NO_PEAK)


def read_cells(values: Any, cells: Any) -> Any:
    """Returns the values [B, N, F] of cells int32 [B, N] of a map [B, h, w, F]."""
    _, height, width, depth = values.shape
    flat = keras.ops.reshape(values, (-1, height * width, depth))
    return keras.ops.take_along_axis(flat, keras.ops.expand_dims(cells, -1), axis=1)


def middles(cells: Any, width: int) -> Any:
    """Returns the middles (x, y) [..., 2] in pixels of cells int32 [...] of a grid of a width."""
    places = keras.ops.stack([cells % width, cells // width], axis=-1)
    return (keras.ops.cast(places, "float32") + 0.5) * CELL


def boxes_around(middle: Any, reach: Any) -> Any:
    """Returns the boxes [..., 4] that cells say.

    Args:
        middle: Of the cells, [..., 4] as (x, y, x, y), pixels.
        reach: Of the head, [..., 4].
    """
    sides = keras.ops.exp(keras.ops.minimum(reach, _MAX_REACH))
    return middle + sides * np.array([-CELL, -CELL, CELL, CELL], np.float32)
