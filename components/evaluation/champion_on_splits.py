"""The champion on images whose targets lie in them: its metric on each of several splits.

Classes that not all splits show are left out: a mean over other classes is another metric. B images
of a batch.
"""

import contextlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

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
from kfp_vision.components.shared.tasks import Targets, task_of
from kfp_vision.components.shared.tasks.masks import IGNORED
from kfp_vision.components.shared.tasks.objects import NO_CLASS
from kfp_vision.components.shared.tasks.records import join_records
from kfp_vision.components.shared.training.inference import SplitOutputs

__all__ = ["score_on_splits"]

_NUM_RESAMPLES = 1000
# Target -> what says that there is no class.
_CLASSES = {"box_classes": NO_CLASS, "mask": IGNORED}


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
    labels = (label_arrays(open_split(dataset_dir, name))[0].tolist() for name in info.splits)
    common = sorted(set.intersection(*map(set, labels)))
    # Nothing can be predicted as a class without a name.
    names = [name if label in common else "" for label, name in enumerate(info.classes)]
    scores = {}
    for split, count in info.splits.items():
        images = open_labelled(dataset_dir, split, shape, task, len(names))
        outputs = SplitOutputs(infer, images, np.arange(count), f"champion, {split}")
        records = join_records(
            task.record(_only(common, targets), map_classes(each, card.classes, names))
            for targets, each in outputs
        )
        found = score_with_intervals(task, records, _NUM_RESAMPLES, seed=0)
        if metric in found:
            scores[split] = found[metric]
    return scores


def _only(labels: Sequence[int], targets: Targets) -> Targets:
    """Returns targets [B, ...] in which other classes are none."""
    held = {
        name: (np.asarray(targets[name]), none)
        for name, none in _CLASSES.items()
        if name in targets
    }
    return {
        **targets,
        **{
            name: np.where(np.isin(each, labels), each, none) for name, (each, none) in held.items()
        },
    }
