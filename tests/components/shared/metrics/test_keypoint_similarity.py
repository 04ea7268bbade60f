"""OKS against pycocotools, on poses drawn at random; which detection a distance is of."""

import contextlib
import io
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from kfp_vision.components.shared.metrics.keypoint_similarity import (
    MAX_DETECTIONS,
    OTHER_SIGMA,
    judged_distances,
    keypoint_areas,
    keypoint_sigmas,
    keypoint_similarities,
)
from kfp_vision.components.shared.metrics.object_precision import (
    Detections,
    TrueObjects,
    box_areas,
    class_precisions,
    match_objects,
    mean_precisions,
)

_IMAGES, _CLASSES = 12, 2
_STATISTICS = {"map": 0, "map50": 1, "map75": 2, "map_medium": 3, "map_large": 4}
_PERSON = [
    "nose",
    "left_eye",
    "right_eye",
    "left_ear",
    "right_ear",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_hip",
    "right_hip",
    "left_knee",
    "right_knee",
    "left_ankle",
    "right_ankle",
]


def _draw(seed, number, most=6, found=15):
    """Returns images as dicts of arrays: poses, and detections near them and elsewhere."""
    random = np.random.default_rng(seed)
    images = []
    for _ in range(_IMAGES):
        count = int(random.integers(0, most))
        corners = random.uniform(0, 200, (count, 2))
        boxes = np.concatenate([corners, corners + random.uniform(8, 150, (count, 2))], -1)
        inside = random.uniform(0, 1, (count, number, 2))
        points = boxes[:, None, :2] + inside * (boxes[:, 2:] - boxes[:, :2])[:, None]
        seen = random.integers(0, 3, (count, number)) * (random.random((count, 1)) < 0.8)
        classes = random.integers(0, _CLASSES, count)
        near = random.integers(0, max(count, 1), found if count else 0)
        moved = points[near] + random.normal(0, 3, (len(near), number, 2))
        elsewhere = random.uniform(0, 250, (5, number, 2))
        images.append(
            {
                "boxes": boxes,
                "truth": np.concatenate([points, seen[..., None]], -1),
                "classes": classes,
                "crowd": random.random(count) < 0.1,
                "found": np.concatenate([moved, elsewhere]),
                "found_classes": np.concatenate([classes[near], random.integers(0, _CLASSES, 5)]),
                "scores": random.permutation(len(near) + 5) / 100 + random.random() / 100,
            }
        )
    return images


def _reference(images, sigmas):
    """Returns the statistics of pycocotools: AP, AP50, AP75, medium and large."""
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for number, image in enumerate(images, 1):
        areas = box_areas(image["boxes"])
        for place, truth in enumerate(image["truth"]):
            left, top, right, bottom = image["boxes"][place].tolist()
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": int(image["classes"][place]) + 1,
                    "bbox": [left, top, right - left, bottom - top],
                    "area": float(areas[place]),
                    "iscrowd": int(image["crowd"][place]),
                    "keypoints": truth.ravel().tolist(),
                    "num_keypoints": int((truth[:, 2] > 0).sum()),
                }
            )
        for place, points in enumerate(image["found"]):
            flat = np.concatenate([points, np.ones((len(points), 1))], -1).ravel().tolist()
            results.append(
                {
                    "image_id": number,
                    "category_id": int(image["found_classes"][place]) + 1,
                    "keypoints": flat,
                    "score": float(image["scores"][place]),
                }
            )
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "images": [{"id": number + 1} for number in range(len(images))],
            "annotations": annotations,
            "categories": [{"id": number + 1} for number in range(_CLASSES)],
        }
        truth.createIndex()
        reference = COCOeval(truth, truth.loadRes(results), "keypoints")
        reference.params.kpt_oks_sigmas = sigmas
        reference.evaluate()
        reference.accumulate()
        reference.summarize()
    return reference.stats[:5]


def _record(image, sigmas):
    areas = box_areas(image["boxes"])
    near = keypoint_similarities(image["found"], image["truth"], image["boxes"], areas, sigmas)
    record = match_objects(
        near,
        Detections(image["scores"], image["found_classes"], keypoint_areas(image["found"])),
        TrueObjects(
            image["classes"], areas, image["crowd"], np.all(image["truth"][..., 2] <= 0, axis=1)
        ),
        MAX_DETECTIONS,
    )
    fills = {"score": 0.0, "class": -1, "outcome": 0, "true_class": -1, "wanted": False}
    for name, fill in fills.items():
        widths = [(0, 60 - len(record[name]))] + [(0, 0)] * (record[name].ndim - 1)
        record[name] = np.pad(record[name], widths, constant_values=fill)
    return record


def _precisions(images, sigmas, counts):
    parts = [_record(image, sigmas) for image in images]
    records = {name: np.stack([part[name] for part in parts]) for name in parts[0]}
    return mean_precisions(class_precisions(records, counts, _CLASSES))


# The third draw has more detections of a class than are looked at.
@pytest.mark.parametrize(
    ("seed", "names", "found"),
    [(0, _PERSON, 15), (1, ["snout", "left_ear", "tail"], 10), (2, ["a", "b"], 50)],
)
def test_precisions_are_those_of_pycocotools(seed, names, found):
    images, sigmas = _draw(seed, len(names), found=found), keypoint_sigmas(names)
    ours = _precisions(images, sigmas, np.ones((_IMAGES, 1)))
    for name, expected in zip(_STATISTICS, _reference(images, sigmas), strict=True):
        value = ours[name][0]
        assert value == pytest.approx(expected, abs=1e-9) if expected >= 0 else np.isnan(value)


def test_a_resample_is_the_set_with_its_images_repeated():
    images, random, sigmas = _draw(5, 3), np.random.default_rng(0), np.full(3, 0.05)
    drawn = random.integers(0, _IMAGES, (3, _IMAGES))
    counts = np.stack([np.bincount(row, minlength=_IMAGES) for row in drawn], -1)
    ours = _precisions(images, sigmas, counts)
    for place, row in enumerate(drawn):
        expected = _reference([images[index] for index in np.sort(row)], sigmas)
        values = [ours[name][place] for name in _STATISTICS]
        np.testing.assert_allclose(np.nan_to_num(values, nan=-1.0), expected, atol=1e-9)


def test_sigmas_of_a_person_are_those_of_coco():
    with contextlib.redirect_stdout(io.StringIO()):
        theirs = COCOeval(iouType="keypoints").params.kpt_oks_sigmas
    np.testing.assert_allclose(keypoint_sigmas(_PERSON), theirs)
    assert keypoint_sigmas(["nose", "tail"]).tolist() == [OTHER_SIGMA] * 2


def _pose(x, y):
    return [[x, y], [x + 10, y]]


def _truth(*poses):
    return np.array([[[*point, 2] for point in pose] for pose in poses], float)


def test_as_many_of_the_best_are_paired_as_there_are_objects():
    found = np.array([_pose(103, 50), _pose(0, 54), _pose(0, 50)], float)
    truth, classes = _truth(_pose(0, 50), _pose(100, 50)), np.zeros(2, int)
    given = found, np.array([0.9, 0.5, 0.4]), np.zeros(3, int), truth
    # The third is nearer to the first object, but the second is more sure.
    np.testing.assert_allclose(judged_distances(*given, classes), [[4, 4], [3, 3]])
    # One that is judged takes only the best detection.
    alone = judged_distances(*given, np.array([0, -1]))
    np.testing.assert_allclose(alone, np.array([[103, 103], [np.nan, np.nan]]))


def test_pairs_have_the_lowest_distances_together():
    found = np.array([_pose(10, 0), _pose(0, 0)], float)
    truth = _truth(_pose(9, 0), _pose(30, 0))
    held = judged_distances(found, np.array([0.9, 0.8]), np.zeros(2, int), truth, np.zeros(2, int))
    # The nearest of the first is the only one for the second.
    np.testing.assert_allclose(held, [[9, 9], [20, 20]])


def test_what_is_not_found_is_infinitely_far_and_what_is_not_labelled_is_nothing():
    truth = _truth(_pose(0, 0), _pose(50, 0))
    truth[0, 1, 2] = 0
    found, scores = np.array([_pose(50, 3)], float), np.array([0.5])
    held = judged_distances(found, scores, np.zeros(1, int), truth, np.zeros(2, int))
    assert held[0].tolist()[0] == np.inf
    assert np.isnan(held[0, 1])
    np.testing.assert_allclose(held[1], [3, 3])
    others = judged_distances(found, scores, np.ones(1, int), truth, np.zeros(2, int))
    assert np.isinf(others[1]).all()
