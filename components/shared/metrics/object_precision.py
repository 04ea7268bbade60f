"""Average precision of objects as COCO defines it, of a set of images and of resamples of it.

Shapes: D detections and G true objects of an image, C classes, A = 4 ranges of area, T = 10
thresholds of similarity, N images, R resamples. Similarities may be those of boxes, of masks or of
keypoints: objects are matched once an image, and a resample only counts its images differently.
Reference: Lin et al., 2014, arXiv:1405.0312; pycocotools 2.0.11, `COCOeval`.
"""

import dataclasses
import math
from collections.abc import Mapping

import numpy as np

from kfp_vision.components.shared.metrics.scores import mean_of_defined

__all__ = [
    "AREAS",
    "MAX_DETECTIONS",
    "MOST_DETECTIONS",
    "THRESHOLDS",
    "Detections",
    "TrueObjects",
    "best_f1_score",
    "box_areas",
    "box_similarities",
    "class_precisions",
    "match_objects",
    "mean_precisions",
    "num_detections",
]

THRESHOLDS = np.linspace(0.5, 0.95, 10)
# Name -> least and largest area in pixels of the image as it is stored, both included.
AREAS = {
    "all": (0.0, 1e10),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, 1e10),
}
# Of a class in an image, of boxes and masks, as COCO has it; and of a model where images show more,
# what the masks of one have memory for.
MAX_DETECTIONS, MOST_DETECTIONS = 100, 1000
_RECALLS = np.linspace(0.0, 1.0, 101)
_LEAST, _MOST = np.array(list(AREAS.values())).T
# A similarity of 1 is enough for any threshold.
_HIGHEST = 1.0 - 1e-10
# Of the score from which on objects are named; where nothing is right, the one in between.
_LEAST_NAMED, _USUALLY_NAMED, _MOST_NAMED = 0.05, 0.3, 0.9
# Detections times resamples that are looked at together: 32 MiB of float64.
_ELEMENTS = 4 * 2**20


@dataclasses.dataclass(frozen=True)
class Detections:
    """What a model has found in an image.

    Attributes:
        scores: [D], in any order.
        classes: int [D]; those below 0 are no detections.
        areas: [D], square pixels of the image as it is stored.
    """

    scores: np.ndarray
    classes: np.ndarray
    areas: np.ndarray


@dataclasses.dataclass(frozen=True)
class TrueObjects:
    """What is in an image.

    Attributes:
        classes: int [G].
        areas: [G], square pixels of the image as it is stored.
        crowd: bool [G], several objects in one: matched by any number of detections, which count
            neither for nor against the model.
        ignored: bool [G], the same of a single object that a detection may be of.
    """

    classes: np.ndarray
    areas: np.ndarray
    crowd: np.ndarray
    ignored: np.ndarray


def box_areas(boxes: np.ndarray) -> np.ndarray:
    """Returns the areas [...] of boxes [..., 4]."""
    sides: np.ndarray = np.maximum(boxes[..., 2:] - boxes[..., :2], 0.0)
    areas: np.ndarray = sides[..., 0] * sides[..., 1]
    return areas


def box_similarities(boxes: np.ndarray, truth: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """Returns intersection over union [D, G], for a crowd over the area of the detection alone.

    Args:
        boxes: [D, 4].
        truth: [G, 4].
        crowd: bool [G].
    """
    boxes, truth = boxes.astype(np.float64), truth.astype(np.float64)
    low = np.maximum(boxes[:, None, :2], truth[None, :, :2])
    shared = box_areas(np.concatenate([low, np.minimum(boxes[:, None, 2:], truth[:, 2:])], -1))
    own = box_areas(boxes)[:, None]
    union = np.where(crowd, own, own + box_areas(truth) - shared)
    ratios: np.ndarray = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return ratios


def num_detections(most_objects: int) -> int:
    """Returns how many objects of an image a model returns: whole hundreds.

    Args:
        most_objects: Of the image that shows the most.
    """
    hundreds = 100 * math.ceil(most_objects / 100)
    return min(max(MAX_DETECTIONS, hundreds), MOST_DETECTIONS)


def match_objects(
    similarities: np.ndarray,
    found: Detections,
    truth: TrueObjects,
    max_detections: int = MAX_DETECTIONS,
) -> dict[str, np.ndarray]:
    """Returns what the metrics need to know of an image.

    `score` float32 [D] and `class` int32 [D] of the detections, by falling score, -1 for those that
    are not counted; `outcome` int8 [D, A, T]: 1 right, 0 wrong, -1 neither; `true_class` int32 [G]
    and `wanted` bool [G, A]: which of the true objects are to be found.

    Args:
        similarities: [D, G]; those of different classes are not looked at.
        found: By the model.
        truth: In the image. Classes below 0 are no objects.
        max_detections: Of a class; the others are not looked at.
    """
    order = np.argsort(-found.scores, kind="stable")
    classes = np.full(len(order), -1, np.int32)
    outcome = np.zeros((len(order), len(AREAS), len(THRESHOLDS)), np.int8)
    outside = _outside(found.areas[order])
    is_ignored = _outside(truth.areas) | (truth.crowd | truth.ignored)[:, None]
    for number in np.unique(found.classes[found.classes >= 0]):
        places = np.flatnonzero(found.classes[order] == number)[:max_detections]
        objects = np.flatnonzero(truth.classes == number)
        classes[places] = number
        near = similarities[np.ix_(order[places], objects)]
        outcome[places] = _match(near, is_ignored[objects], truth.crowd[objects], outside[places])
    return {
        "score": found.scores[order].astype(np.float32),
        "class": classes,
        "outcome": outcome,
        "true_class": truth.classes.astype(np.int32),
        "wanted": ~is_ignored & (truth.classes >= 0)[:, None],
    }


def _outside(areas: np.ndarray) -> np.ndarray:
    """Returns which areas are out of each range, bool [..., A]."""
    outside: np.ndarray = (areas[..., None] < _LEAST) | (areas[..., None] > _MOST)
    return outside


def _match(
    near: np.ndarray, is_ignored: np.ndarray, crowd: np.ndarray, outside: np.ndarray
) -> np.ndarray:
    """Returns the outcomes int8 [D, A, T] of detections of one class, by falling score.

    Args:
        near: Similarities [D, G].
        is_ignored: [G, A].
        crowd: [G].
        outside: [D, A], detections that are ignored where they match nothing.
    """
    shape = (len(AREAS), len(THRESHOLDS))
    outcome = np.where(outside[..., None], -1, 0) * np.ones(shape, np.int8)
    least = np.minimum(THRESHOLDS, _HIGHEST)
    is_free = np.ones((near.shape[1], *shape), bool)
    for place in np.flatnonzero(near.max(axis=1, initial=0.0) >= least[0]):
        objects = np.flatnonzero(near[place] >= least[0])
        given = near[place, objects, None, None]
        may = (given >= least) & (is_free[objects] | crowd[objects, None, None])
        counts = ~is_ignored[objects][..., None]
        # One that counts is preferred; of equal ones the last.
        rank = np.where(may, given + 2.0 * counts, -1.0)[::-1]
        best = len(objects) - 1 - rank.argmax(axis=0)
        area, threshold = np.nonzero(may.any(axis=0))
        chosen = objects[best[area, threshold]]
        is_free[chosen, area, threshold] = False
        outcome[place, area, threshold] = np.where(is_ignored[chosen, area], -1, 1)
    return outcome


def class_precisions(
    records: Mapping[str, np.ndarray], counts: np.ndarray, num_classes: int
) -> np.ndarray:
    """Returns the average precisions [C, A, T, R], NaN of classes without an object in the range.

    Precision is the largest one at the same or a higher recall, averaged over 101 recalls.

    Args:
        records: Of `match_objects`, one after the other: [N, D] and so on.
        counts: [N, R], how often an image is in a resample.
        num_classes: C.
    """
    shape = (num_classes, len(AREAS), len(THRESHOLDS), counts.shape[1])
    result, positives = np.zeros(shape), np.zeros((num_classes, len(AREAS), counts.shape[1]))
    for number in range(num_classes):
        is_class = records["true_class"] == number
        wanted_of_image = (is_class[..., None] & records["wanted"]).sum(axis=1)
        positives[number] = wanted_of_image.T.astype(np.float64) @ counts
        images, places = np.nonzero(records["class"] == number)
        order = np.argsort(-records["score"][images, places], kind="stable")
        images, places = images[order], places[order]
        outcome = records["outcome"][images, places]
        step = max(1, _ELEMENTS // max(1, len(images)))
        for start in range(0, counts.shape[1], step):
            part = slice(start, start + step)
            weights, wanted = counts[images, part], positives[number, :, part]
            for area, threshold in np.ndindex(shape[1:3]):
                result[number, area, threshold, part] = _average_precision(
                    outcome[:, area, threshold], weights, wanted[area]
                )
    return np.where(positives[:, :, None] > 0, result, np.nan)


def _average_precision(
    outcome: np.ndarray, weights: np.ndarray, positives: np.ndarray
) -> np.ndarray:
    """Returns the average precision [R] of K detections by falling score.

    Args:
        outcome: [K].
        weights: [K, R], how often each is in a resample.
        positives: [R].
    """
    right = outcome == 1
    counted = np.cumsum(weights[outcome >= 0], axis=0, dtype=np.float64)
    hits = np.cumsum(weights[right], axis=0, dtype=np.float64)
    # Precision falls between hits: only theirs is the largest at any recall.
    precision = hits / np.maximum(counted[right[outcome >= 0]], 1.0)
    best = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    reached = np.searchsorted(_RECALLS, hits / np.maximum(positives, 1.0), side="right")
    before = np.concatenate([np.zeros_like(reached[:1]), reached[:-1]])
    values: np.ndarray = (best * (reached - before)).sum(axis=0) / len(_RECALLS)
    return values


def mean_precisions(precisions: np.ndarray) -> dict[str, np.ndarray]:
    """Returns `map` (mean over thresholds), `map50`, `map75` and `map` of each range, all [R].

    Args:
        precisions: Of `class_precisions`, [C, A, T, R].
    """
    every = precisions[:, 0]
    chosen = {
        "map": every,
        "map50": every[:, :1],
        "map75": every[:, 5:6],
        **{f"map_{name}": precisions[:, place] for place, name in enumerate(AREAS) if place},
    }
    return {name: mean_of_defined(values.mean(axis=1)) for name, values in chosen.items()}


def best_f1_score(records: Mapping[str, np.ndarray]) -> float:
    """Returns the score from which on detections have the highest F1, between 0.05 and 0.9.

    F1 is 2 hits / (detections + objects) at a similarity of 0.5, of all classes together. The score
    lies between that of the last detection that counts and the next one.

    Args:
        records: Of `match_objects`, one after the other: [N, D] and so on.
    """
    outcome = records["outcome"][..., 0, 0]
    counted = (records["class"] >= 0) & (outcome >= 0)
    scores, right = records["score"][counted], outcome[counted] == 1
    if not right.any():
        return _USUALLY_NAMED
    order = np.argsort(-scores, kind="stable")
    scores, hits = scores[order], np.cumsum(right[order])
    f1 = 2 * hits / (np.arange(1, len(hits) + 1) + records["wanted"][..., 0].sum())
    following = np.append(scores[1:], 0.0)
    # Of equal scores all are named, or none.
    last = int(np.where(scores > following, f1, 0.0).argmax())
    named = float(scores[last] + following[last]) / 2
    return round(min(max(named, _LEAST_NAMED), _MOST_NAMED), 4)
