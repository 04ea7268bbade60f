"""Multi-label classification: targets `label` uint8 [N, C], logits [B, C]."""

from typing import Any

import keras
import numpy as np
import pyarrow as pa
import scipy.special

from kfp_vision.components.shared.datasets.store import label_arrays
from kfp_vision.components.shared.metrics import scores
from kfp_vision.components.shared.tasks.classification import MulticlassClassification
from kfp_vision.components.shared.tasks.protocol import ReadTargets, Records, Targets

__all__ = ["MultilabelClassification"]


class MultilabelClassification(MulticlassClassification):
    """Any number of labels per image, none included; one probability per class as well."""

    name = "multilabel"
    activation = "sigmoid"

    def open_targets(self, table: pa.Table, size: tuple[int, int], num_classes: int) -> ReadTargets:
        """Returns what reads `{"label": uint8 [*S, C]}`, one where the class is present."""
        labels, starts = label_arrays(table)
        counts = np.diff(starts)

        def read(rows: np.ndarray) -> dict[str, np.ndarray]:
            chosen = rows.ravel()
            owners = np.repeat(np.arange(len(chosen)), counts[chosen])
            # Of each label of the batch: its place among those of its image.
            places = np.arange(len(owners)) - np.searchsorted(owners, owners)
            present = np.zeros((len(chosen), num_classes), np.uint8)
            present[owners, labels[starts[chosen][owners] + places]] = 1
            return {"label": present.reshape(*rows.shape, num_classes)}

        return read

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

    def taught_loss(self, teacher: Any, logits: Any, temperature: float) -> Any:
        """Returns T^2 KL(teacher || student) of each class, the mean over classes, [B]."""
        held, scaled = (keras.ops.cast(each, "float32") / temperature for each in (teacher, logits))
        # log p(z) - log p(z') of the present and of the absent class, for logits of any size.
        present = keras.ops.softplus(-scaled) - keras.ops.softplus(-held)
        absent = keras.ops.softplus(scaled) - keras.ops.softplus(held)
        p = keras.ops.sigmoid(held)
        return temperature**2 * keras.ops.mean(p * present + (1.0 - p) * absent, axis=-1)

    def initial_loss(self, targets: Targets, num_classes: int) -> float:
        """Returns ln 2, whatever the labels."""
        return float(np.log(2.0))

    def frequency_loss(self, targets: Targets, class_weights: np.ndarray | None) -> float:
        """Returns the binary entropy of each class, (weighted) mean over the classes."""
        present = targets["label"].mean(axis=0)
        entropy = scipy.special.entr(present) + scipy.special.entr(1 - present)
        return float((entropy if class_weights is None else entropy * class_weights).mean())

    def metrics(self, records: Records, counts: np.ndarray) -> dict[str, np.ndarray]:
        """Returns mean_average_precision, micro_f1 and macro_f1, each [R]."""
        return scores.multilabel_metrics(records["label"], records["probabilities"], counts)
