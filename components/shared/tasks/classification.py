"""Single-label classification: targets `label` int32 [N], logits [B, C].

Binary classification is the case C = 2, one of which is the positive class.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pyarrow as pa

from kfp_vision.components.shared.architectures.imagenet_weights import missing_weights
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.augmentation.augment import Augmented
from kfp_vision.components.shared.augmentation.targets import mix_labels
from kfp_vision.components.shared.datasets.labelled import LabelledImages
from kfp_vision.components.shared.datasets.store import label_arrays
from kfp_vision.components.shared.metrics import scores
from kfp_vision.components.shared.metrics.intervals import images_worth
from kfp_vision.components.shared.tasks.baselines import predict_baselines
from kfp_vision.components.shared.tasks.breakdown import (
    class_rows,
    confusion_counts,
    ranking_curves,
)
from kfp_vision.components.shared.tasks.calibration import (
    activate,
    calibration_report,
    fit_temperature,
)
from kfp_vision.components.shared.tasks.differences import Difference, LargestDifference
from kfp_vision.components.shared.tasks.frozen_baseline import (
    BACKBONE,
    predict_frozen_features,
)
from kfp_vision.components.shared.tasks.predictions import (
    confident_mistakes,
    decide,
    predictions_table,
)
from kfp_vision.components.shared.tasks.protocol import ReadTargets, Records, Targets

__all__ = ["BinaryClassification", "MulticlassClassification"]


class MulticlassClassification:
    """One label per image, at least three classes."""

    name = "multiclass"
    is_spatial = False
    techniques = frozenset({"mixup", "cutmix", "label_smoothing"})
    activation = "softmax"

    def open_targets(self, table: pa.Table, size: tuple[int, int], num_classes: int) -> ReadTargets:
        """Returns what reads `{"label": int32 [*S]}`.

        Raises:
            ValueError: An image does not have exactly one label.
        """
        labels, starts = label_arrays(table)
        wrong = np.flatnonzero(np.diff(starts) != 1)
        if len(wrong):
            held = labels[starts[wrong[0]] : starts[wrong[0] + 1]].tolist()
            raise ValueError(f"A {self.name} image must have one label. Received: {held}")
        return lambda rows: {"label": labels[rows]}

    def open_truth(self, table: pa.Table, size: tuple[int, int], num_classes: int) -> ReadTargets:
        """Returns what `open_targets` does."""
        return self.open_targets(table, size, num_classes)

    def augment_targets(
        self, targets: Targets, augmented: Augmented
    ) -> Sequence[tuple[Any, Targets]]:
        """Returns the labels of an image and those of its partner, by their shares of it."""
        return mix_labels(targets, augmented)

    def build_head(self, features: Sequence[Any], num_classes: int, dropout: float) -> Any:
        """Returns logits [B, C]: global average, dropout, one dense layer."""
        pooled = keras.layers.GlobalAveragePooling2D(name="pool")(features[-1])
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

    def taught_loss(self, teacher: Any, logits: Any, temperature: float) -> Any:
        """Returns T^2 KL(teacher || student) of the softened probabilities, [B]."""
        log_t, log_s = (
            keras.ops.log_softmax(keras.ops.cast(each, "float32") / temperature, axis=-1)
            for each in (teacher, logits)
        )
        divergence = keras.ops.sum(keras.ops.exp(log_t) * (log_t - log_s), axis=-1)
        return temperature**2 * divergence

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

    def calibrate(self, batches: Iterable[tuple[Targets, Any]]) -> float:
        """Returns the temperature of lowest negative log-likelihood."""
        return fit_temperature(*_join(batches))

    def decode(self, outputs: Any, temperature: float = 1.0) -> np.ndarray:
        """Returns probabilities [B, C]."""
        return activate(np.asarray(outputs) / temperature, self.activation == "sigmoid")

    def new_difference(self) -> Difference:
        """Returns that of probabilities."""
        return LargestDifference()

    def decoding_model(self, model: keras.Model, temperature: float) -> keras.Model:
        """Returns the model with calibrated `probabilities` instead of logits as its output.

        Only layers of Keras are added, so that `safe_mode` loads the file without our code.
        """
        logits = keras.layers.Rescaling(1.0 / temperature, dtype="float32", name="temperature")(
            model.outputs[0]
        )
        probabilities = keras.layers.Activation(
            self.activation, dtype="float32", name="probabilities"
        )(logits)
        return keras.Model(model.inputs[0], probabilities, name=model.name)

    def record(self, targets: Targets, predictions: Any) -> Records:
        """Returns `label` as in the targets and `probabilities` [B, C]."""
        return {"label": np.asarray(targets["label"]), "probabilities": np.asarray(predictions)}

    def metrics(self, records: Records, counts: np.ndarray) -> dict[str, np.ndarray]:
        """Returns accuracy, balanced_accuracy, auroc, average_precision and ece, each [R]."""
        labels, probabilities = records["label"], records["probabilities"]
        ranked = self._ranked(probabilities.shape[1])
        return scores.classification_metrics(labels, probabilities, counts, ranked)

    def _ranked(self, num_classes: int) -> Sequence[int]:
        """Returns the classes that ranking metrics and curves are of."""
        return range(num_classes)

    def least_score(self, records: Records) -> float | None:
        """Returns None: every image, or pixel, has its class."""
        return None

    def images_worth(self, metric: str, records: Records) -> float:
        """Returns how many images measure a metric, by the images of each class."""
        labels = records["label"]
        counts = labels.sum(axis=0) if labels.ndim == 2 else np.bincount(labels)
        return images_worth(metric, counts, len(labels))

    def baselines(
        self,
        dataset_dir: Path,
        info: DatasetInfo,
        primary: str,
        seed: int,
        feature_dir: Path | None,
    ) -> tuple[dict[str, Records], list[str]]:
        """Returns the records of `BASELINES` and of `frozen_features`, calibrated on validation.

        `frozen_features` is left out where its weights are not at hand.
        """
        given = (self, dataset_dir, info, primary == "balanced_accuracy", seed)
        records = predict_baselines(*given)
        if reason := missing_weights(BACKBONE):
            return records, [f"The baseline `frozen_features` is left out. {reason}"]
        return {**records, "frozen_features": predict_frozen_features(*given, feature_dir)}, []

    def explain(
        self,
        test: LabelledImages,
        batches: Iterable[tuple[Targets, Any]],
        temperature: float,
        classes: Sequence[str],
        num_mistakes: int,
        least_score: float | None,
    ) -> tuple[dict[str, Any], pa.Table]:
        """Returns figures per class, confusion, curves, calibration, mistakes; the predictions."""
        labels, logits = _join(batches)
        probabilities = self.decode(logits, temperature)
        multilabel, names = labels.ndim == 2, list(classes)
        present = labels if multilabel else np.eye(len(names), dtype=np.uint8)[labels]
        table = predictions_table(test.source.paths, names, present, probabilities, multilabel)
        rows = class_rows(names, present, decide(probabilities, multilabel), probabilities)
        predicted = probabilities.argmax(axis=1)
        return {
            "per_class": rows,
            "confusion": [] if multilabel else confusion_counts(labels, predicted, len(names)),
            "curves": ranking_curves(rows, self._ranked(len(names)), present, probabilities),
            "calibration": calibration_report(labels, logits, temperature),
            "mistakes": confident_mistakes(
                table, present, probabilities, test.source, multilabel, num_mistakes
            ),
        }, table


def _join(batches: Iterable[tuple[Targets, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """Returns labels and logits of all images."""
    labels, logits = zip(*((targets["label"], logits) for targets, logits in batches), strict=True)
    return np.concatenate(labels), np.concatenate(logits)


class BinaryClassification(MulticlassClassification):
    """One label per image, two classes; ranking metrics and curves are of the positive one."""

    name = "binary"

    def __init__(self, positive: int | None = None) -> None:
        """Takes the label of the positive class; None where no metric is computed."""
        self._positive = positive

    def _ranked(self, num_classes: int) -> Sequence[int]:
        if self._positive is None:
            raise ValueError(
                "The metrics of a binary task must know the positive class. Received: none; the "
                "recipe names it as `data.positive_class`."
            )
        return [self._positive]
