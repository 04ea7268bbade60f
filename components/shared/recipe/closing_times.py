"""How long the stages after the training take: evaluation, export, report.

Seconds; the unit of what is not proportional to images is the start of a task that trains.
"""

import math
from collections.abc import Mapping

from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.tasks import TASKS
from kfp_vision.components.shared.tasks.frozen_limits import ENLARGEMENT, LEAST_SIDE, MAX_PIXELS
from kfp_vision.components.shared.tasks.linear_cost import FITTED_PER_SECOND, fit_multiply_adds

__all__ = ["closing_images", "closing_seconds", "closing_stages", "unplanned_seconds"]

_CLOSING = ("evaluate_model", "export_model", "build_report")
# Start-ups and seconds of what does not follow the number of images; fitted to runs whose start-ups
# took from 8 to 35 s.
_EVALUATE, _EXPORT, _REPORT = (1.5, 8.0), (1.6, 5.0), (0.2, 0.0)
# Start-ups that the files of each pretrained network take beyond those of a small one, and those of
# a task in the image beyond that: every format traces or converts hundreds of layers. Those of an
# ensemble take the sum of its members: 36 s of a processor, 6 for `separable` and 30 for Lite0.
_LARGE_STARTS, _SPATIAL_STARTS = 4.5, 3.0
# The ends of processes, and tasks that have no cost: the gates, the publication. Runs whose
# start-ups took 5 to 6 s had 15 to 17 s of it.
_UNCOUNTED = (2.0, 4.0)
# Start-ups of the most frozen features that the evaluation takes: 52 s of a processor, on two of
# them, where a start-up took 8.5 s of one.
_FROZEN_STARTS, _FROZEN_SIDE = 3.0, 224
# Pixels of JPEG files that two cores decode in a start-up, at 64 million a second and core.
_DECODED_PIXELS = 1e9
# Of the network, and of small pictures; how many of those; validation images that spare a fold.
_FEATURES, _FITTED_PIXELS, _FITTED_IMAGES, _JUDGES = 1280, 1024, 20_000, 100
# Pixels of masks at their own size, times classes, that a core judges in a second: 480 x 360 pixels
# and 11 classes took 0.02 s. In a photograph few of many classes are possible at a place.
_JUDGED_PER_SECOND, _POSSIBLE_CLASSES = 1e8, 12
# Five formats and their reference, int8 on one core.
_EXPORT_PASSES, _EXPORTED_IMAGES = 8, 10_000
# Large images on which int8 ranges are measured, one by one and without the fast kernels.
_CALIBRATION_PASSES, _CALIBRATED_IMAGES = 5, 50
# Of the estimate: real runs took from 0.9 to 1.6 of it, with what else their machine did.
_RESERVE = 0.15


def closing_stages(
    info: DatasetInfo, start_up_s: float, forward_s: float, num_large: int
) -> dict[str, float]:
    """Returns stage -> seconds of evaluation, export and report; arguments of `closing_seconds`."""
    side = min(_FROZEN_SIDE, ENLARGEMENT * math.sqrt(_pixels(info)))
    is_spatial = TASKS[info.task].is_spatial
    baselines = 0.0 if is_spatial else _baseline_starts(info, side)
    traced = num_large * _LARGE_STARTS + (_SPATIAL_STARTS if is_spatial else 0.0)
    fitted_s = 0.0 if is_spatial else _fit_seconds(info, side)
    evaluated, exported = _passed(info)
    return {
        "evaluate_model": _fixed(_EVALUATE, start_up_s)
        + baselines * start_up_s
        + fitted_s
        + evaluated * forward_s
        + _judged_seconds(info),
        "export_model": _fixed(_EXPORT, start_up_s) + traced * start_up_s + exported * forward_s,
        "build_report": _fixed(_REPORT, start_up_s),
    }


def _judged_seconds(info: DatasetInfo) -> float:
    """Returns what masks of classes take at their own size; the baselines are judged as well."""
    if "mask" not in TASKS[info.task].columns:
        return 0.0
    _, validation, test = _labelled(info)
    classes = min(len(info.classes), _POSSIBLE_CLASSES)
    return (validation + 3 * test) * _pixels(info) * classes / _JUDGED_PER_SECOND


def _pixels(info: DatasetInfo) -> int:
    return info.median_height * info.median_width


def _labelled(info: DatasetInfo) -> tuple[int, int, int]:
    """Returns the images of train, validation and test."""
    # The profile, which plans first, may find that a split is missing.
    splits = info.splits
    return splits.get("train", 0), splits.get("validation", 0), splits.get("test", 0)


def _baseline_starts(info: DatasetInfo, side: float) -> float:
    """Returns the start-ups in which the baselines read images, for features and for pixels.

    Args:
        info: Of the dataset.
        side: Pixels a side of the images whose features are looked at, if there are few.
    """
    train, validation, test = _labelled(info)
    num_images = train + validation + test
    forward = _FROZEN_STARTS * min(1.0, num_images * side**2 / MAX_PIXELS)
    # Twice, for each is of another size.
    decoded = min(num_images, MAX_PIXELS / min(side, LEAST_SIDE) ** 2)
    decoded += min(train, _FITTED_IMAGES) + validation + test
    return forward + decoded * _pixels(info) / _DECODED_PIXELS


def _fit_seconds(info: DatasetInfo, side: float) -> float:
    """Returns the seconds of the linear baselines, on features and on pixels.

    Args:
        info: Of the dataset.
        side: Pixels a side of the images whose features are looked at.
    """
    train, validation, _ = _labelled(info)
    has_fold = validation < _JUDGES
    cost = sum(
        min(train, most) * fit_multiply_adds(num_features, len(info.classes), has_fold)
        for most, num_features in (
            (MAX_PIXELS / side**2, _FEATURES),
            (_FITTED_IMAGES, _FITTED_PIXELS),
        )
    )
    return cost / FITTED_PER_SECOND


def _passed(info: DatasetInfo) -> tuple[int, int]:
    """Returns the images that pass through the model in the evaluation, and in the export."""
    train, validation, test = _labelled(info)
    calibrated = _CALIBRATION_PASSES * min(train, _CALIBRATED_IMAGES)
    return validation + 2 * test, _EXPORT_PASSES * min(test, _EXPORTED_IMAGES) + calibrated


def closing_images(info: DatasetInfo) -> int:
    """Returns the images that pass through the model after the training, with repetition."""
    return sum(_passed(info))


def _fixed(part: tuple[float, float], start_up_s: float) -> float:
    starts, seconds = part
    return starts * start_up_s + seconds


def unplanned_seconds(stages: Mapping[str, float], start_up_s: float) -> float:
    """Returns what is left beside the stages of a plan.

    That is what tasks take that have no cost, the ends of all, and a reserve for the last stages.

    Args:
        stages: Stage -> seconds; those of `closing_stages` are among them.
        start_up_s: Of a task that trains.
    """
    last = sum(stages.get(name, 0.0) for name in _CLOSING)
    return _fixed(_UNCOUNTED, start_up_s) + _RESERVE * last


def closing_seconds(
    info: DatasetInfo, start_up_s: float, forward_s: float, num_large: int
) -> float:
    """Returns what is left for evaluation, export, report, publication and what nobody counts.

    More than the plan says they take: a run ends in time when they are a little slower.

    Args:
        info: Of the dataset.
        start_up_s: Of a task that trains.
        forward_s: Of one image through the model, and of its record where that takes long.
        num_large: Networks of it that are, or may be, pretrained ones.
    """
    stages = closing_stages(info, start_up_s, forward_s, num_large)
    return sum(stages.values()) + unplanned_seconds(stages, start_up_s)
