"""Semantic segmentation: targets `mask` uint8 [B, H, W], logits [B, H, W, C].

255 in a mask is a pixel of which nothing is known: it counts nowhere. To learn and to choose by,
masks are resized with their image, to the nearest pixel. What is reported is measured at the size
of each mask as it is stored, to which the probabilities are resized.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import harmonic_mean
from typing import Any

import keras
import numpy as np
import pyarrow as pa
import tensorflow as tf

from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.augmentation.augment import Augmented
from kfp_vision.components.shared.augmentation.targets import (
    cut_masks,
    mosaic_masks,
    moves,
    warp_masks,
)
from kfp_vision.components.shared.datasets.labelled import LabelledImages
from kfp_vision.components.shared.heads.mask_decoder import mask_decoder
from kfp_vision.components.shared.losses.dice import dice_loss
from kfp_vision.components.shared.losses.pixel_cross_entropy import pixel_cross_entropy
from kfp_vision.components.shared.metrics.scores import mean_of_defined
from kfp_vision.components.shared.tasks.calibration import fit_temperature
from kfp_vision.components.shared.tasks.differences import Difference, LargestDifference
from kfp_vision.components.shared.tasks.mask_baselines import predict_mask_baselines
from kfp_vision.components.shared.tasks.mask_evidence import MaskEvidence
from kfp_vision.components.shared.tasks.masks import (
    IGNORED,
    count_pixels,
    open_masks,
    open_stored_masks,
)
from kfp_vision.components.shared.tasks.protocol import ReadTargets, Records, Targets

__all__ = ["SemanticSegmentation"]

# Pixels of an image that the temperature is fitted on: neighbours say the same.
_CALIBRATED = 500


class SemanticSegmentation:
    """A class for every pixel."""

    name = "semantic_segmentation"
    is_spatial = True
    techniques = frozenset({"mixup", "cutmix", "mosaic", "label_smoothing"})

    def open_targets(self, table: pa.Table, size: tuple[int, int], num_classes: int) -> ReadTargets:
        """Returns what reads `{"mask": uint8 [*S, H, W]}`."""
        read = open_masks(table, size)
        return lambda rows: {"mask": read(rows)}

    def open_truth(self, table: pa.Table, size: tuple[int, int], num_classes: int) -> ReadTargets:
        """Returns what reads `{"mask": uint8 [*S, H, W], "stored": [*S]}`.

        The latter are those of `open_stored_masks`.
        """
        read, read_stored = open_masks(table, size), open_stored_masks(table)
        return lambda rows: {"mask": read(rows), "stored": read_stored(rows)}

    def augment_targets(
        self, targets: Targets, augmented: Augmented
    ) -> Sequence[tuple[Any, Targets]]:
        """Returns the masks moved with their images, and those of the partners of MixUp."""
        masks = warp_masks(tf.cast(targets["mask"], tf.int32), moves(augmented), IGNORED)
        partners, weights, boxes, mosaics = augmented.mixing
        tiles = mosaic_masks(masks, partners)
        cut = cut_masks(masks, partners, boxes)
        own = {"mask": tf.where(mosaics[:, None, None], tiles, cut)}
        return [(weights, own), (1.0 - weights, {"mask": tf.gather(masks, partners)})]

    def build_head(self, features: Sequence[Any], num_classes: int, dropout: float) -> Any:
        """Returns logits [B, H, W, C] of the decoder."""
        return mask_decoder(features, num_classes, dropout)

    def loss(
        self,
        targets: Targets,
        logits: Any,
        *,
        label_smoothing: Any = 0.0,
        class_weights: Any | None = None,
    ) -> Any:
        """Returns cross-entropy plus Dice loss of each image, [B]."""
        # 255 is beyond all classes: no one of them is hot.
        one_hot = keras.ops.one_hot(keras.ops.cast(targets["mask"], "int32"), logits.shape[-1])
        log_p = keras.ops.log_softmax(logits, axis=-1)
        entropy = pixel_cross_entropy(one_hot, log_p, label_smoothing, class_weights)
        return entropy + dice_loss(one_hot, keras.ops.exp(log_p))

    def initial_loss(self, targets: Targets, num_classes: int) -> float:
        """Returns the loss of probabilities that are all 1 / C."""
        return _constant_loss(targets, np.full(num_classes, 1.0 / num_classes))

    def frequency_loss(self, targets: Targets, class_weights: np.ndarray | None) -> float:
        """Returns the loss of probabilities that are the shares of the pixels, everywhere."""
        counts = np.bincount(targets["mask"].ravel(), minlength=IGNORED + 1)[:IGNORED]
        return _constant_loss(targets, counts / max(counts.sum(), 1), class_weights)

    def calibrate(self, batches: Iterable[tuple[Targets, Any]]) -> float:
        """Returns the temperature of lowest negative log-likelihood, of some pixels an image."""
        generator = np.random.default_rng(0)
        labels, held = [], []
        for targets, logits in batches:
            for mask, each in zip(targets["mask"], np.asarray(logits), strict=True):
                known = np.flatnonzero(mask.ravel() != IGNORED)
                drawn = generator.permutation(known)[:_CALIBRATED]
                labels.append(mask.ravel()[drawn].astype(np.int64))
                held.append(each.reshape(-1, each.shape[-1])[drawn])
        return fit_temperature(np.concatenate(labels), np.concatenate(held))

    def decode(self, outputs: Any, temperature: float = 1.0) -> np.ndarray:
        """Returns probabilities [B, H, W, C]."""
        return np.asarray(tf.nn.softmax(tf.convert_to_tensor(outputs) / temperature))

    def new_difference(self) -> Difference:
        """Returns that of probabilities."""
        return LargestDifference()

    def decoding_model(self, model: keras.Model, temperature: float) -> keras.Model:
        """Returns the model with calibrated `mask_probabilities` as its output."""
        logits = keras.layers.Rescaling(1.0 / temperature, dtype="float32", name="temperature")(
            model.outputs[0]
        )
        probabilities = keras.layers.Softmax(dtype="float32", name="mask_probabilities")(logits)
        return keras.Model(model.inputs[0], probabilities, name=model.name)

    def record(self, targets: Targets, predictions: Any) -> Records:
        """Returns the pixels of each class: `shared`, `true` and `predicted`, int64 [B, C]."""
        counts = count_pixels(targets, np.asarray(predictions))
        return {
            "shared": np.diagonal(counts, axis1=1, axis2=2),
            "true": counts.sum(2),
            "predicted": counts.sum(1),
        }

    def metrics(self, records: Records, counts: np.ndarray) -> dict[str, np.ndarray]:
        """Returns mean_iou and mean_dice, over classes that are there or predicted; accuracy."""
        shared, true, predicted = (
            records[name].T @ counts for name in ("shared", "true", "predicted")
        )
        total = true + predicted
        with np.errstate(invalid="ignore", divide="ignore"):
            return {
                "mean_iou": mean_of_defined(shared / (total - shared)),
                "mean_dice": mean_of_defined(2 * shared / total),
                "pixel_accuracy": shared.sum(0) / true.sum(0),
            }

    def least_score(self, records: Records) -> float | None:
        """Returns None: every image, or pixel, has its class."""
        return None

    def images_worth(self, metric: str, records: Records) -> float:
        """Returns the number of images, or the harmonic mean over classes of those that show it."""
        shown = (records["true"] > 0).sum(0)
        if metric == "pixel_accuracy" or not shown.any():
            return float(len(records["true"]))
        return float(harmonic_mean(shown[shown > 0].tolist()))

    def baselines(
        self,
        dataset_dir: Path,
        info: DatasetInfo,
        primary: str,
        seed: int,
        feature_dir: Path | None,
    ) -> tuple[dict[str, Records], list[str]]:
        """Returns the records of `zero_rule` and `usual_place`."""
        return predict_mask_baselines(self, dataset_dir, info), []

    def explain(
        self,
        test: LabelledImages,
        batches: Iterable[tuple[Targets, Any]],
        temperature: float,
        classes: Sequence[str],
        num_mistakes: int,
        least_score: float | None,
    ) -> tuple[dict[str, Any], pa.Table]:
        """Returns figures per class, confused pixels, best and worst images; a row an image."""
        evidence, start = MaskEvidence(classes, test, num_mistakes), 0
        for targets, logits in batches:
            evidence.add(start, targets, self.decode(logits, temperature))
            start += len(logits)
        return evidence.fields(), evidence.table()


def _constant_loss(
    targets: Targets, p: np.ndarray, class_weights: np.ndarray | None = None
) -> float:
    """Returns the mean loss of the same probabilities [C] in every pixel, in closed form."""
    num_classes = len(p)
    log_p = np.log(np.maximum(p, np.finfo(np.float64).tiny))
    losses = []
    for mask in np.asarray(targets["mask"]):
        n = np.bincount(mask.ravel(), minlength=IGNORED + 1)[:num_classes].astype(np.float64)
        shown = n > 0
        if not shown.any():
            losses.append(0.0)
            continue
        weighted = n if class_weights is None else n * np.resize(class_weights, num_classes)
        dice = 2 * p[shown] * n[shown] / (p[shown] * n.sum() + n[shown])
        losses.append(-(weighted[shown] @ log_p[shown]) / n.sum() + (1 - dice).mean())
    return float(np.mean(losses))
