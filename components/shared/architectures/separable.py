"""The small depthwise-separable network: the default on CPU, because it is fast there.

Shapes: pixels [B, H, W, C] float32 0..255, features [B, h, w, F] with h and w of 4 to 8.
Sources: MobileNet, Howard et al., 2017, arXiv:1704.04861 (depthwise + pointwise blocks).
"""

from typing import Any

from keras import layers

__all__ = ["build_features"]


def _block(inputs: Any, width: int, stride: int, name: str) -> Any:
    x = layers.DepthwiseConv2D(
        3, stride, padding="same", use_bias=False, name=f"{name}_depthwise"
    )(inputs)
    x = layers.BatchNormalization(momentum=0.9, name=f"{name}_depthwise_norm")(x)
    x = layers.Conv2D(width, 1, use_bias=False, name=f"{name}_pointwise")(x)
    x = layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def build_features(pixels: Any, stochastic_depth: float) -> Any:
    """Returns the feature map of `pixels`."""
    del stochastic_depth
    x = layers.Rescaling(1 / 127.5, offset=-1.0, name="scale_pixels")(pixels)
    x = layers.Conv2D(32, 3, 2, padding="same", use_bias=False, name="stem")(x)
    x = layers.BatchNormalization(momentum=0.9, name="stem_norm")(x)
    x = layers.ReLU(name="stem_relu")(x)
    for index, (width, stride) in enumerate([(64, 1), (64, 1), (128, 2), (128, 1), (128, 1)]):
        x = _block(x, width, stride, f"block{index + 1}")
    return x
