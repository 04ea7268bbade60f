"""Multi-label classification: targets `label` uint8 [N, C], logits [B, C]."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import scipy.special

from kfp_vision.components.shared.metrics import scores as metrics
from kfp_vision.components.shared.tasks.classification import MulticlassClassification
from kfp_vision.components.shared.tasks.protocol import Targets

__all__ = ["MultilabelClassification"]


class MultilabelClassification:
    """Any number of labels per image, none included."""

    name = "multilabel"
    # The head is the same: one logit per class on the pooled features.
    build_head = MulticlassClassification.build_head

    def encode(self, labels: Sequence[Sequence[int]], num_classes: int) -> dict[str, np.ndarray]:
        """Returns `{"label": uint8 [N, C]}`, one where the class is present."""
        present = np.zeros((len(labels), num_classes), np.uint8)
        for row, classes in enumerate(labels):
            present[row, list(classes)] = 1
        return {"label": present}

    def loss(
        self,
        targets: Targets,
        logits: Any,
        *,
        label_smoothing: float = 0.0,
        class_weights: Any | None = None,
    ) -> Any:
        """Returns the binary cross-entropy [B], mean over classes (weighted, when given)."""
        present = keras.ops.cast(targets["label"], logits.dtype)
        smooth = present * (1.0 - label_smoothing) + 0.5 * label_smoothing
        # max(z, 0) - z y + log(1 + exp(-|z|)): stable for logits of any size.
        loss = (
            keras.ops.relu(logits)
            - logits * smooth
            + keras.ops.log1p(keras.ops.exp(-keras.ops.abs(logits)))
        )
        if class_weights is not None:
            loss = loss * class_weights
        return keras.ops.mean(loss, axis=-1)

    def initial_loss(self, targets: Targets, num_classes: int) -> float:
        """Returns ln 2, whatever the labels."""
        return float(np.log(2.0))

    def frequency_loss(self, targets: Targets, class_weights: np.ndarray | None) -> float:
        """Returns the binary entropy of each class, (weighted) mean over the classes."""
        present = targets["label"].mean(axis=0)
        entropy = scipy.special.entr(present) + scipy.special.entr(1 - present)
        return float((entropy if class_weights is None else entropy * class_weights).mean())

    def activate(self, logits: Any) -> Any:
        """Returns the sigmoid."""
        return keras.ops.sigmoid(logits)

    def metrics(self, targets: Targets, predictions: np.ndarray) -> dict[str, float]:
        """Returns mean_average_precision, micro_f1 and macro_f1."""
        whole_set = np.ones((len(predictions), 1))
        return metrics.of_whole_set(self.resampled_metrics(targets, predictions, whole_set))

    def resampled_metrics(
        self, targets: Targets, predictions: np.ndarray, counts: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Returns the same, [R], of R resamples; NaN where a resample leaves one undefined."""
        return metrics.multilabel_metrics(targets["label"], predictions, counts)
