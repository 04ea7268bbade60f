"""An ensemble as one Keras model: pixels in, raw outputs of the task out, layers of Keras only.

Shapes: B images of [H, W, K] pixels, C classes, M members.
"""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from kfp_vision.components.teachers.ensemble import LEAST_PROBABILITY, Average, Stack

__all__ = ["build_ensemble", "choose_size", "resize_weights"]


def build_ensemble(
    models: Sequence[keras.Model], combination: Average | Stack, size: tuple[int, int]
) -> keras.Model:
    """Returns the ensemble as a model; members without weight are left out.

    Args:
        models: Members: float32 pixels 0..255 of any size in, raw outputs [B, C] out; each works
            in float32.
        combination: What is made of their outputs.
        size: (height, width) of what the ensemble takes.
    """
    pixels = keras.Input((*size, models[0].input_shape[-1]), name="pixels")
    if isinstance(combination, Average):
        used = [at for at, weight in enumerate(combination.weights) if weight > 0]
        weights, temperatures = (
            [float(values[at]) for at in used]
            for values in (combination.weights, combination.temperatures)
        )
        chosen = [models[at] for at in used]
        said = _say(chosen, pixels, temperatures, combination.multilabel)
        parts = [
            keras.layers.Rescaling(weight, name=f"weight_{at}")(each)
            for at, weight, each in zip(used, weights, said, strict=True)
        ]
        mean = keras.layers.Add(name="mean")(parts) if len(parts) > 1 else parts[0]
        return keras.Model(pixels, _raw(mean, combination.multilabel), name="ensemble")
    said = _say(models, pixels, [1.0] * len(models), combination.multilabel)
    features = keras.layers.Concatenate(name="said")(
        [_raw(each, combination.multilabel) for each in said]
    )
    layer = keras.layers.Dense(combination.kernel.shape[1], name="stacking")
    model = keras.Model(pixels, layer(features), name="ensemble")
    layer.set_weights([combination.kernel, combination.bias])
    return model


def _say(
    models: Sequence[keras.Model], pixels: Any, temperatures: Sequence[float], multilabel: bool
) -> list[Any]:
    """Returns the probabilities of each member, [B, C]."""
    said = []
    for at, (model, temperature) in enumerate(zip(models, temperatures, strict=True)):
        # Another name: those of two networks of one architecture are the same.
        member = keras.Model(model.inputs, model.outputs[0], name=f"member_{at}")
        outputs = member(_resized(pixels, model.input_shape[1:3], at))
        scaled = keras.layers.Rescaling(1.0 / temperature, name=f"temperature_{at}")(outputs)
        activation = "sigmoid" if multilabel else "softmax"
        said.append(keras.layers.Activation(activation, name=f"probabilities_{at}")(scaled))
    return said


def _raw(probabilities: Any, multilabel: bool) -> Any:
    held = keras.ops.clip(probabilities, LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
    log = keras.ops.log(held)
    return log - keras.ops.log(1.0 - held) if multilabel else log


def _resized(pixels: Any, size: tuple[int, int], at: int) -> Any:
    """Returns pixels of another size, as the loader resizes images.

    As products with two matrices: a resize with antialiasing is in no exported format.
    """
    for axis, (have, want, rule) in enumerate(
        zip(pixels.shape[1:3], size, ("bhwc,hg->bgwc", "bhwc,wg->bhgc"), strict=True)
    ):
        if have != want:
            shape: list[int | None] = list(pixels.shape[1:])
            shape[axis] = want
            layer = keras.layers.EinsumDense(
                rule, shape, trainable=False, name=f"{('height', 'width')[axis]}_{at}"
            )
            pixels = layer(pixels)
            layer.set_weights([resize_weights(have, want)])
    return pixels


def resize_weights(have: int, want: int) -> np.ndarray:
    """Returns by how much each pixel of a line counts in each of the resized line, [have, want].

    A triangle as wide as two pixels of the coarser line: bilinear, with antialiasing, as Pillow
    and `fit_image` do it, without rounding.
    """
    scale = have / want
    centres = (np.arange(want) + 0.5) * scale
    distances = np.abs(np.arange(have)[:, None] + 0.5 - centres) / max(scale, 1.0)
    weights = np.maximum(0.0, 1.0 - distances)
    resized: np.ndarray = (weights / weights.sum(axis=0)).astype(np.float32)
    return resized


def choose_size(
    sizes: Sequence[tuple[int, int]], median_height: int, median_width: int
) -> tuple[int, int]:
    """Returns the (height, width) that an ensemble takes.

    That of its smallest member which is no smaller than the images: what is enlarged inside has
    lost nothing. Where the images are larger than all, that of the largest.

    Args:
        sizes: Of the members.
        median_height: Of the images.
        median_width: Of the images.
    """
    by_area = sorted(sizes, key=math.prod)
    enough = [size for size in by_area if math.prod(size) >= median_height * median_width]
    return (enough or by_area[-1:])[0]
