"""What keypoints must beat: poses of training images, without a network.

Shapes: O objects, K keypoints; poses [O, K, 3] as (x, y, visibility).
"""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.datasets.loader import ImageSource
from kfp_vision.components.shared.datasets.store import open_split
from kfp_vision.components.shared.tasks.detection import zero_rule_boxes
from kfp_vision.components.shared.tasks.objects import read_keypoints, read_objects
from kfp_vision.components.shared.tasks.protocol import Records, Targets, Task
from kfp_vision.components.shared.tasks.records import join_records

__all__ = ["predict_keypoint_baselines", "usual_poses"]

# Pixels a side at which images are compared.
_SIDE = 32
# Training images that are looked at, and test images at once.
_MOST_IMAGES, _ROWS = 2000, 64


def predict_keypoint_baselines(
    task: Task, dataset_dir: Path, info: DatasetInfo
) -> dict[str, Records]:
    """Returns the records of the test images, by two rules.

    `zero_rule` says the mean pose of each class in every image, `nearest_image` what is labelled in
    the training image whose pixels are nearest.

    Args:
        task: Makes targets and records.
        dataset_dir: Folder of the dataset.
        info: Of the dataset.
    """
    size, num_classes = (info.median_height, info.median_width), len(info.classes)
    train, test = (open_split(dataset_dir, split) for split in ("train", "test"))
    read, read_train = (task.open_targets(each, size, num_classes) for each in (test, train))
    usual = usual_poses(train, size, num_classes, len(info.keypoint_names))
    known = np.unique(np.linspace(0, len(train) - 1, min(len(train), _MOST_IMAGES)).astype(int))
    nearest = _Nearest(dataset_dir, info.channels, known)
    parts: dict[str, list[Records]] = {"zero_rule": [], "nearest_image": []}
    for start in range(0, len(test), _ROWS):
        rows = np.arange(start, min(start + _ROWS, len(test)))
        targets = read(rows)
        same = {n: np.broadcast_to(each, (len(rows), *each.shape)) for n, each in usual.items()}
        parts["zero_rule"].append(task.record(targets, same))
        copied = _as_found(read_train(nearest.to(rows)))
        parts["nearest_image"].append(task.record(targets, copied))
    return {name: join_records(held) for name, held in parts.items()}


class _Nearest:
    """The training images that are nearest to test images, by their pixels."""

    def __init__(self, dataset_dir: Path, channels: int, known: np.ndarray) -> None:
        """Reads some training images, int [n]."""
        self._train, self._test = (
            ImageSource(dataset_dir, split, (_SIDE, _SIDE), channels, 0)
            for split in ("train", "test")
        )
        self._known = known
        self._pixels = self._flat(self._train, known)

    def _flat(self, source: ImageSource, rows: np.ndarray) -> np.ndarray:
        return source.take(rows).reshape(len(rows), -1).astype(np.float32)

    def to(self, rows: np.ndarray) -> np.ndarray:
        """Returns the rows of the training images that are nearest to test images, int [B]."""
        # |a - b|^2 less |a|^2, which is the same for all training images.
        asked = self._flat(self._test, rows)
        distances = (self._pixels**2).sum(axis=1) - 2 * asked @ self._pixels.T
        nearest: np.ndarray = self._known[distances.argmin(axis=1)]
        return nearest


def usual_poses(
    train: pa.Table, size: tuple[int, int], num_classes: int, num_keypoints: int
) -> dict[str, np.ndarray]:
    """Returns those of `zero_rule_boxes` and the mean place of each keypoint in their class.

    Args:
        train: Rows of the split.
        size: (height, width) of the images that the poses are for.
        num_classes: C.
        num_keypoints: K.
    """
    objects = read_objects(train)
    keypoints = read_keypoints(train, objects, num_keypoints)
    image = np.repeat(np.arange(len(objects.sizes)), np.diff(objects.starts))
    places = keypoints[..., :2] * (np.array(size) / objects.sizes)[image][:, None, ::-1]
    labelled = (keypoints[..., 2] > 0) & ~objects.crowd[:, None]
    poses = np.zeros((num_classes, num_keypoints, 3), np.float32)
    for label in range(num_classes):
        own = labelled & (objects.classes == label)[:, None]
        count = own.sum(axis=0)
        total = np.where(own[..., None], places, 0.0).sum(axis=0)
        poses[label, :, :2] = total / np.maximum(count, 1)[:, None]
        poses[label, :, 2] = count / max(own.any(axis=1).sum(), 1)
    return {**zero_rule_boxes(train, size, num_classes), "keypoints": poses}


def _as_found(targets: Targets) -> dict[str, Any]:
    """Returns objects as if a model had found them, all equally sure; crowds are none."""
    held = {name: np.asarray(value) for name, value in targets.items()}
    is_object = (held["box_classes"] >= 0) & ~held["crowd"]
    return {
        "boxes": held["boxes"],
        "scores": is_object.astype(np.float32),
        "classes": np.where(is_object, held["box_classes"], -1),
        "keypoints": held["keypoints"],
    }
