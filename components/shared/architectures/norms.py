"""BatchNorm statistics that are usable after a short training."""

from collections.abc import Iterator
from typing import Any

from keras import layers

__all__ = ["freeze_norms", "norm_layers", "set_norm_momentum"]

_MOMENTUM = 0.9


def set_norm_momentum(model: Any) -> None:
    """Sets the momentum of every BatchNorm of a model and of the models within it to 0.9.

    At Keras' 0.99 the statistics of inference are still near their start after 80 steps.
    """
    for layer in norm_layers(model):
        layer.momentum = _MOMENTUM


def freeze_norms(model: Any) -> None:
    """Keeps statistics, scales and offsets of every BatchNorm as they are, in training too."""
    for layer in norm_layers(model):
        layer.trainable = False


def norm_layers(model: Any) -> Iterator[Any]:
    """Yields every BatchNorm of a model and of the models within it."""
    for layer in getattr(model, "layers", []):
        if isinstance(layer, layers.BatchNormalization):
            yield layer
        yield from norm_layers(layer)
