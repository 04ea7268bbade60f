"""A small U-Net decoder: the coarse maps say what, the fine ones where.

Shapes: maps [B, h, w, F] -> logits [B, H, W, C] at the size of the image.
References: Ronneberger et al., 2015, arXiv:1505.04597; Chen et al., 2018, arXiv:1802.02611, for
the end at a quarter of the image; Howard et al., 2019, arXiv:1905.02244, section 6.4, for the gate
of the coarsest map.
"""

from collections.abc import Sequence
from typing import Any

from keras import layers

from kfp_vision.components.shared.architectures.feature_maps import halved_maps

__all__ = ["mask_decoder"]

# Channels at each halving, coarsest first.
_WIDTHS = (128, 96, 64, 48, 32)
# Maps finer than a quarter cost more than all below them; images of fewer pixels a side need those
# of a half.
_SMALL = 128


def mask_decoder(features: Sequence[Any], num_classes: int, dropout: float) -> Any:
    """Returns logits float32 [B, H, W, C].

    Args:
        features: As of `Task.build_head`.
        num_classes: C.
        dropout: Rate before the last convolution.
    """
    image, *halved = halved_maps(features)
    height, width = image.shape[1:3]
    finest = height / (2 if min(height, width) < _SMALL else 4)
    maps = [each for each in halved if each.shape[1] < 1.5 * finest] or [(halved or [image])[-1]]
    coarse, *skips = reversed(maps)
    x = _convolve(coarse, _WIDTHS[0], 1)
    gate = layers.GlobalAveragePooling2D(keepdims=True, name="context")(coarse)
    gate = layers.Conv2D(_WIDTHS[0], 1, activation="sigmoid", name="context_gate")(gate)
    x = layers.Multiply()([x, gate])
    for channels, skip in zip(_WIDTHS[1:], skips, strict=False):
        enlarged = layers.Resizing(*skip.shape[1:3])(x)
        x = layers.Concatenate()([enlarged, _convolve(skip, channels, 1)])
        x = _convolve(layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x), channels, 1)
    if dropout > 0:
        x = layers.SpatialDropout2D(dropout, name="head_dropout")(x)
    logits = layers.Conv2D(num_classes, 1, dtype="float32", name="logits")(x)
    return layers.Resizing(height, width, dtype="float32", name="full_size")(logits)


def _convolve(x: Any, width: int, side: int) -> Any:
    x = layers.Conv2D(width, side, padding="same", use_bias=False)(x)
    return layers.ReLU()(layers.BatchNormalization()(x))
