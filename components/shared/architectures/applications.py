"""Backbones of keras.applications, with random weights or those of ImageNet.

Shapes: pixels [B, H, W, 3] float32 0..255, features [B, h, w, F]. The preprocessing that each
network expects is inside it.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
from keras import layers

# Private, as Keras tells nobody where its downloads are.
from keras.src.backend.config import keras_home

from kfp_vision.components.shared.architectures.stochastic_depth import linear_rates

__all__ = ["APPLICATIONS", "Application", "build_features", "check_downloaded"]


@dataclasses.dataclass(frozen=True)
class Application:
    """One network of keras.applications.

    Attributes:
        build: The function of keras.applications.
        weights_file: Name of the downloaded file, for images of 224 pixels a side.
        scales_pixels: Whether the network takes pixels 0..255; otherwise -1..1.
        droppable: Whether its residual branches have stochastic depth.
    """

    build: Callable[..., keras.Model]
    weights_file: str
    scales_pixels: bool
    droppable: bool = False


APPLICATIONS = {
    "mobilenet_v2": Application(
        keras.applications.MobileNetV2,
        "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5",
        scales_pixels=False,
    ),
    "mobilenet_v3_small": Application(
        keras.applications.MobileNetV3Small,
        "weights_mobilenet_v3_small_224_1.0_float_no_top_v2.h5",
        scales_pixels=True,
    ),
    "mobilenet_v3_large": Application(
        keras.applications.MobileNetV3Large,
        "weights_mobilenet_v3_large_224_1.0_float_no_top_v2.h5",
        scales_pixels=True,
    ),
    "efficientnet_v2_b0": Application(
        keras.applications.EfficientNetV2B0,
        "efficientnetv2-b0_notop.h5",
        scales_pixels=True,
        droppable=True,
    ),
    "convnext_tiny": Application(
        keras.applications.ConvNeXtTiny, "convnext_tiny_notop.h5", scales_pixels=True
    ),
}


def _refusal(name: str, received: object) -> ConnectionError:
    return ConnectionError(
        f"`{name}_imagenet` downloads its weights once, into {keras_home()}. "
        f"Received: {received}. Connect to the internet, or use `{name}` (random weights) or "
        "`efficientnet_lite0_imagenet` (weights from a Python package)."
    )


def check_downloaded(name: str) -> None:
    """Refuses a network whose weights of ImageNet Keras has not downloaded yet.

    Args:
        name: A key of `APPLICATIONS`.

    Raises:
        ConnectionError: The file is not on this machine.
    """
    file = Path(keras_home()).expanduser() / "models" / APPLICATIONS[name].weights_file
    if not file.is_file():
        raise _refusal(name, f"no file {file}")


def build_features(
    pixels: Any, stochastic_depth: float, *, name: str, weights: str | None = None
) -> Any:
    """Returns the feature map of `pixels` by the network `name`, a key of `APPLICATIONS`.

    Args:
        pixels: [B, H, W, 3], 0..255.
        stochastic_depth: Drop rate of the deepest branch, where the network is droppable.
        name: A key of `APPLICATIONS`.
        weights: `imagenet`, downloaded by Keras once, or None for random ones.

    Raises:
        ConnectionError: The weights cannot be downloaded.
    """
    application = APPLICATIONS[name]
    try:
        backbone = application.build(
            include_top=False, weights=weights, input_shape=tuple(pixels.shape[1:])
        )
    except Exception as error:
        # keras.utils.get_file raises no narrower class.
        if not str(error).startswith("URL fetch failure"):
            raise
        raise _refusal(name, error) from error
    branches = [
        layer
        for layer in backbone.layers
        if isinstance(layer, layers.Dropout) and layer.noise_shape is not None
    ]
    for layer, rate in zip(branches, linear_rates(stochastic_depth, len(branches)), strict=True):
        layer.rate = rate
    if not application.scales_pixels:
        pixels = layers.Rescaling(1 / 127.5, offset=-1.0, name="scale_pixels")(pixels)
    return backbone(pixels)
