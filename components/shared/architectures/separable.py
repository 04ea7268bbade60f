"""The small depthwise-separable network: the default, because it is fast on a CPU.

Shapes: pixels [B, H, W, C] float32 0..255, features [B, h, w, 128], short side of h, w 4 to 8.
Sources: MobileNet, Howard et al., 2017, arXiv:1704.04861 (separable blocks); MobileNetV2, Sandler
et al., 2018, arXiv:1801.04381 (no activation between depthwise and pointwise, skips).
"""

import math
from typing import Any

from keras import layers

from kfp_vision.components.shared.architectures.stochastic_depth import drop_branch, linear_rates

__all__ = ["build_features", "choose_strides"]

_WIDTHS = (32, 48, 64)
_BLOCK_WIDTH = 128
_NUM_BLOCKS = 3


def choose_strides(short_side: int) -> list[int]:
    """Returns the strides of the three plain convolutions and the blocks after them.

    Together they bring `short_side` pixels down to 8 or the next size below it. Large images are
    reduced by 4 at once: at full resolution a layer costs more than all the blocks.
    """
    halvings = max(1, math.ceil(math.log2(short_side / 8)))
    convolutions = {1: [2, 1, 1], 2: [2, 1, 2], 3: [2, 2, 2]}.get(halvings, [4, 2, 2])
    left = max(0, halvings - 4)
    return convolutions + [2 if index < left else 1 for index in range(max(_NUM_BLOCKS, left))]


def _convolution(x: Any, width: int, stride: int, name: str) -> Any:
    # A stride of 4 with a 3x3 kernel would leave pixels unseen.
    kernel = 3 if stride < 4 else 5
    x = layers.Conv2D(width, kernel, stride, padding="same", use_bias=False, name=name)(x)
    x = layers.BatchNormalization(name=f"{name}_norm")(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def _block(inputs: Any, stride: int, drop_rate: float, name: str) -> Any:
    x = layers.DepthwiseConv2D(3, stride, padding="same", use_bias=False, name=f"{name}_depthwise")(
        inputs
    )
    x = layers.Conv2D(_BLOCK_WIDTH, 1, use_bias=False, name=f"{name}_pointwise")(x)
    x = layers.BatchNormalization(name=f"{name}_norm")(x)
    if x.shape == inputs.shape:
        x = layers.Add(name=f"{name}_add")([inputs, drop_branch(x, drop_rate, f"{name}_drop")])
    return layers.ReLU(name=f"{name}_relu")(x)


def build_features(pixels: Any, stochastic_depth: float) -> Any:
    """Returns the feature map of `pixels`.

    Args:
        pixels: [B, H, W, C], 0..255.
        stochastic_depth: Drop rate of the deepest block.
    """
    strides = choose_strides(min(pixels.shape[1:3]))
    x = layers.Rescaling(1 / 127.5, offset=-1.0, name="scale_pixels")(pixels)
    for index, width in enumerate(_WIDTHS):
        x = _convolution(x, width, strides[index], f"conv{index + 1}")
    block_strides = strides[len(_WIDTHS) :]
    rates = linear_rates(stochastic_depth, len(block_strides))
    for index, (stride, rate) in enumerate(zip(block_strides, rates, strict=True)):
        x = _block(x, stride, rate, f"block{index + 1}")
    return x
