"""How near predicted keypoints are to true ones: OKS as COCO defines it, and distances for PCK.

Shapes: D detections and G true objects of an image, K keypoints; keypoints [D, K, 2] and truth
[G, K, 3] as (x, y, visibility), in pixels of the image as it is stored.
References: pycocotools 2.0.11, `COCOeval.computeOks`; Yang and Ramanan, 2013, IEEE TPAMI 35(12)
(PCK, there of the size of the person).
"""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

__all__ = [
    "MAX_DETECTIONS",
    "OTHER_SIGMA",
    "judged_distances",
    "keypoint_areas",
    "keypoint_sigmas",
    "keypoint_similarities",
]

# Of a class in an image, as COCO has it for keypoints.
MAX_DETECTIONS = 20
# How far people place a keypoint apart, as a share of the square root of the area: of COCO's
# person, name by name, and of any other keypoint. The latter is between COCO's for ears and wrists.
_SIDED = {
    "eye": 0.025,
    "ear": 0.035,
    "shoulder": 0.079,
    "elbow": 0.072,
    "wrist": 0.062,
    "hip": 0.107,
    "knee": 0.087,
    "ankle": 0.089,
}
_PERSON = {
    "nose": 0.026,
    **{f"{side}_{name}": sigma for name, sigma in _SIDED.items() for side in ("left", "right")},
}
OTHER_SIGMA = 0.05


def keypoint_sigmas(names: Sequence[str]) -> np.ndarray:
    """Returns the sigmas [K]: those of COCO's person where the names are, else `OTHER_SIGMA`."""
    if list(names) == list(_PERSON):
        return np.array([_PERSON[name] for name in names])
    return np.full(len(names), OTHER_SIGMA)


def keypoint_similarities(
    keypoints: np.ndarray,
    truth: np.ndarray,
    boxes: np.ndarray,
    areas: np.ndarray,
    sigmas: np.ndarray,
) -> np.ndarray:
    """Returns the object keypoint similarities [D, G].

    It is the mean over the labelled keypoints of exp(-d^2 / (2 area (2 sigma)^2)); of an object
    without any, d is the distance to its box made three times as wide and high.

    Args:
        keypoints: Found.
        truth: Labelled where the visibility is above 0.
        boxes: Of the true objects, [G, 4].
        areas: Of the true objects, [G].
        sigmas: [K].
    """
    places, labelled = truth[..., :2].astype(np.float64), truth[..., 2] > 0
    low, sides = boxes[:, None, :2], (boxes[:, 2:] - boxes[:, :2])[:, None]
    given = keypoints[:, None].astype(np.float64)
    beyond = np.maximum(low - sides - given, 0) + np.maximum(given - low - 2 * sides, 0)
    is_any = np.any(labelled, axis=1, keepdims=True)[..., None]
    apart = np.sum(np.where(is_any, given - places, beyond) ** 2, axis=-1)
    scale = 2 * (areas[:, None] + np.spacing(1)) * (2 * sigmas) ** 2
    counted = labelled | ~is_any[..., 0]
    near = np.where(counted, np.exp(-apart / scale), 0.0)
    similarities: np.ndarray = near.sum(axis=-1) / counted.sum(axis=-1)
    return similarities


def keypoint_areas(keypoints: np.ndarray) -> np.ndarray:
    """Returns the area [D] of the box around the keypoints, by which COCO sorts detections."""
    sides = np.ptp(keypoints.astype(np.float64), axis=1)
    areas: np.ndarray = sides[:, 0] * sides[:, 1]
    return areas


def judged_distances(
    keypoints: np.ndarray,
    scores: np.ndarray,
    classes: np.ndarray,
    truth: np.ndarray,
    true_classes: np.ndarray,
) -> np.ndarray:
    """Returns how far each labelled keypoint is from that of the detection it is judged by, [G, K].

    Where G' objects of a class have labelled keypoints, its G' best-scored detections are paired
    with them, one to one, so that the sum of their mean distances is lowest. The distance is
    infinite where there are too few detections, and NaN where nothing is labelled or the
    object is not judged.

    Args:
        keypoints: Found.
        scores: [D].
        classes: Of the detections, int [D].
        truth: Labelled where the visibility is above 0.
        true_classes: Of the objects, int [G]; below 0 for those that are not judged.
    """
    labelled = (truth[..., 2] > 0) & (true_classes >= 0)[:, None]
    distances = np.where(labelled, np.inf, np.nan)
    for label in np.unique(true_classes[true_classes >= 0]):
        objects = np.flatnonzero((true_classes == label) & labelled.any(axis=1))
        found = np.flatnonzero(classes == label)
        best = found[np.argsort(-scores[found], kind="stable")][: len(objects)]
        apart = keypoints[best][:, None].astype(np.float64) - truth[objects][None, ..., :2]
        apart = np.where(labelled[objects], np.hypot(apart[..., 0], apart[..., 1]), 0.0)
        means = apart.sum(axis=-1) / labelled[objects].sum(axis=1)
        for row, column in zip(*linear_sum_assignment(means), strict=True):
            known = labelled[objects[column]]
            distances[objects[column], known] = apart[row, column, known]
    return distances
