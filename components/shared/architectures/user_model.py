"""The user's own `.keras` file: checked, and loaded with safe_mode on.

The file takes pixels 0..255 [B, H, W, C] and returns features, or classes; H and W are fixed by the
file or None.
"""

import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from kfp_vision.components.shared.architectures.model_file import unpack_model_file
from kfp_vision.components.shared.architectures.user_head import read_end

__all__ = [
    "Shapes",
    "check_outputs",
    "check_size",
    "load_user_model",
    "read_input_size",
    "read_shapes",
]

_CONTRACT = "A model file must take one batch of pixels [B, height, width, channels]"
# Pixels a side at which a model of any size is tried out.
_TRIED_SIDE = 224


class Shapes(NamedTuple):
    """Of the input and of the output of a model, the batch first; None for any size."""

    input: tuple[int | None, ...]
    output: tuple[int | None, ...]


# SHA-256 of the content of a file -> its shapes.
_known_shapes: dict[str, Shapes] = {}


def load_user_model(uri: str) -> keras.Model:
    """Returns the model of a `.keras` file with one image input and one output, in float32.

    Raises:
        ValueError: It is not such a file, or it holds code or layers that Keras does not have.
        StorageError: It cannot be reached.
    """
    with tempfile.TemporaryDirectory() as folder:
        return _load(unpack_model_file(uri, Path(folder)), uri)


def read_shapes(uri: str) -> Shapes:
    """Returns the shapes of the model of a `.keras` file.

    A process loads the same content once: that takes longer than reading it.

    Raises:
        ValueError: As `load_user_model`.
        StorageError: It cannot be reached.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = unpack_model_file(uri, Path(folder))
        content = hashlib.sha256()
        for member in sorted(path.iterdir()):
            with member.open("rb") as file:
                hashlib.file_digest(file, lambda: content)
        digest = content.hexdigest()
        if digest not in _known_shapes:
            model = _load(path, uri)
            _known_shapes[digest] = Shapes(model.inputs[0].shape, model.outputs[0].shape)
    return _known_shapes[digest]


def _load(path: Path, uri: str) -> keras.Model:
    try:
        model = keras.models.load_model(path, compile=False, safe_mode=True)
    except (AttributeError, IndexError, KeyError, OSError, TypeError, ValueError) as error:
        raise ValueError(
            f"A model file must fit the installed Keras {keras.__version__}. Received: "
            f"{uri!r}, written by Keras {_written_by(path)}: {error}"
        ) from error
    _check_signature(model, uri)
    return model


def _written_by(folder: Path) -> str:
    try:
        metadata = json.loads((folder / "metadata.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "of an unknown version"
    return str(metadata.get("keras_version", "of an unknown version"))


def _check_signature(model: Any, uri: str) -> None:
    """Refuses what is not one image in, one tensor of classes or features out."""
    if not isinstance(model, keras.Model) or not getattr(model, "inputs", None):
        received = f"{type(model).__name__} whose input is not known"
        raise ValueError(
            f"{_CONTRACT}. Received: {uri!r}, a {received}. Give the model a `keras.Input`."
        )
    inputs = [tuple(tensor.shape) for tensor in model.inputs]
    if len(inputs) != 1 or len(inputs[0]) != 4 or inputs[0][-1] not in (1, 3):
        raise ValueError(
            f"{_CONTRACT} with 1 or 3 channels, the last axis. Received: {uri!r} with {inputs}"
        )
    outputs = [tuple(tensor.shape) for tensor in model.outputs]
    if len(outputs) != 1 or len(outputs[0]) not in (2, 4) or outputs[0][-1] is None:
        raise ValueError(
            "A model file must return one tensor, features [B, h, w, F] or [B, F], or classes "
            f"[B, C]. Received: {uri!r} with {outputs}"
        )


def read_input_size(model: keras.Model) -> tuple[int | None, int | None]:
    """Returns (height, width) in pixels; None where the model takes any."""
    return tuple(model.inputs[0].shape[1:3])


def check_size(model: keras.Model, uri: str, image_shape: tuple[int, int, int]) -> None:
    """Refuses images of another size than that of the file.

    Raises:
        ValueError: They have another height or width.
    """
    fixed = read_input_size(model)
    if any(size not in (None, side) for side, size in zip(image_shape, fixed, strict=False)):
        raise ValueError(
            f"`image_size` must be what {uri!r} takes, {fixed}. "
            f"Received: {image_shape[:2]}. Leave `image_size` at 0."
        )


def check_outputs(model: keras.Model, uri: str) -> None:
    """Refuses a model with weights or outputs that are not finite, or blind to the image.

    Raises:
        ValueError: It is such a model, with these weights.
    """
    broken = [weight.path for weight in model.weights if not np.isfinite(np.array(weight)).all()]
    if broken:
        raise ValueError(
            f"The weights of a model file must be finite. Received: {uri!r} with NaN or infinity "
            f"in {broken[:5]}. Save the model from before its training diverged."
        )
    height, width = (side or _TRIED_SIDE for side in read_input_size(model))
    channels = model.inputs[0].shape[-1]
    images = np.zeros((4, height, width, channels), np.float32)
    images[1] = 255.0
    images[2] = np.random.default_rng(0).integers(0, 256, images[2].shape)
    images[3, : height // 2] = np.linspace(0, 255, width)[:, None]
    below_head = keras.Model(model.inputs[0], read_end(model).features)
    features = np.asarray(below_head(images, training=False)).reshape(len(images), -1)
    if not np.isfinite(features).all():
        raise ValueError(
            "A model file must return finite numbers for pixels from 0 to 255. "
            f"Received: {uri!r}, which returns NaN or infinity. Check how it scales the pixels."
        )
    if np.abs(features - features[0]).max() <= 1e-6 * np.abs(features).max():
        raise ValueError(
            "The output of a model file must depend on the image. "
            f"Received: {uri!r}, which computes the same from black, white and random pixels. "
            "Check for weights that are zero and activations that let nothing through."
        )
