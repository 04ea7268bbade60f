"""What a teacher sees in a picture, before its last layer says what that means.

Shapes: B images of a batch, N of a sample, F features, K of their principal axes.
"""

import dataclasses
from typing import Any

import keras
import numpy as np

__all__ = ["PrincipalAxes", "with_features"]

# Of features of unit length: less is the rounding of equal ones.
_LEAST_SPREAD = 1e-6


def with_features(model: keras.Model) -> keras.Model:
    """Returns pixels -> raw outputs [B, C] and features [B, F], by the layers of a model.

    The features are what its last layer reads, scaled to unit length; of an ensemble, and of any
    model of models that return such outputs, those of all members, side by side.
    """
    members = [
        layer
        for layer in model.layers
        if isinstance(layer, keras.Model) and layer.output_shape == model.output_shape
    ]
    if not members:
        flat = keras.layers.Flatten(name="flat_features")(model.layers[-1].input)
        unit = keras.layers.UnitNormalization(dtype="float32", name="unit_features")(flat)
        return keras.Model(model.inputs[0], [model.outputs[0], unit])
    features: list[Any] = []

    def call(layer: Any, *inputs: Any, **options: Any) -> Any:
        if layer not in members:
            return layer(*inputs, **options)
        outputs, seen = with_features(layer)(*inputs)
        features.append(seen)
        return outputs

    # The very layers, with their weights.
    called = keras.models.clone_model(model, clone_function=lambda each: each, call_function=call)
    seen = keras.ops.concatenate(features, axis=-1)
    return keras.Model(called.inputs[0], [called.outputs[0], seen])


@dataclasses.dataclass(frozen=True)
class PrincipalAxes:
    """The directions in which the features of a sample differ most.

    Attributes:
        mean: Of the sample, float32 [F].
        axes: Of the directions, the widest first, float32 [F, K], all divided by one number: along
            them the sample has variance 1 in the mean.
    """

    mean: np.ndarray
    axes: np.ndarray

    @classmethod
    def of(cls, sample: np.ndarray, num_axes: int) -> "PrincipalAxes":
        """Returns the K widest axes of a sample [N, F]; those that it has not are zero."""
        mean = sample.mean(axis=0)
        _, singular, found = np.linalg.svd(sample - mean, full_matrices=False)
        kept = singular[:num_axes]
        spread = max(np.sqrt(np.square(kept).sum() / len(sample) / num_axes), _LEAST_SPREAD)
        axes = np.zeros((sample.shape[1], num_axes), np.float32)
        axes[:, : len(kept)] = found[:num_axes].T / spread
        return cls(mean, axes)

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Returns features [B, F] along the axes, [B, K]."""
        along: np.ndarray = (features - self.mean) @ self.axes
        return along
