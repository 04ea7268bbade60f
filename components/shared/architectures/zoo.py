"""The model zoo: one table, name -> builder, and what each network needs.

A model takes float32 pixels 0..255 [B, H, W, C] and returns the raw output (logits) of the task;
scaling of the pixels lives inside it.
"""

import dataclasses
import difflib
from collections.abc import Callable
from typing import Any

import keras

from kfp_vision.components.shared.architectures import separable
from kfp_vision.components.shared.tasks import Task

__all__ = ["ARCHITECTURES", "Architecture", "build_model", "choose_input"]


@dataclasses.dataclass(frozen=True)
class Architecture:
    """One row of the zoo.

    Attributes:
        build_features: (pixels [B, H, W, C], stochastic depth rate) -> feature map [B, h, w, F].
    """

    build_features: Callable[[Any, float], Any]


ARCHITECTURES = {"separable": Architecture(separable.build_features)}


def choose_input(
    architecture: str, median_height: int, median_width: int, channels: int
) -> tuple[str, int, int]:
    """Returns (architecture, height, width) that fit images of this median size in pixels."""
    name = "separable" if architecture == "auto" else architecture
    scale = min(1.0, 128 / min(median_height, median_width))
    return name, round(median_height * scale), round(median_width * scale)


def build_model(
    architecture: str,
    task: Task,
    image_shape: tuple[int, int, int],
    num_classes: int,
    *,
    dropout: float = 0.0,
    stochastic_depth: float = 0.0,
) -> keras.Model:
    """Returns an untrained model of pixels [B, *image_shape] with the head of `task`.

    Raises:
        ValueError: `architecture` is not in the zoo.
    """
    if architecture not in ARCHITECTURES:
        close = difflib.get_close_matches(architecture, ARCHITECTURES) or sorted(ARCHITECTURES)
        raise ValueError(
            f"`architecture` must be in the zoo. Received: {architecture!r}. Try: {close}"
        )
    pixels = keras.Input(image_shape, name="pixels")
    features = ARCHITECTURES[architecture].build_features(pixels, stochastic_depth)
    logits = task.build_head(features, num_classes, dropout)
    return keras.Model(pixels, logits, name=architecture)
