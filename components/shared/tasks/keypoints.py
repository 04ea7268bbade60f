"""Keypoints of objects: a detection whose objects have keypoints, outputs of keypoint_detector.py.

Shapes: M objects of an image at most, D detections, K keypoints; targets `keypoints` [B, M, K, 3]
as (x, y, visibility) and predictions [B, D, K, 3] as (x, y, score), pixels of the model's input.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf

from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.augmentation.augment import Augmented
from kfp_vision.components.shared.augmentation.mixing import quarters
from kfp_vision.components.shared.augmentation.targets import (
    cut_keypoints,
    mosaic_keypoints,
    moves,
    warp_keypoints,
)
from kfp_vision.components.shared.datasets.labelled import LabelledImages
from kfp_vision.components.shared.heads.centre_detector import CELL, PRIOR_LOGIT
from kfp_vision.components.shared.heads.keypoint_detector import find_keypoints, keypoint_detector
from kfp_vision.components.shared.losses.detection import detection_loss
from kfp_vision.components.shared.losses.keypoints import keypoint_loss
from kfp_vision.components.shared.metrics.keypoint_similarity import (
    MAX_DETECTIONS,
    judged_distances,
    keypoint_areas,
    keypoint_sigmas,
    keypoint_similarities,
)
from kfp_vision.components.shared.metrics.object_precision import (
    Detections,
    TrueObjects,
    box_areas,
    match_objects,
)
from kfp_vision.components.shared.tasks.detection import LOGITS, Detection, constant_loss
from kfp_vision.components.shared.tasks.keypoint_baselines import predict_keypoint_baselines
from kfp_vision.components.shared.tasks.keypoint_evidence import NEAR, KeypointEvidence
from kfp_vision.components.shared.tasks.objects import NO_CLASS, pad, read_keypoints, read_objects
from kfp_vision.components.shared.tasks.protocol import ReadTargets, Records, Targets

__all__ = ["Keypoints"]


class Keypoints(Detection):
    """A box, a class and K keypoints for every object."""

    name = "keypoints"

    def __init__(
        self, names: Sequence[str], swaps: Sequence[Sequence[int]], most_objects: int = 0
    ) -> None:
        """Knows which keypoints there are.

        Args:
            names: K names.
            swaps: Pairs of positions that a mirror image swaps.
            most_objects: As of `Detection`.
        """
        super().__init__(most_objects)
        self._judged = max(MAX_DETECTIONS, most_objects)
        self._names, self._sigmas = list(names), keypoint_sigmas(names)
        self._mirrored = list(range(len(names)))
        for first, second in swaps:
            self._mirrored[first], self._mirrored[second] = second, first

    def open_targets(self, table: pa.Table, size: tuple[int, int], num_classes: int) -> ReadTargets:
        """Returns what reads the arrays of a detection, and `keypoints` float32 [*S, M, K, 3]."""
        of_boxes, objects = super().open_targets(table, size, num_classes), read_objects(table)
        keypoints = read_keypoints(table, objects, len(self._names))

        def read(rows: np.ndarray) -> dict[str, np.ndarray]:
            targets = of_boxes(rows)
            scales = (targets["input_size"] / targets["image_size"])[..., None, None, ::-1]
            held = pad(keypoints, objects.starts, rows, objects.most, 0.0)
            moved = np.concatenate([held[..., :2] * scales, held[..., 2:]], -1)
            return {**targets, "keypoints": moved}

        return read

    def augment_targets(
        self, targets: Targets, augmented: Augmented
    ) -> Sequence[tuple[Any, Targets]]:
        """Returns what a detection does, and the moved keypoints of images and partners.

        Those that leave the image, or that a cut covers, are not labelled any more.
        """
        ((share, moved),) = super().augment_targets(targets, augmented)
        height, width = augmented.images.shape[1:3]
        held = targets["keypoints"]
        most, number = held.shape[1:3]
        flat = tf.reshape(held, [-1, most * number, 3])
        swaps = [number * place + other for place in range(most) for other in self._mirrored]
        points, labelled = warp_keypoints(
            flat[..., :2], flat[..., 2] > 0.0, moves(augmented), height, width, swaps
        )
        partners, weights, cut, mosaics = augmented.mixing
        both, shown = cut_keypoints(points, labelled, partners, cut)
        blended = tf.concat([labelled, tf.gather(labelled, partners)], 1)
        shown = tf.where((weights < 1.0)[:, None], blended, shown)
        mine, theirs = tf.split(both, 2, 1)
        (is_mine, is_theirs), none = tf.split(shown, 2, 1), tf.zeros_like(labelled)
        placed = tf.where(
            mosaics[:, None, None],
            mosaic_keypoints(points, partners, height, width),
            tf.concat([mine, mine, theirs, theirs], 1),
        )
        known = tf.where(
            mosaics[:, None],
            tf.concat(quarters(labelled, partners), 1),
            tf.concat([is_mine, none, is_theirs, none], 1),
        )
        held = tf.concat([placed, tf.cast(known, tf.float32)[..., None]], -1)
        return [
            (share, {**moved, "keypoints": tf.reshape(held, [-1, 4 * most, number, 3])}),
        ]

    def build_head(self, features: Sequence[Any], num_classes: int, dropout: float) -> Any:
        """Returns `heat`, `reach`, `points` and `offsets` of the pyramid."""
        return keypoint_detector(features, num_classes, len(self._names), dropout)

    def loss(
        self,
        targets: Targets,
        outputs: Any,
        *,
        label_smoothing: Any = 0.0,
        class_weights: Any | None = None,
    ) -> Any:
        """Returns the loss of the detection and that of the keypoints, [B]."""
        return detection_loss(targets, outputs) + keypoint_loss(targets, outputs)

    def initial_loss(self, targets: Targets, num_classes: int) -> float:
        """Returns the loss of the head before it has learned anything."""
        number = len(self._names)
        points, offsets = np.full(number, PRIOR_LOGIT), np.zeros(4 * number)
        of_points = constant_loss(keypoint_loss, targets, points=points, offsets=offsets)
        return super().initial_loss(targets, num_classes) + of_points

    def frequency_loss(self, targets: Targets, class_weights: np.ndarray | None) -> float:
        """Returns the lowest loss of one logit everywhere, with boxes and poses of one kind."""
        held, boxes = (np.asarray(targets[name]) for name in ("keypoints", "boxes"))
        number = len(self._names)
        apart = held[..., :2] - ((boxes[..., :2] + boxes[..., 2:]) / 2)[..., None, :]
        usual = np.zeros((2 * number, 2))
        for place, labelled in enumerate(np.moveaxis(held[..., 2] > 0, -1, 0)):
            if labelled.any():
                usual[place] = np.median(apart[..., place, :][labelled], axis=0) / CELL
        of_points = min(
            constant_loss(
                keypoint_loss, targets, points=np.full(number, logit), offsets=usual.ravel()
            )
            for logit in LOGITS
        )
        return super().frequency_loss(targets, class_weights) + of_points

    def find(self, maps: dict[str, Any]) -> dict[str, Any]:
        """Returns what `decode` does, from tensors or those of a model under construction."""
        return find_keypoints(maps, self._most)

    def record(self, targets: Targets, predictions: Any) -> Records:
        """Returns the arrays of `match_objects`, `distance` and `labelled`, [B, ...].

        `distance` float32 [B, M, K] is that of `judged_distances` as a share of the diagonal of the
        image, in pixels as it is stored; `labelled` bool says where there is one.
        """
        found = {name: np.asarray(value) for name, value in predictions.items()}
        held = {name: np.asarray(value) for name, value in targets.items()}
        # A pixel of the model's input in pixels of the stored image.
        pixels = (held["image_size"] / held["input_size"])[:, None, ::-1]
        parts = []
        for n, pixel in enumerate(pixels):
            truth = np.concatenate(
                [held["keypoints"][n, ..., :2] * pixel, held["keypoints"][n, ..., 2:]], -1
            )
            points, classes = found["keypoints"][n, ..., :2] * pixel, found["classes"][n]
            boxes = held["boxes"][n] * np.tile(pixel, 2)
            crowd, areas = held["crowd"][n], box_areas(boxes)
            labels = held["box_classes"][n]
            matched = match_objects(
                keypoint_similarities(points, truth, boxes, areas, self._sigmas),
                Detections(found["scores"][n], classes.astype(np.int64), keypoint_areas(points)),
                TrueObjects(labels, areas, crowd, np.all(truth[..., 2] <= 0, axis=1)),
                self._judged,
            )
            distances = judged_distances(
                points, found["scores"][n], classes, truth, np.where(crowd, NO_CLASS, labels)
            )
            labelled = ~np.isnan(distances)
            shares = np.where(labelled, distances / np.hypot(*held["image_size"][n]), 0.0)
            matched |= {"distance": shares.astype(np.float32), "labelled": labelled}
            parts.append(matched)
        return {name: np.stack([part[name] for part in parts]) for name in parts[0]}

    def metrics(self, records: Records, counts: np.ndarray) -> dict[str, np.ndarray]:
        """Returns pck, and oks_map, oks_map50 and so on of COCO, each [R]."""
        labelled = records["labelled"].sum(axis=(1, 2)) @ counts
        right = (records["labelled"] & (records["distance"] < NEAR)).sum(axis=(1, 2)) @ counts
        precisions = super().metrics(records, counts)
        return {
            "pck": np.divide(right, labelled, out=np.full(len(right), np.nan), where=labelled > 0),
            # COCO has no small objects for keypoints.
            **{f"oks_{name}": each for name, each in precisions.items() if name != "map_small"},
        }

    def baselines(
        self,
        dataset_dir: Path,
        info: DatasetInfo,
        primary: str,
        seed: int,
        feature_dir: Path | None,
    ) -> tuple[dict[str, Records], list[str]]:
        """Returns the records of `zero_rule` and `nearest_image`."""
        return predict_keypoint_baselines(self, dataset_dir, info), []

    def explain(
        self,
        test: LabelledImages,
        batches: Iterable[tuple[Targets, Any]],
        temperature: float,
        classes: Sequence[str],
        num_mistakes: int,
        least_score: float | None,
    ) -> tuple[dict[str, Any], pa.Table]:
        """Returns figures per class and keypoint, curves, pictures; a row an image."""
        evidence = KeypointEvidence(classes, self._names, test, num_mistakes, least_score or 0.0)
        for targets, outputs in batches:
            found = self.decode(outputs, temperature)
            evidence.add(targets, found, self.record(targets, found))
        return evidence.fields(), evidence.table()
