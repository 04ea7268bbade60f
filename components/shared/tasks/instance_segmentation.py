"""Instance segmentation: a detection whose objects have masks, outputs of mask_embedding.py.

Shapes: M objects of an image at most, N detections; masks [B, N, S, S] of the window of each box.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf
from pycocotools import mask as coco_mask

from kfp_vision.components.shared.augmentation.augment import Augmented
from kfp_vision.components.shared.augmentation.mixing import (
    inside,
    join_quarters,
    quarters,
)
from kfp_vision.components.shared.augmentation.targets import moves, warp_masks
from kfp_vision.components.shared.heads.mask_embedding import MASK_CELL, find_masks, mask_embedding
from kfp_vision.components.shared.heads.mask_window import MASK_SIDE, window_points
from kfp_vision.components.shared.losses.detection import detection_loss
from kfp_vision.components.shared.losses.instance_masks import mask_loss
from kfp_vision.components.shared.metrics.object_precision import (
    Detections,
    TrueObjects,
    match_objects,
)
from kfp_vision.components.shared.tasks.detection import Detection
from kfp_vision.components.shared.tasks.objects import read_objects
from kfp_vision.components.shared.tasks.protocol import ReadTargets, Records, Targets
from kfp_vision.components.shared.tasks.segment_evidence import SegmentEvidence
from kfp_vision.components.shared.tasks.segments import (
    UNKNOWN,
    codes_of,
    paste_masks,
    read_segments,
)

__all__ = ["InstanceSegmentation"]

# Images whose points are held at once.
_BATCH = 32


class InstanceSegmentation(Detection):
    """A mask, a box and a class for every object."""

    name = "instance_segmentation"
    evidence = SegmentEvidence

    def open_targets(self, table: pa.Table, size: tuple[int, int], num_classes: int) -> ReadTargets:
        """Returns what reads the arrays of a detection and those of `Segments.batch`."""
        of_boxes = super().open_targets(table, size, num_classes)
        segments = read_segments(table, read_objects(table))
        return lambda rows: {**of_boxes(rows), **segments.batch(rows, size)}

    def augment_targets(
        self, targets: Targets, augmented: Augmented
    ) -> Sequence[tuple[Any, Targets]]:
        """Returns what a detection does, and the moved maps of each image and of its partner.

        Of a mosaic the first has the upper half and the second the lower.
        """
        ((share, moved),) = super().augment_targets(targets, augmented)
        own = warp_masks(tf.cast(targets["instances"], tf.int32), moves(augmented), UNKNOWN)
        partners, weights, cut, mosaics = augmented.mixing
        size, theirs = own.shape[1:], tf.gather(own, partners)
        pasted = inside(cut, *size)[..., 0]
        is_blended = (weights < 1.0)[:, None, None]
        beside = tf.where(pasted, 0, own), tf.where(pasted | is_blended, theirs, 0)
        four = quarters(own[:, ::2, ::2], partners)
        # The objects of every second quarter follow those of the one before it.
        four = [
            tf.where(each > 0, each + place % 2 * targets["boxes"].shape[1], each)
            for place, each in enumerate(four)
        ]
        unknown = [tf.minimum(each, 0) for each in four]
        tiles = (
            join_quarters([*four[:2], *unknown[2:]], *size),
            join_quarters([*unknown[:2], *four[2:]], *size),
        )
        upper, lower = (
            tf.where(mosaics[:, None, None], tile, held)
            for tile, held in zip(tiles, beside, strict=True)
        )
        return [(share, {**moved, "instances": upper, "partner_instances": lower})]

    def build_head(self, features: Sequence[Any], num_classes: int, dropout: float) -> Any:
        """Returns `heat` and `reach` of the pyramid, and `embedding`."""
        return mask_embedding(features, num_classes, dropout)

    def loss(
        self,
        targets: Targets,
        outputs: Any,
        *,
        label_smoothing: Any = 0.0,
        class_weights: Any | None = None,
    ) -> Any:
        """Returns the loss of the detection and Dice loss of the masks, an object, [B]."""
        return detection_loss(targets, outputs) + mask_loss(targets, outputs["embedding"])

    def initial_loss(self, targets: Targets, num_classes: int) -> float:
        """Returns the loss of the head before it has learned anything."""
        return super().initial_loss(targets, num_classes) + _ellipse_loss(targets)

    def frequency_loss(self, targets: Targets, class_weights: np.ndarray | None) -> float:
        """Returns that of a detection, with the ellipses within the boxes as masks."""
        return super().frequency_loss(targets, class_weights) + _ellipse_loss(targets)

    def find(self, maps: dict[str, Any]) -> dict[str, Any]:
        """Returns what `decode` does, from tensors or those of a model under construction."""
        return find_masks(maps["heat"], maps["reach"], maps["embedding"], self._most)

    def metrics(self, records: Records, counts: np.ndarray) -> dict[str, np.ndarray]:
        """Returns what a detection has, of masks: mask_map, mask_map50 and so on, each [R]."""
        return {f"mask_{name}": value for name, value in super().metrics(records, counts).items()}

    def zero_rule(self, train: pa.Table, size: tuple[int, int], num_classes: int) -> dict[str, Any]:
        """Returns the boxes of a detection, in each of them the ellipse within."""
        found = super().zero_rule(train, size, num_classes)
        x, y = window_points(np.array([-1.0, -1.0, 1.0, 1.0]), MASK_SIDE)
        ellipse = (x * x + y[:, None] * y[:, None] <= 1.0).astype(np.float32)
        return {**found, "masks": np.broadcast_to(ellipse, (num_classes, *ellipse.shape))}

    def record(self, targets: Targets, predictions: Any) -> Records:
        """Returns the arrays of `match_objects`, [B, ...], of masks in pixels as stored."""
        found = {name: np.asarray(value) for name, value in predictions.items()}
        held = {name: np.asarray(value) for name, value in targets.items()}
        parts = [
            _match(
                {name: value[n] for name, value in found.items()},
                {name: value[n] for name, value in held.items()},
                self._most,
            )
            for n in range(len(found["scores"]))
        ]
        return {name: np.stack([part[name] for part in parts]) for name in parts[0]}


def _ellipse_loss(targets: Targets) -> float:
    """Returns the mean loss of masks of an embedding that is 0 everywhere."""
    losses = []
    for start in range(0, len(targets["boxes"]), _BATCH):
        part = {name: np.asarray(each)[start : start + _BATCH] for name, each in targets.items()}
        height, width = np.ceil(part["input_size"][0] / MASK_CELL).astype(int)
        embedding = tf.zeros([len(part["boxes"]), height, width, 3])
        losses.append(np.asarray(mask_loss(part, embedding)))
    return float(np.concatenate(losses).mean())


def _match(found: Mapping[str, np.ndarray], held: Mapping[str, np.ndarray], most: int) -> Records:
    """Returns the record of one image, of which a model returns at most so many objects."""
    codes = paste_masks(found["boxes"], found["masks"], held["input_size"], held["image_size"])
    truth = codes_of(held["codes"], held["code_bytes"], held["image_size"])
    return match_objects(
        np.asarray(coco_mask.iou(codes, truth, held["crowd"].tolist())),
        Detections(
            found["scores"], found["classes"].astype(np.int64), coco_mask.area(codes).astype(float)
        ),
        TrueObjects(
            held["box_classes"],
            coco_mask.area(truth).astype(float),
            held["crowd"],
            np.zeros_like(held["crowd"]),
        ),
        most,
    )
