"""Metrics with 95 % intervals, and their paired differences, by a bootstrap over images.

N images, C classes, R resamples. The resamples give standard errors, of which
`shared/metrics/intervals.py` makes intervals: percentiles are [1, 1] where 60 answers are right.
Reference: Efron & Tibshirani, 1993, An Introduction to the Bootstrap, chapter 6.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from kfp_vision.components.shared.metrics.intervals import (
    PER_PIXEL,
    difference_interval,
    graded_difference_interval,
    graded_interval,
    wilson_interval,
)
from kfp_vision.components.shared.runtime.progress import Progress
from kfp_vision.components.shared.tasks import Records, Task
from kfp_vision.components.shared.tasks.calibration import chance_gap
from kfp_vision.components.shared.tasks.records import whole_set_metrics

__all__ = ["Scores", "draw_counts", "score_against_rivals", "score_with_intervals"]

Scores = dict[str, dict[str, Any]]

# Counts of a chunk stay in the cache: 16 MiB of float32.
_CHUNK_ELEMENTS = 4 * 2**20
# Image, class and resample: seconds of one core. A standard error from 200 resamples, which remain
# of 10,000 images of 1,000 classes, is right within 5 %.
_MAX_WORK = 2 * 10**9
_MIN_RESAMPLES = 100
_PROPORTION = "accuracy"
_CALIBRATION_ERROR = "ece"
_ROW = "row"
# Of counts in float32.
_ROUNDING = 1e-6


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


def score_with_intervals(task: Task, records: Records, num_resamples: int, seed: int) -> Scores:
    """Returns metric -> `{"value", "ci95": [low, high]}`; undefined metrics are left out.

    The calibration error has `chance95` too: between these lies that of a model whose confidence is
    right. The plain error is too large by about as much, and its interval allows for that.

    Args:
        task: Of the images.
        records: Of N images.
        num_resamples: Many images of many classes are given fewer, at least 100.
        seed: Of the resamples.
    """
    resampled = _resample(task, records, num_resamples, seed)
    return _score(task, records, resampled)


def score_against_rivals(
    task: Task,
    records: Records,
    rivals: Mapping[str, Records],
    num_resamples: int,
    seed: int,
) -> tuple[Scores, dict[str, Scores]]:
    """Returns the scores of a model and, by name, those of its rivals on the same images.

    Each metric of a rival but the calibration error has `difference`, `{"value", "ci95"}`: the
    model's minus its own, by the same resamples. The intervals of a metric against all rivals hold
    together.

    Args:
        task: Of the images.
        records: Of N images.
        rivals: Name -> records of the same images, or of those of them that its `row` names.
        num_resamples: Many images of many classes are given fewer, at least 100.
        seed: Of the resamples.
    """
    all_drawn = _resample(task, records, num_resamples, seed)
    scores, rival_scores = _score(task, records, all_drawn), {}
    for rival, theirs in rivals.items():
        ours, resampled, values = records, all_drawn, {n: s["value"] for n, s in scores.items()}
        if _ROW in theirs:
            ours = {name: held[theirs[_ROW]] for name, held in records.items()}
            resampled = _resample(task, ours, num_resamples, seed)
            values = whole_set_metrics(task, ours)
        drawn = _resample(task, theirs, num_resamples, seed)
        rival_scores[rival] = _score(task, theirs, drawn)
        for name, score in rival_scores[rival].items():
            if name == _CALIBRATION_ERROR:
                continue
            value = values[name] - score["value"]
            error = _standard_error(resampled[name] - drawn[name])
            worth = task.images_worth(name, ours)
            between = graded_difference_interval if name in PER_PIXEL else difference_interval
            interval = between(value, error, worth, len(rivals))
            score["difference"] = {"value": value, "ci95": list(interval)}
    return scores, rival_scores


def _resample(task: Task, records: Records, num_resamples: int, seed: int) -> dict[str, np.ndarray]:
    """Returns metric -> values [R], NaN where a resample (no image of a class) has none."""
    affordable = max(_MIN_RESAMPLES, _MAX_WORK // max(values.size for values in records.values()))
    values: dict[str, list[np.ndarray]] = defaultdict(list)
    num_images, total = len(next(iter(records.values()))), min(num_resamples, affordable)
    with Progress("intervals", total, "resamples") as progress:
        done = 0
        for counts in draw_counts(num_images, total, seed):
            for name, metric in task.metrics(records, counts).items():
                values[name].append(metric)
            done += counts.shape[1]
            progress.update(done)
    return {name: np.concatenate(parts) for name, parts in values.items()}


def _score(task: Task, records: Records, resampled: Mapping[str, np.ndarray]) -> Scores:
    scores: Scores = {}
    for name, value in whole_set_metrics(task, records).items():
        error = _standard_error(resampled[name])
        if name == _CALIBRATION_ERROR:
            chance = chance_gap(records["probabilities"].max(axis=1))
            interval = _calibration_interval(value, error, chance[1])
            scores[name] = {"value": value, "ci95": list(interval), "chance95": list(chance)}
            continue
        images = task.images_worth(name, records)
        if name in PER_PIXEL:
            # Of few images of a class, resamples are also on one side of the value.
            distance = _standard_error(resampled[name], value)
            scores[name] = {"value": value, "ci95": list(graded_interval(value, distance, images))}
            continue
        # Right or wrong throughout, nothing varies: the counts alone say how sure that is.
        if name != _PROPORTION and error > _ROUNDING:
            images = min(images, value * (1 - value) / error**2)
        scores[name] = {"value": value, "ci95": list(wilson_interval(value, images))}
    return scores


def _standard_error(values: np.ndarray, around: float | None = None) -> float:
    """Returns the root of the mean squared distance from the mean, or from another value."""
    defined = values[np.isfinite(values)]
    if not len(defined):
        return 0.0
    middle = defined.mean() if around is None else around
    return float(np.sqrt(np.square(defined - middle).mean()))


def _calibration_interval(value: float, error: float, chance: float) -> tuple[float, float]:
    """Returns the interval of a calibration error: from 0 where chance alone explains the value.

    The error and what chance adds to it are perpendicular, as the bias of a length is.
    """
    beyond_chance = np.sqrt(max(0.0, value**2 - chance**2))
    return max(0.0, float(beyond_chance - 1.96 * error)), min(1.0, value + 1.96 * error)
