"""Metrics of a set of images from what is kept of each, batch by batch."""

from collections.abc import Iterable

import numpy as np

from kfp_vision.components.shared.metrics.scores import of_whole_set
from kfp_vision.components.shared.tasks.protocol import Records, Task

__all__ = ["join_records", "whole_set_metrics"]


def join_records(parts: Iterable[Records]) -> Records:
    """Returns the records of all images, from those of batches."""
    held = list(parts)
    return {name: np.concatenate([part[name] for part in held]) for name in held[0]}


def whole_set_metrics(task: Task, records: Records) -> dict[str, float]:
    """Returns the metrics of a set of images; those that are not defined are left out."""
    num_images = len(next(iter(records.values())))
    return of_whole_set(task.metrics(records, np.ones((num_images, 1))))
