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

__all__ = ["predict_keypoint_baselines", "usual_poses"]

# Pixels a side at which images are compared, as the embeddings of the linear baseline are small.
_SIDE = 32
# Training images that are looked at.
_MOST_IMAGES = 2000


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
    targets = task.open_targets(test, size, num_classes)(np.arange(len(test)))
    usual = usual_poses(train, size, num_classes, len(info.keypoint_names))
    same = {n: np.broadcast_to(value, (len(test), *value.shape)) for n, value in usual.items()}
    rows = np.unique(np.linspace(0, len(train) - 1, min(len(train), _MOST_IMAGES)).astype(int))
    nearest = rows[_nearest(dataset_dir, info.channels, rows, len(test))]
    copied = _as_found(task.open_targets(train, size, num_classes)(nearest))
    return {"zero_rule": task.record(targets, same), "nearest_image": task.record(targets, copied)}


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


def _nearest(dataset_dir: Path, channels: int, rows: np.ndarray, num_test: int) -> np.ndarray:
    """Returns which of some training images is nearest to each test image, int [N]."""

    def pixels(split: str, chosen: np.ndarray) -> np.ndarray:
        source = ImageSource(dataset_dir, split, (_SIDE, _SIDE), channels, 0)
        return source.take(chosen).reshape(len(chosen), -1).astype(np.float32)

    known, asked = pixels("train", rows), pixels("test", np.arange(num_test))
    # |a - b|^2 less |a|^2, which is the same for all training images.
    distances = (known**2).sum(axis=1) - 2 * asked @ known.T
    nearest: np.ndarray = distances.argmin(axis=1)
    return nearest


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
