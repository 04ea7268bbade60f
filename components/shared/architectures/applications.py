"""Backbones of keras.applications, with random weights or those of ImageNet.

Shapes: pixels [B, H, W, 3] float32 0..255, features [B, h, w, F]. The preprocessing that each
network expects is inside it.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
from keras import layers

from kfp_vision.components.shared.architectures.stochastic_depth import linear_rates

__all__ = ["APPLICATIONS", "Application", "build_features"]


@dataclasses.dataclass(frozen=True)
class Application:
    """One network of keras.applications.

    Attributes:
        build: The function of keras.applications.
        scales_pixels: Whether the network takes pixels 0..255; otherwise -1..1.
        droppable: Whether its residual branches have stochastic depth.
    """

    build: Callable[..., keras.Model]
    scales_pixels: bool
    droppable: bool = False


APPLICATIONS = {
    "mobilenet_v2": Application(keras.applications.MobileNetV2, scales_pixels=False),
    "mobilenet_v3_small": Application(keras.applications.MobileNetV3Small, scales_pixels=True),
    "mobilenet_v3_large": Application(keras.applications.MobileNetV3Large, scales_pixels=True),
    "efficientnet_v2_b0": Application(
        keras.applications.EfficientNetV2B0, scales_pixels=True, droppable=True
    ),
    "convnext_tiny": Application(keras.applications.ConvNeXtTiny, scales_pixels=True),
}


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
        raise ConnectionError(
            f"`{name}_imagenet` downloads its weights once, into ~/.keras. Received: {error}. "
            f"Connect to the internet, or use `{name}` (random weights) or "
            "`efficientnet_lite0_imagenet` (weights from a Python package)."
        ) from error
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
