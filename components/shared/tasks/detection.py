"""Detection of objects: targets are boxes and their classes, outputs those of centre_detector.py.

Shapes: M objects of an image at most, D detections; boxes [B, M, 4] in pixels of the model's input.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pyarrow as pa
import tensorflow as tf

from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.augmentation.augment import Augmented
from kfp_vision.components.shared.augmentation.mixing import quarters
from kfp_vision.components.shared.augmentation.targets import (
    cut_boxes,
    mosaic_boxes,
    moves,
    warp_boxes,
)
from kfp_vision.components.shared.datasets.labelled import LabelledImages
from kfp_vision.components.shared.datasets.store import open_split
from kfp_vision.components.shared.heads.centre_detector import (
    CELL,
    PRIOR_LOGIT,
    PRIOR_REACH,
    centre_detector,
    find_peaks,
)
from kfp_vision.components.shared.losses.detection import detection_loss
from kfp_vision.components.shared.metrics.object_precision import (
    Detections,
    TrueObjects,
    best_f1_score,
    box_areas,
    box_similarities,
    class_precisions,
    match_objects,
    mean_precisions,
    num_detections,
)
from kfp_vision.components.shared.tasks.box_evidence import BoxEvidence
from kfp_vision.components.shared.tasks.differences import Difference, ScoreDifference
from kfp_vision.components.shared.tasks.objects import NO_CLASS, read_objects
from kfp_vision.components.shared.tasks.protocol import (
    FLOAT_PART,
    ReadTargets,
    Records,
    Targets,
)
from kfp_vision.components.shared.tasks.records import join_records

__all__ = ["LOGITS", "Detection", "constant_loss", "zero_rule_boxes"]

# Images whose targets are held at once.
_BATCH = 64
# Of the images in which a rule is judged, in pixels.
_BASELINE_SIDE = 512
# Logits of heat maps that are the same everywhere, among which the best is looked for.
LOGITS = PRIOR_LOGIT + np.arange(-5.0, 2.5, 0.25)


class Detection:
    """A box and a class for every object."""

    name = "detection"
    is_spatial = True
    # The targets of heat maps are smooth by themselves, and every class has its own.
    techniques = frozenset({"mixup", "cutmix", "mosaic"})
    evidence = BoxEvidence

    def __init__(self, most_objects: int = 0) -> None:
        """Knows how many objects are to be found.

        Args:
            most_objects: Of the training image that shows the most; a model returns 100 at least.
        """
        self._most = num_detections(most_objects)

    def open_targets(self, table: pa.Table, size: tuple[int, int], num_classes: int) -> ReadTargets:
        """Returns what reads the arrays of `Objects.batch`, and `input_size` float32 [*S, 2]."""
        objects = read_objects(table)

        def read(rows: np.ndarray) -> dict[str, np.ndarray]:
            shown = np.broadcast_to(np.array(size, np.float32), (*rows.shape, 2))
            return {**objects.batch(rows, size), "input_size": shown}

        return read

    def open_truth(self, table: pa.Table, size: tuple[int, int], num_classes: int) -> ReadTargets:
        """Returns what `open_targets` does."""
        return self.open_targets(table, size, num_classes)

    def augment_targets(
        self, targets: Targets, augmented: Augmented
    ) -> Sequence[tuple[Any, Targets]]:
        """Returns the moved boxes of the `quarters` of each image, [B, 4 M, ...].

        In CutMix those of the partner are cut; in MixUp objects count by the share of their image
        (Zhang et al., 2019, arXiv:1902.04103, section 3.1). Others are there in mosaics alone.
        """
        height, width = augmented.images.shape[1:3]
        classes, crowd = targets["box_classes"], targets["crowd"]
        boxes, visible = warp_boxes(targets["boxes"], moves(augmented), height, width)
        visible &= classes >= 0
        partners, weights, cut, mosaics = augmented.mixing
        mixed, shown = cut_boxes(boxes, visible, partners, cut)
        most = boxes.shape[1]
        is_blended = (weights < 1.0)[:, None]
        theirs = tf.where(is_blended[..., None], tf.gather(boxes, partners), mixed[:, most:])
        there = tf.where(is_blended, tf.gather(visible, partners), shown[:, most:])
        none, ones = tf.zeros_like(visible), tf.ones_like(weights)
        present = tf.where(
            mosaics[:, None],
            tf.concat(quarters(visible, partners), 1),
            tf.concat([shown[:, :most], none, there, none], 1),
        )
        held = tf.concat(quarters(classes, partners), 1)
        shares = tf.stack([weights, ones, tf.where(weights < 1.0, 1.0 - weights, 1.0), ones], 1)
        moved = {
            "boxes": tf.where(
                mosaics[:, None, None],
                mosaic_boxes(boxes, partners, height, width),
                tf.concat([boxes, boxes, theirs, theirs], 1),
            ),
            "box_classes": tf.where(present, held, NO_CLASS),
            "crowd": tf.concat(quarters(crowd, partners), 1),
            "share": tf.repeat(shares, most, axis=1),
        }
        return [(ones, {**targets, **moved})]

    def build_head(self, features: Sequence[Any], num_classes: int, dropout: float) -> Any:
        """Returns `heat` and `reach` of the pyramid."""
        return centre_detector(features, num_classes, dropout)

    def loss(
        self,
        targets: Targets,
        outputs: Any,
        *,
        label_smoothing: Any = 0.0,
        class_weights: Any | None = None,
    ) -> Any:
        """Returns focal loss of centres and GIoU loss of boxes, an object, [B]."""
        return detection_loss(targets, outputs)

    def initial_loss(self, targets: Targets, num_classes: int) -> float:
        """Returns the loss of the head before it has learned anything."""
        logits, reach = np.full(num_classes, PRIOR_LOGIT), np.full(4, PRIOR_REACH)
        return constant_loss(detection_loss, targets, heat=logits, reach=reach)

    def frequency_loss(self, targets: Targets, class_weights: np.ndarray | None) -> float:
        """Returns the lowest loss of one logit everywhere, with boxes of one size."""
        classes = np.asarray(targets["box_classes"])
        boxes = np.asarray(targets["boxes"])[classes >= 0]
        if not len(boxes):
            return 0.0
        half = np.median(boxes[:, 2:] - boxes[:, :2], axis=0) / 2 / CELL
        usual = np.log(np.maximum(np.tile(half, 2), 0.1))
        num_classes = int(classes.max()) + 1
        return min(
            constant_loss(detection_loss, targets, heat=np.full(num_classes, logit), reach=reach)
            for logit in LOGITS
            for reach in (usual, np.full(4, PRIOR_REACH))
        )

    def find(self, maps: dict[str, Any]) -> dict[str, Any]:
        """Returns what `decode` does, from tensors or those of a model under construction."""
        return find_peaks(maps["heat"], maps["reach"], self._most)

    def calibrate(self, batches: Iterable[tuple[Targets, Any]]) -> float:
        """Returns 1: precision ranks the detections, and a temperature changes no rank."""
        return 1.0

    def decode(self, outputs: Any, temperature: float = 1.0) -> dict[str, np.ndarray]:
        """Returns `boxes` float32 [B, D, 4], `scores` [B, D] by falling score, `classes` [B, D]."""
        maps = {name: tf.convert_to_tensor(value) for name, value in outputs.items()}
        return {name: np.asarray(value) for name, value in self.find(maps).items()}

    def new_difference(self) -> Difference:
        """Returns that of scores."""
        return ScoreDifference()

    def decoding_model(self, model: keras.Model, temperature: float) -> keras.Model:
        """Returns the model with what `decode` returns as its outputs.

        They are made by a model within it: operations of the two may have the same names.
        """
        maps = {
            name: keras.Input(value.shape[1:], dtype="float32", name=name)
            for name, value in model.output.items()
        }
        finder = keras.Model(maps, self.find(maps), name=FLOAT_PART)
        return keras.Model(model.inputs[0], finder(model.output), name=model.name)

    def record(self, targets: Targets, predictions: Any) -> Records:
        """Returns the arrays of `match_objects`, [B, ...]."""
        found = {name: np.asarray(value) for name, value in predictions.items()}
        held = {name: np.asarray(value) for name, value in targets.items()}
        # A pixel of the model's input in pixels of the stored image.
        pixel = (held["image_size"] / held["input_size"]).prod(-1)
        parts = [
            match_objects(
                box_similarities(found["boxes"][n], held["boxes"][n], held["crowd"][n]),
                Detections(
                    found["scores"][n],
                    found["classes"][n].astype(np.int64),
                    box_areas(found["boxes"][n]) * pixel[n],
                ),
                TrueObjects(
                    held["box_classes"][n],
                    box_areas(held["boxes"][n]) * pixel[n],
                    held["crowd"][n],
                    np.zeros_like(held["crowd"][n]),
                ),
                self._most,
            )
            for n in range(len(pixel))
        ]
        return {name: np.stack([part[name] for part in parts]) for name in parts[0]}

    def metrics(self, records: Records, counts: np.ndarray) -> dict[str, np.ndarray]:
        """Returns map, map50, map75, map_small, map_medium and map_large of COCO, each [R]."""
        num_classes = int(records["true_class"].max(initial=0)) + 1
        return mean_precisions(class_precisions(records, counts, num_classes))

    def least_score(self, records: Records) -> float | None:
        """Returns that of the highest F1 at an overlap of 0.5."""
        return best_f1_score(records)

    def images_worth(self, metric: str, records: Records) -> float:
        """Returns the number of images: how many show a class is in the resamples."""
        return float(len(records["true_class"]))

    def baselines(
        self,
        dataset_dir: Path,
        info: DatasetInfo,
        primary: str,
        seed: int,
        feature_dir: Path | None,
    ) -> tuple[dict[str, Records], list[str]]:
        """Returns the records of `zero_rule`: the same boxes in every image."""
        # Boxes may have any size; maps of objects are drawn in it.
        scale = min(1.0, _BASELINE_SIDE / max(info.median_height, info.median_width))
        height, width = (
            max(1, round(scale * side)) for side in (info.median_height, info.median_width)
        )
        size = height, width
        train, test = (open_split(dataset_dir, split) for split in ("train", "test"))
        read = self.open_targets(test, size, len(info.classes))
        found = self.zero_rule(train, size, len(info.classes))
        records = []
        for rows in np.array_split(np.arange(len(test)), math.ceil(len(test) / _BATCH)):
            same = {
                name: np.broadcast_to(value, (len(rows), *value.shape))
                for name, value in found.items()
            }
            records.append(self.record(read(rows), same))
        return {"zero_rule": join_records(records)}, []

    def zero_rule(self, train: pa.Table, size: tuple[int, int], num_classes: int) -> dict[str, Any]:
        """Returns what is found in every image, without its axis; as of `zero_rule_boxes`."""
        return zero_rule_boxes(train, size, num_classes)

    def explain(
        self,
        test: LabelledImages,
        batches: Iterable[tuple[Targets, Any]],
        temperature: float,
        classes: Sequence[str],
        num_mistakes: int,
        least_score: float | None,
    ) -> tuple[dict[str, Any], pa.Table]:
        """Returns figures per class and size, curves, pictures; what was found in each image."""
        evidence = self.evidence(classes, test, num_mistakes, least_score or 0.0)
        for targets, outputs in batches:
            found = self.decode(outputs, temperature)
            evidence.add(targets, found, self.record(targets, found))
        return evidence.fields(), evidence.table()


def zero_rule_boxes(train: pa.Table, size: tuple[int, int], num_classes: int) -> dict[str, Any]:
    """Returns the median box of each class of the training images, scored by how usual it is.

    Args:
        train: Rows of the split.
        size: (height, width) of the images that the boxes are for.
        num_classes: C.
    """
    objects = read_objects(train)
    image = np.repeat(np.arange(len(objects.sizes)), np.diff(objects.starts))
    scales = (np.array(size) / objects.sizes)[image][:, [1, 0, 1, 0]]
    boxes, scores = np.zeros((num_classes, 4), np.float32), np.zeros(num_classes, np.float32)
    for number in range(num_classes):
        own = (objects.classes == number) & ~objects.crowd
        if own.any():
            boxes[number] = np.median(objects.boxes[own] * scales[own], axis=0)
            scores[number] = len(np.unique(image[own])) / len(objects.sizes)
    return {"boxes": boxes, "scores": scores, "classes": np.arange(num_classes)}


def constant_loss(
    loss: Callable[[Targets, Any], Any], targets: Targets, **values: np.ndarray
) -> float:
    """Returns the mean loss of outputs that are the same in every cell.

    Args:
        loss: Of targets and outputs, [B].
        targets: Of a batch.
        values: Name of an output -> what it says, [F].
    """
    held = {name: np.asarray(value) for name, value in targets.items()}
    height, width = np.ceil(held["input_size"][0] / CELL).astype(int)
    shape = (len(held["boxes"]), height, width)
    outputs = {
        name: tf.broadcast_to(tf.constant(value, tf.float32), (*shape, len(value)))
        for name, value in values.items()
    }
    return float(tf.reduce_mean(loss(held, outputs)))
