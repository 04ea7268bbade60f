"""What a segmentation must beat: rules that never look at the image.

Shapes: S x S cells of an image whatever its size, C classes; masks uint8 [B, S, S]. A rule is
judged as a model is that takes S x S pixels.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.datasets.store import open_split
from kfp_vision.components.shared.tasks.masks import IGNORED, open_stored_masks, read_masks
from kfp_vision.components.shared.tasks.protocol import Records, Task
from kfp_vision.components.shared.tasks.records import join_records

__all__ = ["predict_mask_baselines"]

# Cells a side, and images that are read at once.
_SIDE, _ROWS = 96, 64


def predict_mask_baselines(task: Task, dataset_dir: Path, info: DatasetInfo) -> dict[str, Records]:
    """Returns the records of the test images, by two rules.

    `zero_rule` says the most frequent class everywhere, `usual_place` the most frequent one at each
    place of the training images.

    Args:
        task: Makes the records.
        dataset_dir: Folder of the dataset.
        info: Of the dataset.
    """
    train, num_classes = open_split(dataset_dir, "train"), len(info.classes)
    counts = np.zeros((IGNORED + 1, _SIDE, _SIDE), np.int64)
    for rows in _batches(train):
        masks = read_masks(train, rows, (_SIDE, _SIDE))
        for label in np.unique(masks):
            counts[label] += (masks == label).sum(0)
    counts = counts[:num_classes]
    total = counts.sum((1, 2))
    # A place that no mask knows follows the whole set.
    usual = (counts + total[:, None, None] / max(total.sum(), 1)).argmax(0)
    rules = {"zero_rule": np.full((_SIDE, _SIDE), total.argmax()), "usual_place": usual}
    test = open_split(dataset_dir, "test")
    truths = list(map(open_stored_masks(test), _batches(test)))
    return {
        name: join_records(
            task.record({"stored": truth}, np.eye(num_classes, dtype=np.uint8)[[rule] * len(truth)])
            for truth in truths
        )
        for name, rule in rules.items()
    }


def _batches(table: pa.Table) -> Iterator[np.ndarray]:
    for start in range(0, table.num_rows, _ROWS):
        yield np.arange(start, min(start + _ROWS, table.num_rows))
