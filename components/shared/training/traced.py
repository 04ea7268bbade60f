"""A function that TensorFlow compiles once for batches and chunks of any length."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from kfp_vision.components.shared.runtime.progress import Progress

__all__ = ["Traced"]


class Traced:
    """A function of arrays that is traced once, whatever the lengths of its first axes.

    For every length of the other axes it is traced anew: a batch that is halved, for instance.

    Args:
        function: Of structures of tensors; never called before the first call of this. Its control
            flow is that of TensorFlow: rewriting Python's takes longer than tracing does.
        num_free_axes: How many first axes may have other lengths in the next call.
    """

    def __init__(self, function: Callable[..., Any], num_free_axes: int) -> None:
        self._function = function
        self._num_free_axes = num_free_axes
        self._compiled: dict[tuple[tf.TensorSpec, ...], Callable[..., Any]] = {}

    def __call__(self, *arguments: Any) -> Any:
        """Returns what the compiled function returns."""
        tensors = tf.nest.map_structure(tf.constant, arguments)
        signature = tf.nest.map_structure(self._free, tensors)
        key = tuple(tf.nest.flatten(signature))
        if key in self._compiled:
            return self._compiled[key](*tensors)
        self._compiled[key] = tf.function(
            self._function, input_signature=signature, autograph=False
        )
        # The first call compiles: of a large network for a minute.
        with Progress("compile"):
            return self._compiled[key](*tensors)

    def _free(self, tensor: tf.Tensor) -> tf.TensorSpec:
        free = min(self._num_free_axes, len(tensor.shape))
        return tf.TensorSpec([None] * free + tensor.shape[free:], tensor.dtype)
