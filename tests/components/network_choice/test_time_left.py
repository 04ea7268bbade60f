"""What a budget leaves to a training: closed forms of passes and seconds."""

import pytest

from kfp_vision.components.network_choice.time_left import TimeLeft
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.recipe.stage_times import closing_seconds

# EfficientNet-Lite0 at 224 and at 160 px.
LARGE, SMALL = 385_000_000, 196_000_000


INFO = DatasetInfo(
    task="multilabel",
    classes=["a", "b"],
    splits={"train": 1724, "validation": 1212, "test": 2796},
    channels=3,
    median_height=60,
    median_width=60,
    fingerprint="",
    source_uri="",
    source_format="",
    split_origin={},
    rejected={},
    notes=[],
)
LEFT = TimeLeft(INFO, seconds=690.0, start_up_s=5.0)


def test_evaluation_and_export_are_paid_first():
    seconds = LEFT.training_seconds(LARGE)
    assert seconds == pytest.approx(0.75 * 690 - closing_seconds(INFO, 5.0, LARGE / 3e10))
    # Eight passes of the exports and two of the evaluation see the test images.
    forwards_s = (1212 + 10 * 2796) * (LARGE - SMALL) / 3e10
    assert LEFT.training_seconds(SMALL) - seconds == pytest.approx(forwards_s)


def test_a_size_that_leaves_no_time_to_train_is_not_fine_tuned():
    assert not LEFT.can_tune(LARGE)
    assert LEFT.can_tune(SMALL)


def test_there_is_never_less_than_no_time():
    assert LEFT.training_seconds(100 * LARGE) == 0.0
