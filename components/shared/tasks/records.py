"""Metrics of a set of images from what is kept of each, batch by batch."""

from collections.abc import Iterable

import numpy as np

from kfp_vision.components.shared.metrics.scores import of_whole_set
from kfp_vision.components.shared.tasks.protocol import Records, Task

__all__ = ["join_records", "whole_set_metrics"]


def join_records(parts: Iterable[Records]) -> Records:
    """Returns the records (or targets) of all images, from those of batches or splits.

    Where these have places for different numbers of objects, [N, M, ...], all get the largest M;
    added places are 0 or, of signed integers, -1, which is no class.
    """
    held = list(parts)
    return {name: _join([part[name] for part in held]) for name in held[0]}


def _join(arrays: list[np.ndarray]) -> np.ndarray:
    if len({each.shape[1:] for each in arrays}) > 1:
        most = max(each.shape[1] for each in arrays)
        fill = -1 if np.issubdtype(arrays[0].dtype, np.signedinteger) else 0
        rest = [(0, 0)] * (arrays[0].ndim - 2)
        arrays = [
            np.pad(each, [(0, 0), (0, most - each.shape[1]), *rest], constant_values=fill)
            for each in arrays
        ]
    return np.concatenate(arrays)


def whole_set_metrics(task: Task, records: Records) -> dict[str, float]:
    """Returns the metrics of a set of images; those that are not defined are left out."""
    num_images = len(next(iter(records.values())))
    return of_whole_set(task.metrics(records, np.ones((num_images, 1))))
