"""Percentile bootstrap over images: N images, R resamples.

Reference: Efron & Tibshirani, 1993, An Introduction to the Bootstrap, chapter 13.
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np

from kfp_vision.components.shared.tasks import Targets, Task

__all__ = ["draw_counts", "score_with_intervals"]

# Counts of a chunk stay in the cache: 16 MiB of float32.
_CHUNK_ELEMENTS = 4 * 2**20


def draw_counts(num_images: int, num_resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Yields how often each image is in each resample, float32 [N, r], r adding up to R.

    The same arguments give the same resamples, so that two models are scored on the same ones.
    """
    generator = np.random.default_rng(seed)
    chunk = max(1, _CHUNK_ELEMENTS // num_images)
    for start in range(0, num_resamples, chunk):
        rows = min(chunk, num_resamples - start)
        drawn = generator.integers(num_images, size=(rows, num_images))
        drawn += num_images * np.arange(rows)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=rows * num_images)
        yield np.ascontiguousarray(counts.reshape(rows, num_images).T, np.float32)


def score_with_intervals(
    task: Task, targets: Targets, predictions: np.ndarray, num_resamples: int, seed: int
) -> dict[str, dict[str, Any]]:
    """Returns metric -> `{"value", "ci95": [low, high]}`; undefined metrics are left out.

    A resample that leaves a metric undefined (no image of a class) does not count for it.
    """
    num_images = len(predictions)
    resampled: dict[str, list[np.ndarray]] = defaultdict(list)
    for counts in draw_counts(num_images, num_resamples, seed):
        for name, values in task.resampled_metrics(targets, predictions, counts).items():
            resampled[name].append(values)
    scores = {}
    for name, value in task.metrics(targets, predictions).items():
        low, high = np.nanpercentile(np.concatenate(resampled[name]), [2.5, 97.5])
        scores[name] = {"value": value, "ci95": [float(low), float(high)]}
    return scores
