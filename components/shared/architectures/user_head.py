"""The head of a user's own model: its classes where they fit the task, else a new one.

Shapes: pixels [B, H, W, C], features [B, h, w, F] or [B, F], logits [B, C] of C classes.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from kfp_vision.components.shared.architectures.feature_maps import feature_maps
from kfp_vision.components.shared.tasks import Task

__all__ = ["ModelEnd", "attach_task", "keeps_head", "new_head_input", "read_end"]

_CLASSIFIERS = ("softmax", "sigmoid")
# What may come between a map of each class and its score.
_KEEPING_CHANNELS = (
    layers.Activation,
    layers.Dropout,
    layers.Flatten,
    layers.GlobalAveragePooling2D,
    layers.GlobalMaxPooling2D,
    layers.ReLU,
    layers.Reshape,
)


@dataclasses.dataclass(frozen=True)
class ModelEnd:
    """How a model ends.

    Attributes:
        features: Tensor of the model: what its last dense layer reads or, where there is none at
            the end, its output less a final softmax or sigmoid.
        below_classes: What computes the classes of a classifier reads: the same, or the map below
            a convolution that has a channel for each of them, as in MobileNet.
        dense: That layer; None where there is none.
        scale: Of the logits, by a Rescaling behind it.
        is_classifier: Whether a softmax or sigmoid comes last.
    """

    features: Any
    below_classes: Any
    dense: layers.Dense | None = None
    scale: float = 1.0
    is_classifier: bool = False


def read_end(model: keras.Model) -> ModelEnd:
    """Returns how a model ends, through layers that change no class and models within models."""
    tensor = features = model.outputs[0]
    scale, is_classifier = 1.0, False
    while len(tensor.shape) == 2:
        history = tensor._keras_history
        last = history.operation
        inputs = last._inbound_nodes[history.node_index].input_tensors
        activation = getattr(getattr(last, "activation", None), "__name__", "")
        if isinstance(last, keras.Model) and len(inputs) == 1:
            inner = read_end(last)
            features, below_classes = (
                keras.Model(last.inputs[0], tensor)(inputs[0])
                for tensor in (inner.features, inner.below_classes)
            )
            is_classifier |= inner.is_classifier
            scale *= inner.scale
            return ModelEnd(features, below_classes, inner.dense, scale, is_classifier)
        if isinstance(last, layers.Dense):
            is_classifier |= activation in _CLASSIFIERS
            return ModelEnd(inputs[0], inputs[0], last, scale, is_classifier)
        # Layers and functions of the same name.
        if {type(last).__name__.lower(), activation} & {*_CLASSIFIERS}:
            is_classifier, features = True, inputs[0]
        elif isinstance(last, layers.Rescaling) and last.offset == 0 and np.ndim(last.scale) == 0:
            scale *= last.scale
        elif not isinstance(last, layers.Dropout | layers.Identity) and activation != "linear":
            break
        tensor = inputs[0]
    return ModelEnd(features, _below_class_maps(tensor), is_classifier=is_classifier)


def _below_class_maps(scores: Any) -> Any:
    """Returns what the convolution reads whose channels become scores [B, C]; else the scores."""
    tensor = scores
    while tensor.shape[-1] == scores.shape[-1]:
        history = tensor._keras_history
        last = history.operation
        inputs = last._inbound_nodes[history.node_index].input_tensors
        if isinstance(last, layers.Conv2D):
            return inputs[0]
        if not isinstance(last, _KEEPING_CHANNELS):
            break
        tensor = inputs[0]
    return scores


def keeps_head(shape: tuple[int | None, ...], task: Task, num_classes: int) -> bool:
    """Returns whether the output of a model is one value per class of the task.

    One value is that of the second of two classes, as a sigmoid is trained.

    Args:
        shape: Of the output, the batch first.
        task: What to learn.
        num_classes: C.
    """
    if task.is_spatial or len(shape) != 2:
        return False
    return shape[-1] == num_classes or (
        shape[-1] == 1 and num_classes == 2 and task.name == "binary"
    )


def new_head_input(model: keras.Model) -> Any:
    """Returns the tensor that a new head reads: what is below the file's own classes, if any."""
    end = read_end(model)
    is_classifier = end.is_classifier or (end.dense is not None and end.dense.units == 1)
    return end.below_classes if is_classifier else model.outputs[0]


def attach_task(
    model: keras.Model, pixels: Any, task: Task, num_classes: int, dropout: float
) -> Any:
    """Returns the logits of `task` on `pixels`, by the model's own classes or by a new head.

    Classes [B, num_classes] are kept, as logits; so is one value for two classes. Another number
    of classes gives way to a head on the features below them; features get a head. The last layer
    is always the head, and what it reads are the features.

    Args:
        model: From `load_user_model`.
        pixels: [B, H, W, C], 0..255, with the model's channels.
        task: What to learn.
        num_classes: C.
        dropout: Rate before a new head.

    Raises:
        ValueError: There is `dropout` but no new head, or the model cannot take the size.
    """
    if task.is_spatial:
        unrolled = _on_pixels(functools.partial(_unroll, model), pixels)
        maps = feature_maps(keras.Model(pixels, unrolled))
        return task.build_head(maps, num_classes, dropout)
    end = read_end(model)
    keeps = keeps_head(model.outputs[0].shape, task, num_classes)
    if keeps and dropout > 0:
        raise ValueError(
            "`dropout` must be 0 for a model file that has its own classes. "
            f"Received: {dropout}. Put a Dropout layer into the file."
        )
    output = end.features if keeps else new_head_input(model)
    features = _on_pixels(keras.Model(model.inputs[0], output, name="user_model"), pixels)
    if keeps:
        return _own_head(end, num_classes)(features)
    if len(features.shape) == 2:
        features = layers.Reshape((1, 1, features.shape[-1]), name="as_map")(features)
    return task.build_head([features], num_classes, dropout)


def _unroll(model: keras.Model, pixels: Any) -> Any:
    """Returns the output for pixels of a known size, by the layers of a model one after another.

    All of them have a known size then, also in models that take any, and in models within models.
    """

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        return _unroll(layer, *args) if isinstance(layer, keras.Model) else layer(*args, **kwargs)

    if isinstance(model, keras.Sequential):
        return functools.reduce(lambda x, layer: call(layer, x), model.layers, pixels)
    unrolled = keras.models.clone_model(
        model,
        input_tensors=keras.tree.map_structure(lambda _: pixels, model.input),
        # The very layers, with their weights.
        clone_function=lambda layer: layer,
        call_function=call,
    )
    return unrolled.outputs[0]


def _on_pixels(body: Callable[[Any], Any], pixels: Any) -> Any:
    """Returns what a model computes from pixels.

    Raises:
        ValueError: It cannot take their size.
    """
    try:
        return body(pixels)
    except (ValueError, tf.errors.InvalidArgumentError) as error:
        raise ValueError(
            "A model file must take images of the size of the data, or of `image_size`. "
            f"Received: {tuple(pixels.shape[1:])}: {error}"
        ) from error


def _own_head(end: ModelEnd, num_classes: int) -> layers.Layer:
    """Returns the last layer of a model with its own classes, less a final softmax or sigmoid."""
    width = end.features.shape[-1]
    if end.dense is None and width == num_classes:
        return layers.Activation("linear", dtype="float32", name="logits")
    config: dict[str, Any] = {}
    kernel, bias = np.eye(width), np.zeros(width)
    if end.dense is not None:
        config = end.dense.get_config()
        kernel, bias = end.scale * np.array(end.dense.kernel), np.zeros(end.dense.units)
        if end.dense.use_bias:
            bias = end.scale * np.array(end.dense.bias)
    if len(bias) < num_classes:
        # softmax([0, z]) is sigmoid(z).
        kernel, bias = np.pad(kernel, ((0, 0), (1, 0))), np.pad(bias, (1, 0))
    activation = config.get("activation", "linear")
    head = layers.Dense.from_config(
        {
            **config,
            "name": "logits",
            "units": num_classes,
            "activation": "linear" if activation in _CLASSIFIERS else activation,
            "dtype": "float32",
        }
    )
    head.build((None, width))
    head.set_weights([kernel, bias][: len(head.weights)])
    return head
