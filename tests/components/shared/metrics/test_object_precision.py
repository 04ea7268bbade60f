"""Against pycocotools, on images drawn at random."""

import contextlib
import io
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from kfp_vision.components.shared.metrics.object_precision import (
    THRESHOLDS,
    Detections,
    TrueObjects,
    best_f1_score,
    box_areas,
    box_similarities,
    class_precisions,
    match_objects,
    mean_precisions,
)

_IMAGES, _CLASSES = 12, 3
_STATISTICS = ("map", "map50", "map75", "map_small", "map_medium", "map_large")


def _draw(seed, most=8, found=30):
    """Returns images as dicts of arrays: true objects, and detections near them and elsewhere.

    Whole numbers and few scores make ties; areas are those of masks within the boxes.
    """
    random = np.random.default_rng(seed)
    images = []
    for _ in range(_IMAGES):
        count = random.integers(0, most)
        corners = random.integers(0, 200, (count, 2))
        boxes = np.concatenate([corners, corners + random.integers(4, 150, (count, 2))], -1)
        classes = random.choice(_CLASSES, count, p=[0.6, 0.38, 0.02])
        near = random.integers(0, max(count, 1), found if count else 0)
        moved = boxes[near] + random.integers(-6, 7, (len(near), 4))
        moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 1)
        elsewhere = random.integers(0, 200, (5, 2))
        there = np.concatenate([elsewhere, elsewhere + 40], -1)
        guesses = np.where(random.random(len(near)) < 0.8, classes[near], 1)
        images.append(
            {
                "boxes": boxes,
                "classes": classes,
                "crowd": random.random(count) < 0.15,
                "areas": box_areas(boxes) * random.choice([1.0, 0.6]),
                "found_boxes": np.concatenate([moved, there]),
                "found_classes": np.concatenate([guesses, random.integers(0, _CLASSES, 5)]),
                "scores": random.integers(1, 30, len(near) + 5) / 30,
            }
        )
    return images


def _as_coco(images):
    """Returns annotations and results in the terms of pycocotools."""

    def box(each):
        left, top, right, bottom = map(float, each)
        return [left, top, right - left, bottom - top]

    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for number, image in enumerate(images, 1):
        for place, each in enumerate(image["boxes"]):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": int(image["classes"][place]) + 1,
                    "bbox": box(each),
                    "area": float(image["areas"][place]),
                    "iscrowd": int(image["crowd"][place]),
                }
            )
        results += [
            {
                "image_id": number,
                "category_id": int(image["found_classes"][place]) + 1,
                "bbox": box(each),
                "score": float(image["scores"][place]),
            }
            for place, each in enumerate(image["found_boxes"])
        ]
    return annotations, results


def _reference(images):
    """Returns the precisions [T, recalls, C, A] and the statistics of pycocotools."""
    annotations, results = _as_coco(images)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "images": [{"id": number + 1} for number in range(len(images))],
            "annotations": annotations,
            "categories": [{"id": number + 1} for number in range(_CLASSES)],
        }
        truth.createIndex()
        reference = COCOeval(truth, truth.loadRes(results), "bbox")
        reference.evaluate()
        reference.accumulate()
        reference.summarize()
    return reference.eval["precision"][..., -1], reference.stats[:6]


def _record(image):
    found = Detections(image["scores"], image["found_classes"], box_areas(image["found_boxes"]))
    truth = TrueObjects(
        image["classes"], image["areas"], image["crowd"], np.zeros(len(image["crowd"]), bool)
    )
    near = box_similarities(image["found_boxes"], image["boxes"], image["crowd"])
    record = match_objects(near, found, truth)
    fills = {"score": 0.0, "class": -1, "outcome": 0, "true_class": -1, "wanted": False}
    for name, fill in fills.items():
        widths = [(0, 160 - len(record[name]))] + [(0, 0)] * (record[name].ndim - 1)
        record[name] = np.pad(record[name], widths, constant_values=fill)
    return record


def _records(images):
    parts = [_record(image) for image in images]
    return {name: np.stack([part[name] for part in parts]) for name in parts[0]}


# The third draw has more detections of a class than are looked at.
@pytest.mark.parametrize(("seed", "found"), [(0, 30), (1, 10), (2, 150), (3, 60)])
def test_precisions_are_those_of_pycocotools(seed, found):
    images = _draw(seed, found=found)
    precision, statistics = _reference(images)
    ours = class_precisions(_records(images), np.ones((_IMAGES, 1)), _CLASSES)[..., 0]
    theirs = np.where(precision.min(axis=1) < 0, np.nan, precision.mean(axis=1))
    np.testing.assert_allclose(ours, theirs.transpose(1, 2, 0), atol=1e-9)
    means = mean_precisions(ours[..., None])
    for name, expected in zip(_STATISTICS, statistics, strict=True):
        value = means[name][0]
        assert value == pytest.approx(expected, abs=1e-9) if expected >= 0 else np.isnan(value)


def test_a_resample_is_the_set_with_its_images_repeated():
    images, random = _draw(5), np.random.default_rng(0)
    # Scores of different images must not be the same: pycocotools would order repeated ones.
    for image in images:
        image["scores"] = random.permutation(1000)[: len(image["scores"])] / 1000 + random.random()
    records = _records(images)
    drawn = random.integers(0, _IMAGES, (4, _IMAGES))
    counts = np.stack([np.bincount(row, minlength=_IMAGES) for row in drawn], -1)
    ours = mean_precisions(class_precisions(records, counts, _CLASSES))
    for place, row in enumerate(drawn):
        _, statistics = _reference([images[index] for index in np.sort(row)])
        values = [ours[name][place] for name in _STATISTICS]
        np.testing.assert_allclose(np.nan_to_num(values, nan=-1.0), statistics, atol=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_objects_are_named_from_the_score_of_the_highest_f1(seed):
    images = _draw(seed)
    # In steps: many scores are the same.
    for image in images:
        image["scores"] = np.round(image["scores"] * 20) / 20
    records = _records(images)
    outcome, wanted = records["outcome"][..., 0, 0], records["wanted"][..., 0].sum()

    def f1(least):
        named = (records["score"] >= least) & (records["class"] >= 0) & (outcome >= 0)
        return 2 * (outcome[named] == 1).sum() / (named.sum() + wanted)

    chosen = best_f1_score(records)
    assert 0.05 <= chosen <= 0.9
    assert f1(chosen) == max(f1(least) for least in np.arange(0.05, 0.91, 0.025))


def test_what_finds_nothing_names_objects_as_usual():
    records = _records(_draw(0))
    assert best_f1_score({**records, "outcome": np.zeros_like(records["outcome"])}) == 0.3


def test_similarity_of_a_crowd_is_the_share_of_the_detection_in_it():
    boxes, truth = np.array([[0, 0, 10, 10]]), np.array([[5, 0, 45, 40], [5, 0, 15, 10]])
    near = box_similarities(boxes, truth, np.array([True, False]))
    np.testing.assert_allclose(near, [[0.5, 1 / 3]])


def test_a_range_of_similarities_is_all_that_masks_or_keypoints_need():
    found = Detections(np.array([0.9, 0.8]), np.zeros(2, int), np.full(2, 500.0))
    truth = TrueObjects(np.zeros(1, int), np.array([500.0]), np.zeros(1, bool), np.zeros(1, bool))
    record = match_objects(np.array([[0.72], [0.99]]), found, truth)
    thresholds = THRESHOLDS > 0.72
    np.testing.assert_array_equal(record["outcome"][:, 0], [~thresholds, thresholds])
    assert record["wanted"].tolist() == [[True, True, False, False]]
