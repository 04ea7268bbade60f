"""A student that also learns what its teacher sees, by a projection that is thrown away later.

Shapes: B images of a batch, F features of the student, K of the teacher.
"""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kfp_vision.components.distillation.feature_distance import feature_distance
from kfp_vision.components.shared.tasks import Outputs, Targets
from kfp_vision.components.shared.training.trainer import Trainer

__all__ = ["FeatureTrainer"]


class FeatureTrainer(Trainer):
    """A trainer of a student and of a linear projection [F, K] of what its last layer reads.

    The batches have the `features` of the teacher, float32 [B, K], beside the targets of the task.

    Attributes:
        student: The network without the projection; its layers are those that learn.
    """

    def __init__(
        self, student: keras.Model, *given: Any, num_features: int, feature_weight: Any
    ) -> None:
        """Adds the projection; compiles at the first call.

        Args:
            student: Of `build_model`.
            given: As of `Trainer`.
            num_features: K.
            feature_weight: Of the `feature_distance` in the loss, beside that of the task.
        """
        self.student, self._feature_weight = student, feature_weight
        features = keras.layers.Flatten(name="student_features")(student.layers[-1].input)
        layer = keras.layers.Dense(num_features, dtype="float32", name="projection")
        both = keras.Model(student.inputs[0], [student.outputs[0], layer(features)])
        super().__init__(both, *given)

    def outputs(self, images: np.ndarray) -> Outputs:
        """Returns the raw outputs of the student for a batch uint8 [B, H, W, C], as arrays."""
        return super().outputs(images)[0]

    def _loss(self, targets: Targets, outputs: Outputs) -> tf.Tensor:
        said, projected = outputs
        distance = feature_distance(targets["features"], projected)
        return super()._loss(targets, said) + self._feature_weight * distance
