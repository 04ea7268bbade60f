"""The model zoo: one table, name -> builder, and what each network needs.

A model takes float32 pixels 0..255 [B, H, W, C] and returns the raw output (logits) of the task;
scaling of the pixels lives inside it, and every layer is one of Keras.
"""

import dataclasses
import difflib
import functools
import math
from collections.abc import Callable
from typing import Any

import keras
from keras import layers

from kfp_vision.components.shared.architectures import (
    applications,
    efficientnet_lite,
    resnet,
    separable,
    squeezenet,
    user_head,
    user_model,
)
from kfp_vision.components.shared.architectures.feature_maps import feature_maps
from kfp_vision.components.shared.architectures.input_size import size_of_area
from kfp_vision.components.shared.architectures.names import is_user_model
from kfp_vision.components.shared.architectures.norms import freeze_norms, set_norm_momentum
from kfp_vision.components.shared.tasks import Task

__all__ = [
    "ARCHITECTURES",
    "USER_AUTO_SIZE",
    "Architecture",
    "build_model",
    "choose_input",
    "keeps_head",
    "optional_regularisers",
    "useful_sizes",
]

# Of a model file that takes any size; that of the pretrained networks.
USER_AUTO_SIZE = 224
# Of a pretrained network: sides over those of the images up to which they are enlarged (`make
# bench-frozen_sides`), and the smaller sides beside the largest useful one.
_ENLARGEMENT, _SHARES, _STEP = 4, (0.5, 0.7, 1.0), 16


@dataclasses.dataclass(frozen=True)
class Architecture:
    """One row of the zoo.

    Attributes:
        build_features: (pixels [B, H, W, C], stochastic depth rate) -> feature map [B, h, w, F].
        auto_size: Pixels a side above which images are made smaller, when no size is asked for.
        min_size: Pixels a side that the network needs.
        channels: Channels that the network needs; None takes 1 and 3.
        droppable: Whether it has residual branches for stochastic depth to drop.
    """

    build_features: Callable[[Any, float], Any]
    auto_size: int = 128
    min_size: int = 8
    channels: int | None = None
    droppable: bool = True


def _application(name: str, weights: str | None) -> Architecture:
    return Architecture(
        functools.partial(applications.build_features, name=name, weights=weights),
        auto_size=224 if weights else 128,
        min_size=32,
        channels=3,
        droppable=applications.APPLICATIONS[name].droppable,
    )


def _lite(name: str, pretrained: bool) -> Architecture:
    return Architecture(
        functools.partial(efficientnet_lite.build_features, name=name, pretrained=pretrained),
        auto_size=efficientnet_lite.LITES[name].auto_size if pretrained else 128,
        min_size=32,
        channels=3,
    )


ARCHITECTURES = {
    "separable": Architecture(separable.build_features),
    "resnet20": Architecture(resnet.build_resnet20, auto_size=64),
    "resnet_rs_18": Architecture(resnet.build_resnet_rs_18),
    **{name: _application(name, None) for name in applications.APPLICATIONS},
    **{f"{name}_imagenet": _application(name, "imagenet") for name in applications.APPLICATIONS},
    **{name: _lite(name, pretrained=False) for name in efficientnet_lite.LITES},
    **{f"{name}_imagenet": _lite(name, pretrained=True) for name in efficientnet_lite.LITES},
    "squeezenet_imagenet": Architecture(
        squeezenet.build_features,
        auto_size=224,
        min_size=32,
        channels=3,
        droppable=False,
    ),
}


def _find(name: str) -> Architecture:
    if name not in ARCHITECTURES:
        close = difflib.get_close_matches(name.lower(), ARCHITECTURES) or sorted(ARCHITECTURES)
        raise ValueError(
            "`architecture` must be `auto`, a name of the zoo or the URI of a `.keras` file. "
            f"Received: {name!r}. Did you mean: {', '.join(close)}?"
        )
    return ARCHITECTURES[name]


def _is_droppable(architecture: str) -> bool:
    """Returns whether a network has residual branches for stochastic depth to drop."""
    return not is_user_model(architecture) and _find(architecture).droppable


def keeps_head(architecture: str, task: Task, num_classes: int) -> bool:
    """Returns whether a network is a model file that has the classes of the task.

    Raises:
        ValueError: The file cannot be used.
        StorageError: The file cannot be reached.
    """
    if not is_user_model(architecture):
        return False
    shapes = user_model.read_shapes(architecture)
    return user_head.keeps_head(shapes.output, task, num_classes)


def optional_regularisers(architecture: str, task: Task, num_classes: int) -> set[str]:
    """Returns which of `dropout` and `stochastic_depth` a network has a place for.

    Raises:
        ValueError: There is no such architecture, or the file cannot be used.
        StorageError: The file cannot be reached.
    """
    if keeps_head(architecture, task, num_classes):
        return set()
    return {"dropout", "stochastic_depth"} if _is_droppable(architecture) else {"dropout"}


def choose_input(
    architecture: str, median_height: int, median_width: int, channels: int
) -> tuple[str, int, int]:
    """Returns (architecture, height, width) for images of this median size in pixels.

    `auto` is `separable`, at any size and number of channels. The shape of the images is kept;
    their area is at most `auto_size` squared, and no side is below `min_size`. A model file
    decides its size itself where it is fixed; elsewhere its area is at most 224 squared.

    Raises:
        ValueError: There is no such architecture, or the file cannot be used.
        StorageError: The file cannot be reached.
    """
    if is_user_model(architecture):
        _, fixed_height, fixed_width, _ = user_model.read_shapes(architecture).input
        height, width = _shrunk(median_height, median_width, USER_AUTO_SIZE)
        return architecture, fixed_height or height, fixed_width or width
    name = "separable" if architecture == "auto" else architecture
    found = _find(name)
    height, width = _shrunk(median_height, median_width, found.auto_size, found.min_size)
    return name, height, width


def useful_sizes(architecture: str, median_height: int, median_width: int) -> list[tuple[int, int]]:
    """Returns up to three (height, width) for a pretrained network of the zoo, smallest first.

    Images of this median size keep their shape, and are enlarged up to four times.
    """
    row = _find(architecture)
    useful = min(row.auto_size, _ENLARGEMENT * math.sqrt(median_height * median_width))
    sides = {max(row.min_size, _STEP * round(share * useful / _STEP)) for share in _SHARES}
    return [size_of_area(median_height, median_width, side, row.min_size) for side in sorted(sides)]


def _shrunk(height: int, width: int, auto_size: int, min_size: int = 1) -> tuple[int, int]:
    """Returns a size of the same shape with an area of at most `auto_size` squared."""
    return size_of_area(height, width, min(auto_size, math.sqrt(height * width)), min_size)


def _with_channels(pixels: Any, channels: int | None, architecture: str) -> Any:
    """Returns pixels with the channels that a network needs; gray becomes RGB."""
    received = pixels.shape[-1]
    if channels is None or channels == received:
        return pixels
    if received != 1:
        raise ValueError(
            f"`{architecture}` takes {channels} channel(s). Received: {received} in the data. "
            "Convert the images to gray, or give the model file an input of 3 channels."
        )
    return layers.Concatenate(name="gray_to_rgb")([pixels] * channels)


def build_model(
    architecture: str,
    task: Task,
    image_shape: tuple[int, int, int],
    num_classes: int,
    *,
    dropout: float = 0.0,
    stochastic_depth: float = 0.0,
    frozen_norms: bool = False,
) -> keras.Model:
    """Returns a model of pixels [B, *image_shape] with the head of `task`.

    Args:
        architecture: A name of the zoo, or the URI of a `.keras` file.
        task: What to learn.
        image_shape: (height, width, channels), channels 1 or 3.
        num_classes: C.
        dropout: Rate before the head.
        stochastic_depth: Drop rate of the deepest residual branch.
        frozen_norms: Whether BatchNorm stays as it is: statistics of millions of images are better
            than those of a batch, and steps are faster.

    Raises:
        ValueError: There is no such architecture, or it cannot take this shape or rate.
        StorageError: The file cannot be reached.
        ConnectionError, ModuleNotFoundError: Pretrained weights are out of reach.
    """
    pixels = keras.Input(image_shape, name="pixels")
    if is_user_model(architecture):
        _check_droppable(architecture, stochastic_depth)
        body = user_model.load_user_model(architecture)
        user_model.check_size(body, architecture, image_shape)
        adapted = _with_channels(pixels, body.inputs[0].shape[-1], architecture)
        if frozen_norms:
            freeze_norms(body)
        logits = user_head.attach_task(body, adapted, task, num_classes, dropout)
        model = keras.Model(pixels, logits)
        set_norm_momentum(model)
        if not model.trainable_weights:
            raise ValueError(
                "A model file must have weights that can train. "
                f"Received: {architecture!r}, whose layers are all frozen. Set `trainable = True`, "
                "or save it without its last layer: then it gets a new head."
            )
        return model
    found = _find(architecture)
    _check_droppable(architecture, stochastic_depth)
    if min(image_shape[:2]) < found.min_size:
        raise ValueError(
            f"`image_size` must be at least {found.min_size} for `{architecture}`. "
            f"Received: {image_shape[:2]}. Leave `image_size` at 0, or use `separable`."
        )
    adapted = _with_channels(pixels, found.channels, architecture)
    features = found.build_features(adapted, stochastic_depth)
    body = keras.Model(pixels, features)
    maps = feature_maps(body) if task.is_spatial else [features]
    model = keras.Model(pixels, task.build_head(maps, num_classes, dropout), name=architecture)
    set_norm_momentum(model)
    if frozen_norms:
        # Those of a new head have no statistics yet.
        freeze_norms(body)
    return model


def _check_droppable(architecture: str, stochastic_depth: float) -> None:
    if stochastic_depth > 0 and not _is_droppable(architecture):
        names = [name for name, row in ARCHITECTURES.items() if row.droppable]
        raise ValueError(
            f"`stochastic_depth` must be 0 for `{architecture}`, which has no branches to drop. "
            f"Received: {stochastic_depth}. It works with: {', '.join(names)}"
        )
