"""Residual networks of basic blocks: ResNet-20 for small images and an 18-layer ResNet-RS.

Shapes: pixels [B, H, W, C] float32 0..255, features [B, h, w, F].
Sources: He et al., 2016, arXiv:1512.03385 (blocks, ResNet-20); He et al., 2019, arXiv:1812.01187
(stem and shortcut D); Bello et al., 2021, arXiv:2103.07579 (ResNet-RS).
"""

from typing import Any

from keras import layers

from kfp_vision.components.shared.architectures.stochastic_depth import drop_branch, linear_rates

__all__ = ["build_resnet20", "build_resnet_rs_18"]

_SQUEEZE_RATIO = 0.25


def _convolution(
    x: Any, width: int, stride: int, name: str, *, kernel: int = 3, relu: bool = True
) -> Any:
    x = layers.Conv2D(width, kernel, stride, padding="same", use_bias=False, name=name)(x)
    x = layers.BatchNormalization(name=f"{name}_norm")(x)
    return layers.ReLU(name=f"{name}_relu")(x) if relu else x


def _shortcut(x: Any, width: int, stride: int, name: str) -> Any:
    """Returns shortcut D: average before the 1x1, which alone would skip 3 of 4 positions."""
    if stride > 1:
        x = layers.AveragePooling2D(stride, padding="same", name=f"{name}_pool")(x)
    if x.shape[-1] != width:
        x = _convolution(x, width, 1, name, kernel=1, relu=False)
    return x


def _squeeze_excite(x: Any, name: str) -> Any:
    """Returns x with its channels gated by their means (Hu et al., 2018, arXiv:1709.01507)."""
    width = x.shape[-1]
    gate = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_squeeze")(x)
    gate = layers.Conv2D(int(width * _SQUEEZE_RATIO), 1, activation="relu", name=f"{name}_in")(gate)
    gate = layers.Conv2D(width, 1, activation="sigmoid", name=f"{name}_out")(gate)
    return layers.Multiply(name=f"{name}_excite")([x, gate])


def _stages(
    x: Any,
    widths: tuple[int, ...],
    strides: tuple[int, ...],
    blocks: int,
    stochastic_depth: float,
    *,
    squeeze_excite: bool,
) -> Any:
    rates = linear_rates(stochastic_depth, blocks * len(widths))
    for stage, (width, first_stride) in enumerate(zip(widths, strides, strict=True)):
        for block in range(blocks):
            name = f"stage{stage + 1}_block{block + 1}"
            stride = first_stride if block == 0 else 1
            branch = _convolution(x, width, stride, f"{name}_conv1")
            branch = _convolution(branch, width, 1, f"{name}_conv2", relu=False)
            if squeeze_excite:
                branch = _squeeze_excite(branch, f"{name}_se")
            branch = drop_branch(branch, rates[stage * blocks + block], f"{name}_drop")
            shortcut = _shortcut(x, width, stride, f"{name}_shortcut")
            x = layers.Add(name=f"{name}_add")([shortcut, branch])
            x = layers.ReLU(name=f"{name}_relu")(x)
    return x


def build_resnet20(pixels: Any, stochastic_depth: float) -> Any:
    """Returns the features of He et al., section 4.2, n = 3, with shortcut D for their padding."""
    x = layers.Rescaling(1 / 127.5, offset=-1.0, name="scale_pixels")(pixels)
    x = _convolution(x, 16, 1, "stem")
    return _stages(x, (16, 32, 64), (1, 2, 2), 3, stochastic_depth, squeeze_excite=False)


def build_resnet_rs_18(pixels: Any, stochastic_depth: float) -> Any:
    """Returns the features of ResNet-RS at a depth of 18.

    Below 128 and 64 pixels the first reductions are left out, so that the map keeps 4x4 positions.
    """
    short_side = min(pixels.shape[1:3])
    x = layers.Rescaling(1 / 127.5, offset=-1.0, name="scale_pixels")(pixels)
    x = _convolution(x, 32, 1 if short_side < 128 else 2, "stem1")
    x = _convolution(x, 32, 1, "stem2")
    x = _convolution(x, 64, 1, "stem3")
    strides = (1 if short_side < 64 else 2, 2, 2, 2)
    return _stages(x, (64, 128, 256, 512), strides, 2, stochastic_depth, squeeze_excite=True)
