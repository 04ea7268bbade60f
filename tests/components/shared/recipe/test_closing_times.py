"""What comes after a training takes longer with more images, layers and outputs."""

import dataclasses

import pytest
from example_info import INFO as PHOTOGRAPHS

from kfp_vision.components.shared.recipe.closing_times import (
    closing_images,
    closing_seconds,
    closing_stages,
    unplanned_seconds,
)

INFO = dataclasses.replace(PHOTOGRAPHS, splits={"train": 205, "validation": 87, "test": 72})


def test_every_image_costs_its_forward_passes():
    assert closing_images(INFO) == 87 + 2 * 72 + 8 * 72 + 5 * 50
    slow, fast = (closing_seconds(INFO, 8.0, each, num_large=1) for each in (0.2, 0.1))
    assert slow - fast == pytest.approx(1.15 * 0.1 * closing_images(INFO))


def test_more_is_left_than_the_plan_says():
    stages = closing_stages(INFO, 8.0, 0.1, num_large=1)
    left = closing_seconds(INFO, 8.0, 0.1, num_large=1)
    uncounted = unplanned_seconds({}, 8.0)
    assert left - uncounted == pytest.approx(1.15 * sum(stages.values()))


def test_files_of_large_networks_and_of_tasks_in_the_image_take_longer_to_write():
    objects = dataclasses.replace(INFO, task="detection")
    exports = [
        closing_stages(info, 8.0, 0.0, num_large)["export_model"]
        for info, num_large in ((INFO, 0), (INFO, 1), (objects, 1))
    ]
    assert exports == sorted(set(exports))


def test_every_large_network_of_an_ensemble_is_written():
    none, one, three = (
        closing_stages(INFO, 8.0, 0.1, num_large)["export_model"] for num_large in (0, 1, 3)
    )
    assert three - none == pytest.approx(3 * (one - none))


def test_a_detector_on_two_idle_cores_is_written_in_the_time_that_was_measured():
    # 72 test images of 259 x 194 px, 0.033 s a forward pass: 70 s after a start of 5.3 s.
    objects = dataclasses.replace(INFO, task="detection")
    expected = closing_stages(objects, 5.3, 0.033, num_large=1)["export_model"]
    assert expected == pytest.approx(75, rel=0.15)


def test_masks_of_classes_are_judged_at_their_own_size():
    splits = {"train": 367, "validation": 100, "test": 100}
    classes = [str(each) for each in range(11)]
    small, large, boxes = (
        dataclasses.replace(
            INFO, task=task, splits=splits, classes=classes, median_height=side, median_width=side
        )
        for task, side in (
            ("semantic_segmentation", 1),
            ("semantic_segmentation", 416),
            ("detection", 416),
        )
    )
    without, planned, of_boxes = (
        closing_stages(info, 8.0, 0.1, num_large=1)["evaluate_model"]
        for info in (small, large, boxes)
    )
    # 0.02 s an image of 480 x 360 pixels: validation once, test for the model, its table, a rule.
    assert planned - without == pytest.approx(0.02 * 400, rel=0.1)
    assert of_boxes == pytest.approx(without, rel=1e-3)


def test_the_baselines_decode_large_photographs_twice_each():
    splits = {"train": 800, "validation": 100, "test": 100, "unlabeled": 5000}
    large, small = (
        dataclasses.replace(INFO, splits=splits, median_height=side, median_width=side)
        for side in (3000, 300)
    )
    large_s, small_s = (
        closing_stages(info, 5.5, 0.0, num_large=1)["evaluate_model"] for info in (large, small)
    )
    # Two cores at 64 million pixels a second, beside a start of 8.5 s of one.
    decoded_s = 2 * 1000 * (3000**2 - 300**2) / 64e6 / 2
    assert large_s - small_s == pytest.approx(decoded_s * 5.5 / 8.5, rel=0.1)


def test_a_thousand_classes_are_fitted_for_minutes():
    # 20,000 images of 1,280 features took 3.1 s an iteration; 15 for each of four penalties. At 128
    # px there is time for the features of 9,765 images, and 20,000 are fitted with their pixels.
    sizes = {"train": 20_000, "validation": 1000, "test": 1000}
    small = dataclasses.replace(INFO, splits=sizes, median_height=32, median_width=32)
    many = dataclasses.replace(small, classes=[str(each) for each in range(1000)])
    few_s, many_s = (
        closing_stages(info, 8.0, 0.0, num_large=1)["evaluate_model"] for info in (small, many)
    )
    expected = 60 * 3.1 * (9_765 + 20_000 * 1024 / 1280) / 20_000
    assert many_s - few_s == pytest.approx(expected, rel=0.1)
