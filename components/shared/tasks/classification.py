"""Single-label classification: targets `label` int32 [N], logits [B, C].

Binary classification is the case C = 2 with the second class as the positive one.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from kfp_vision.components.shared.metrics import scores as metrics
from kfp_vision.components.shared.tasks.protocol import Targets

__all__ = ["BinaryClassification", "MulticlassClassification"]


class MulticlassClassification:
    """One label per image, at least three classes."""

    name = "multiclass"

    def encode(self, labels: Sequence[Sequence[int]], num_classes: int) -> dict[str, np.ndarray]:
        """Returns `{"label": int32 [N]}`.

        Raises:
            ValueError: An image does not have exactly one label.
        """
        if any(len(row) != 1 for row in labels):
            wrong = next(row for row in labels if len(row) != 1)
            raise ValueError(f"A {self.name} image must have one label. Received: {list(wrong)}")
        return {"label": np.array([row[0] for row in labels], np.int32)}

    def build_head(self, features: Any, num_classes: int, dropout: float) -> Any:
        """Returns logits [B, C]: global average, dropout, one dense layer."""
        pooled = keras.layers.GlobalAveragePooling2D(name="pool")(features)
        if dropout > 0:
            pooled = keras.layers.Dropout(dropout, name="head_dropout")(pooled)
        return keras.layers.Dense(num_classes, name="logits", dtype="float32")(pooled)

    def loss(
        self,
        targets: Targets,
        logits: Any,
        *,
        label_smoothing: float = 0.0,
        class_weights: Any | None = None,
    ) -> Any:
        """Returns the cross-entropy [B], weighted by the class of the image.

        Smoothing mixes the label with the uniform distribution (Szegedy et al., 2016, section 7).
        """
        log_p = keras.ops.log_softmax(logits, axis=-1)
        one_hot = keras.ops.one_hot(targets["label"], logits.shape[-1])
        smooth = one_hot * (1.0 - label_smoothing) + label_smoothing / logits.shape[-1]
        loss = -keras.ops.sum(smooth * log_p, axis=-1)
        if class_weights is not None:
            loss = loss * keras.ops.take(class_weights, targets["label"], axis=0)
        return loss

    def initial_loss(self, targets: Targets, num_classes: int) -> float:
        """Returns ln C, whatever the labels."""
        return float(np.log(num_classes))

    def frequency_loss(self, targets: Targets, class_weights: np.ndarray | None) -> float:
        """Returns the entropy of the (weighted) labels, -sum_c n_c log(n_c / n) / N."""
        counts = np.bincount(targets["label"]).astype(np.float64)
        if class_weights is not None:
            counts *= class_weights[: len(counts)]
        counts = counts[counts > 0]
        entropy = -(counts * np.log(counts / counts.sum())).sum()
        return float(entropy / len(targets["label"]))

    def activate(self, logits: Any) -> Any:
        """Returns the softmax."""
        return keras.ops.softmax(logits, axis=-1)

    def metrics(self, targets: Targets, predictions: np.ndarray) -> dict[str, float]:
        """Returns accuracy, balanced_accuracy, auroc, average_precision and ece."""
        whole_set = np.ones((len(predictions), 1))
        return metrics.of_whole_set(self.resampled_metrics(targets, predictions, whole_set))

    def resampled_metrics(
        self, targets: Targets, predictions: np.ndarray, counts: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Returns the same, [R], of R resamples; NaN where a resample leaves one undefined."""
        return metrics.classification_metrics(targets["label"], predictions, counts)


class BinaryClassification(MulticlassClassification):
    """One label per image, two classes."""

    name = "binary"
