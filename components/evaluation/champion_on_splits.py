"""The champion on images whose targets lie in them: its metric on each of several splits.

Classes that not all splits show are left out: a mean over other classes is another metric.
"""

import contextlib
import dataclasses
import io
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf
from PIL import Image

from kfp_vision.components.evaluation.bootstrap import score_with_intervals
from kfp_vision.components.evaluation.champion_model import (
    CHAMPION_FILES,
    map_classes,
    open_champion,
)
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.champions.store import fetch_version
from kfp_vision.components.shared.datasets.labelled import open_labelled
from kfp_vision.components.shared.datasets.store import label_arrays, open_split
from kfp_vision.components.shared.tasks import task_of
from kfp_vision.components.shared.tasks.masks import IGNORED, encode_mask
from kfp_vision.components.shared.tasks.objects import BOX_CLASSES, MASK, NO_CLASS
from kfp_vision.components.shared.tasks.records import join_records
from kfp_vision.components.shared.training.inference import SplitOutputs

__all__ = ["score_on_splits"]

_NUM_RESAMPLES = 1000


def score_on_splits(
    champion_uri: str, version: str, dataset_dir: Path, info: DatasetInfo, metric: str
) -> dict[str, dict[str, Any]]:
    """Returns split -> `{"value", "ci95"}`; splits in which the metric is not defined are left out.

    Args:
        champion_uri: Folder of the champions.
        version: Name of the champion, which is for the task of the images.
        dataset_dir: Holds the splits.
        info: Of them.
        metric: Of the task.

    Raises:
        ValueError: The champion cannot be opened.
        StorageError: It cannot be read, or is damaged.
    """
    # A process that watches goes on beside trainings, which need all memory of a GPU.
    with contextlib.suppress(RuntimeError):
        tf.config.set_visible_devices([], "GPU")
    with tempfile.TemporaryDirectory(prefix="kfp-vision-") as scratch:
        fetch_version(champion_uri, version, CHAMPION_FILES, Path(scratch))
        card, infer = open_champion(Path(scratch))
    task, shape = task_of(info), (card.image_size[0], card.image_size[1], card.channels)
    shown = [{*label_arrays(open_split(dataset_dir, split))[0].tolist()} for split in info.splits]
    left_out = set.union(*shown) - set.intersection(*shown)
    # Nothing can be predicted as a class without a name.
    names = ["" if label in left_out else name for label, name in enumerate(info.classes)]
    scores = {}
    for split, count in info.splits.items():
        images = open_labelled(dataset_dir, split, shape, task, len(names))
        truth = _without(images.source.table, left_out)
        read = task.open_truth(truth, shape[:2], len(names))
        images = dataclasses.replace(images, read_targets=read)
        outputs = SplitOutputs(infer, images, np.arange(count), f"champion, {split}")
        records = join_records(
            task.record(targets, map_classes(each, card.classes, names))
            for targets, each in outputs
        )
        found = score_with_intervals(task, records, _NUM_RESAMPLES, seed=0)
        if metric in found:
            scores[split] = found[metric]
    return scores


def _without(table: pa.Table, labels: Collection[int]) -> pa.Table:
    """Returns rows of the store in which what is of some classes is of none."""
    for name, change in {BOX_CLASSES.name: _boxes_without, MASK.name: _mask_without}.items():
        if labels and name in table.column_names:
            values = [change(each, [*labels]) for each in table[name].to_pylist()]
            place, field = table.schema.get_field_index(name), table.schema.field(name)
            table = table.set_column(place, field, pa.array(values, field.type))
    return table


def _boxes_without(classes: Sequence[int], labels: Sequence[int]) -> list[int]:
    return [NO_CLASS if each in labels else each for each in classes]


def _mask_without(content: bytes, labels: Sequence[int]) -> bytes:
    with Image.open(io.BytesIO(content)) as image:
        mask = np.asarray(image)
    return encode_mask(np.where(np.isin(mask, labels), np.uint8(IGNORED), mask))
