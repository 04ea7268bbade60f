"""The user's own `.keras` file: checked, loaded with safe_mode on, and given the task's head.

The file takes pixels 0..255 [B, H, W, C] and returns features, or classes; H and W are fixed by the
file or None.
"""

import json
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
from keras import layers

from kfp_vision.components.shared.architectures.norms import set_norm_momentum
from kfp_vision.components.shared.storage import download
from kfp_vision.components.shared.tasks import Task

__all__ = ["attach_task", "load_user_model", "read_input_size"]

_CLASSIFIER_ACTIVATIONS = (keras.activations.softmax, keras.activations.sigmoid)
_CONTRACT = "A model file must take one batch of pixels [B, height, width, channels]"


def _layer_names(config: Any, class_name: str) -> Iterator[str]:
    """Yields the names of all layers of a class in a saved configuration, at any depth."""
    if isinstance(config, list):
        for value in config:
            yield from _layer_names(value, class_name)
    elif isinstance(config, dict):
        if config.get("class_name") == class_name:
            yield config["config"]["name"]
        for value in config.values():
            yield from _layer_names(value, class_name)


def load_user_model(uri: str) -> keras.Model:
    """Returns the model of a `.keras` file with one image input and one output.

    Raises:
        ValueError: It is not such a file, or it holds code or layers that Keras does not have.
        StorageError: It cannot be reached.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        download(uri, path)
        if not path.is_file() or not zipfile.is_zipfile(path):
            raise ValueError(
                "`architecture` must be a name of the zoo or the URI of a `.keras` file. "
                f"Received: {uri!r}, which is not a Keras archive. Write it with "
                "`model.save('model.keras')`."
            )
        with zipfile.ZipFile(path) as archive:
            if "config.json" not in archive.namelist():
                raise ValueError(
                    "A `.keras` file must hold config.json. "
                    f"Received: {uri!r} with {archive.namelist()[:5]}"
                )
            config = json.loads(archive.read("config.json"))
        lambdas = sorted(set(_layer_names(config, "Lambda")))
        if lambdas:
            raise ValueError(
                "A model file must not hold Lambda layers, because loading one runs code from the "
                f"file. Received: {uri!r} with {lambdas}. Write them with layers of Keras "
                "(Rescaling, Normalization, Reshape, ...)."
            )
        try:
            model = keras.models.load_model(path, compile=False, safe_mode=True)
        except (TypeError, ValueError, KeyError, OSError) as error:
            raise ValueError(
                "A model file must be made of layers of Keras and fit the installed Keras "
                f"{keras.__version__}. Received: {uri!r}: {error}"
            ) from error
    _check_signature(model, uri)
    set_norm_momentum(model)
    return model


def _check_signature(model: Any, uri: str) -> None:
    """Refuses what is not one image in, one tensor of classes or features out."""
    if not isinstance(model, keras.Model) or not getattr(model, "inputs", None):
        received = f"{type(model).__name__} whose input is not known"
        raise ValueError(
            f"{_CONTRACT}. Received: {uri!r}, a {received}. Give the model a `keras.Input`."
        )
    inputs = [tuple(tensor.shape) for tensor in model.inputs]
    if len(inputs) != 1 or len(inputs[0]) != 4 or inputs[0][-1] not in (1, 3):
        raise ValueError(f"{_CONTRACT} with 1 or 3 channels. Received: {uri!r} with {inputs}")
    outputs = [tuple(tensor.shape) for tensor in model.outputs]
    if len(outputs) != 1 or len(outputs[0]) not in (2, 4) or outputs[0][-1] is None:
        raise ValueError(
            "A model file must return one tensor, features [B, h, w, F] or [B, F], or classes "
            f"[B, C]. Received: {uri!r} with {outputs}"
        )


def read_input_size(model: keras.Model) -> tuple[int | None, int | None]:
    """Returns (height, width) in pixels; None where the model takes any."""
    return tuple(model.inputs[0].shape[1:3])


def _without_classifier(model: keras.Model) -> tuple[Any, bool]:
    """Returns the output before a final softmax or sigmoid, and whether there was one.

    A dense layer keeps its weights: its activation is what is taken away.
    """
    output = model.outputs[0]
    last = output._keras_history.operation
    activation = getattr(last, "activation", None)
    if isinstance(last, layers.Softmax) or (
        isinstance(last, layers.Activation) and activation in _CLASSIFIER_ACTIVATIONS
    ):
        return last.input, True
    if isinstance(last, layers.Dense) and activation in _CLASSIFIER_ACTIVATIONS:
        last.activation = keras.activations.linear
        return output, True
    return output, False


def attach_task(
    model: keras.Model, pixels: Any, task: Task, num_classes: int, dropout: float
) -> Any:
    """Returns the logits of `task` on `pixels`, by the model's own classes or by a new head.

    Classes [B, num_classes] are kept, as logits. Another number of classes gives way to a head on
    the features below them; features get a head.

    Args:
        model: From `load_user_model`.
        pixels: [B, H, W, C], 0..255, with the model's channels.
        task: What to learn.
        num_classes: C.
        dropout: Rate before a new head.

    Raises:
        ValueError: There is `dropout` but no new head.
    """
    output, is_classifier = _without_classifier(model)
    if len(output.shape) == 2 and output.shape[-1] == num_classes:
        if dropout > 0:
            raise ValueError(
                "`dropout` must be 0 for a model file that has its own classes. "
                f"Received: {dropout}. Put a Dropout layer into the file."
            )
        return keras.Model(model.inputs[0], output, name="user_model")(pixels)
    last = output._keras_history.operation
    if is_classifier and isinstance(last, layers.Dense):
        output = last.input
    features = keras.Model(model.inputs[0], output, name="user_model")(pixels)
    if len(features.shape) == 2:
        features = layers.Reshape((1, 1, features.shape[-1]), name="as_map")(features)
    return task.build_head(features, num_classes, dropout)
