"""What a budget leaves to a training: closed forms of passes and seconds."""

import dataclasses

import pytest

from kfp_vision.components.network_choice.time_left import TimeLeft
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json
from kfp_vision.components.shared.recipe.closing_times import closing_seconds

# EfficientNet-Lite0 at 224 and at 160 px.
LARGE, SMALL = 385_000_000, 196_000_000


@pytest.fixture(scope="module")
def left(digits_dir):
    info = read_json(DatasetInfo, digits_dir / "dataset.json")
    splits = {"train": 1724, "validation": 1212, "test": 2796}
    tiles = dataclasses.replace(info, splits=splits, median_height=60, median_width=60)
    return TimeLeft(tiles, seconds=720.0, start_up_s=5.0)


def test_evaluation_and_export_are_paid_first(left):
    seconds = left.training_seconds(LARGE)
    assert seconds == pytest.approx(
        0.75 * 720 - closing_seconds(left.info, 5.0, LARGE / 3e10, num_large=1)
    )
    # Eight passes of the exports and two of the evaluation see the test images; 50 images of train
    # calibrate int8, each as slow as 5. All with a reserve.
    forwards_s = 1.15 * (1212 + 10 * 2796 + 5 * 50) * (LARGE - SMALL) / 3e10
    assert left.training_seconds(SMALL) - seconds == pytest.approx(forwards_s)


def test_a_size_that_leaves_no_time_to_train_is_not_fine_tuned(left):
    assert not left.can_tune(LARGE)
    assert left.can_tune(SMALL)


def test_there_is_never_less_than_no_time(left):
    assert left.training_seconds(100 * LARGE) == 0.0


def test_on_a_faster_machine_there_is_time_for_more(left):
    fast = dataclasses.replace(left, per_second=2e11)
    image_s = 3 * LARGE / 2e11
    assert fast.epochs(LARGE) == pytest.approx(fast.training_seconds(LARGE) / (1724 * image_s))
    assert fast.epochs(LARGE) > 2e11 / 3e10 * left.epochs(LARGE)
