"""The stopwatch of a stage: it goes on after a kill, and what was decided by it stands."""

import json
import time
from pathlib import Path

import pytest

from kfp_vision.components.shared.training.checkpoints import StageWatch, Stopwatch


def opened(folder: Path) -> StageWatch:
    watch = StageWatch()
    watch.open(folder)
    return watch


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_seconds_are_those_of_all_processes(clock, tmp_path):
    first = opened(tmp_path)
    clock[0] += 40
    assert first.moment("one") == pytest.approx(40)
    clock[0] += 7  # Killed here: what was not kept is lost.
    second = opened(tmp_path)
    clock[0] += 5
    assert second.seconds == pytest.approx(45)
    second.save()
    assert opened(tmp_path).seconds == pytest.approx(45)


def test_what_was_measured_and_decided_stands(clock, tmp_path):
    first = opened(tmp_path)
    assert first.once("images", lambda: 12) == 12
    assert first.once("images", lambda: 13) == 12
    moment = first.moment("round 1")
    clock[0] += 30
    assert opened(tmp_path).once("images", lambda: 14) == 12
    assert opened(tmp_path).moment("round 1") == moment
    assert opened(tmp_path / "other").once("images", lambda: 14) == 14


def test_a_checkpoint_that_is_older_takes_no_time_back(clock, tmp_path):
    first = opened(tmp_path)
    clock[0] += 60
    first.save()
    second = opened(tmp_path)
    second.resume(20.0)
    assert second.seconds == pytest.approx(60)
    # One that is newer than the file is what is known.
    second.resume(75.0)
    clock[0] += 5
    assert second.seconds == pytest.approx(80)


def test_before_it_is_opened_it_is_a_stopwatch(clock, tmp_path):
    watch, plain = StageWatch(), Stopwatch()
    clock[0] += 3
    assert watch.seconds == plain.seconds == pytest.approx(3)
    watch.save()
    watch.open(tmp_path)
    watch.save()
    assert json.loads((tmp_path / "stage.json").read_text())["seconds"] == pytest.approx(3)
