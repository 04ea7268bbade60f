"""The numbers that layers compute with: bfloat16 on accelerators that have it, else float32.

Weights, statistics, losses and logits are float32 always. bfloat16 has the range of float32, so
that gradients need no scaling (Kalamkar et al., 2019, arXiv:1905.12322).
"""

from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf
from keras import layers

__all__ = ["choose_precision", "find_accelerator", "read_precision", "set_precision"]

# NVIDIA's first with bfloat16 in its tensor cores is Ampere.
_FIRST_CAPABILITY = (8, 0)
# Next to no time, and rounding would lose what pixels and means of many numbers have.
_EXACT = (
    layers.Rescaling,
    layers.Normalization,
    layers.GlobalAveragePooling2D,
    layers.GlobalMaxPooling2D,
)


def choose_precision(setting: str, kind: str, capability: tuple[int, int] | None) -> str:
    """Returns `float32` or `mixed_bfloat16`.

    Args:
        setting: One of `training_values.PRECISIONS`; all but `auto` are returned as they are.
        kind: `CPU`, `GPU` or `TPU`: the devices that train.
        capability: Compute capability of the weakest of them; None for what is not from NVIDIA.
    """
    if setting != "auto":
        return setting
    is_able = kind == "TPU" or (kind == "GPU" and (capability or (0, 0)) >= _FIRST_CAPABILITY)
    return "mixed_bfloat16" if is_able else "float32"


def find_accelerator() -> tuple[str, tuple[int, int] | None]:
    """Returns kind and compute capability of the devices of this machine that train."""
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return "CPU", None
    found = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    capabilities = [details.get("compute_capability") for details in found]
    return "GPU", None if None in capabilities else min(capabilities)


def set_precision(model: keras.Model, precision: str) -> None:
    """Makes the layers of a model compute in a precision; what it has learned stays as it is.

    Args:
        model: Not traced since the last change.
        precision: `float32` or `mixed_bfloat16`; in the latter the layers that scale pixels, pool
            the features and return the outputs stay exact.
    """
    exact = {id(tensor._keras_history.operation) for tensor in model.outputs}
    for layer in _layers(model):
        is_exact = id(layer) in exact or isinstance(layer, _EXACT)
        layer.dtype_policy = "float32" if is_exact else precision


def read_precision(model: keras.Model) -> str:
    """Returns the precision that a model computes in."""
    mixed = any(layer.compute_dtype == "bfloat16" for layer in _layers(model))
    return "mixed_bfloat16" if mixed else "float32"


def _layers(model: Any) -> Iterator[Any]:
    """Yields the layers of a model and of the models within it."""
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from _layers(layer)
        elif not isinstance(layer, layers.InputLayer):
            yield layer
