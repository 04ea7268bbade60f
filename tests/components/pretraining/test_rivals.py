"""Arms of a pretraining share its time, on a clock of its own."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from kfp_vision.components.pretraining.learner import Learner
from kfp_vision.components.pretraining.rivals import compete
from kfp_vision.components.pretraining.stage_report import pretraining_report
from kfp_vision.components.pretraining.trial import Trial, decide
from kfp_vision.components.pretraining.twins import TwinImages
from kfp_vision.components.shared.artifacts.pretraining_result import (
    ArmResult,
    PretrainingResult,
    ProbePoint,
)
from kfp_vision.components.shared.recipe import hyperparameters
from kfp_vision.components.shared.recipe.document import Recipe, write_recipe
from kfp_vision.components.shared.report.page import write_stage_page
from kfp_vision.components.shared.report.records import write_stage_report
from kfp_vision.components.shared.training.checkpoints import Stopwatch
from kfp_vision.components.shared.training.history import History

SECONDS = 1000.0


class Clock(Stopwatch):
    """Seconds that pass when it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    @property
    def seconds(self) -> float:
        return self.now


class Paced:
    """A learner whose steps take the seconds that they are given, one when they are planned."""

    def __init__(self, clock: Clock, step_s: float) -> None:
        self._clock, self._step_s = clock, step_s
        self.asked: list[tuple[str, float]] = []

    def plan(self, wanted: int, seconds: Callable[[], float]) -> int:
        return int(min(wanted, seconds()))

    def settle(self, name: str, share: float) -> float:
        return share

    def advance(self, name: str, share: float, total: int) -> ArmResult:
        before = max((each for arm, each in self.asked if arm == name), default=0.0)
        self.asked.append((name, share))
        self._clock.now += (share - before) * total * self._step_s
        loss = 0.5 if name == "SimCLR" else 0.6
        return ArmResult(name, [ProbePoint(1.0, 0.5, 0.5, loss, 0.5, 9.0, 9, 9)], "", 100)


class Many:
    """Images that would be learned for longer than there is time."""

    batch_size = 1

    def __len__(self) -> int:
        return 8000


def run(step_s: float, seconds: float = SECONDS) -> tuple[list[Any], str, float]:
    clock = Clock()
    learner = Paced(clock, step_s)
    _, chosen = compete(cast("Learner", learner), cast("TwinImages", Many()), seconds, clock)
    return learner.asked, chosen, clock.now


@pytest.mark.parametrize("step_s", [0.8, 1.0, 1.2])
def test_the_better_arm_goes_to_the_end_where_the_machine_is_about_as_fast_as_planned(step_s):
    asked, chosen, taken = run(step_s)
    assert asked == [("Barlow Twins", 1 / 3), ("SimCLR", 1 / 3), ("SimCLR", 1.0)]
    assert chosen == "SimCLR"
    assert taken < 1.1 * 0.6 * SECONDS


@pytest.mark.parametrize("step_s", [1.5, 1.9])
def test_on_a_machine_that_has_become_slower_it_ends_earlier_and_in_time(step_s):
    asked, _, taken = run(step_s)
    assert 1 / 3 < asked[-1][1] < 5 / 6
    assert taken == pytest.approx(0.6 * SECONDS)


def test_without_time_after_the_first_steps_it_goes_no_further():
    asked, chosen, _ = run(4.0)
    assert asked[-1] == ("SimCLR", pytest.approx(1 / 3))
    assert chosen == "SimCLR"


def test_without_a_limit_it_goes_to_the_end():
    asked, _, _ = run(100.0, float("inf"))
    assert asked[-1] == ("SimCLR", 1.0)


SETTINGS = hyperparameters.from_recipe(hyperparameters.resolve(Recipe(), {}, 1000))


class TimedTrial:
    """Trainings of a second a step, the second one slower; what is pretrained is always better."""

    train, known = range(100), range(50)

    def __init__(self, clock: Clock, steps: int, slower: float) -> None:
        self._clock, self._slower = clock, slower
        self._settings = dataclasses.replace(SETTINGS, steps=2 * steps)
        self.asked: list[float] = []

    def run(self, weights: Any, most: int, seconds: float, _: Any) -> tuple[np.ndarray, History]:
        self.asked.append(seconds)
        step_s = 1.0 if weights is None else self._slower
        steps = int(min(self._settings.steps // 2, most, seconds / step_s))
        self._clock.now += steps * step_s
        losses = np.full(200, 2.0 if weights is None else 1.0) + np.linspace(0.0, 0.1, 200)
        return losses, History(self._settings, steps, {}, step=steps)


def decided(
    steps: int, seconds: float, slower: float = 1.0, plain_images: float = math.inf
) -> tuple[PretrainingResult, float]:
    clock = Clock()
    arms = [ArmResult(name, [], "", 100) for name in ("Barlow Twins", "SimCLR")]
    found = PretrainingResult(images=960, unlabeled=900, arms=arms, chosen="SimCLR")
    trial = cast("Trial", TimedTrial(clock, steps, slower))
    return decide(trial, [np.ones(1)], found, seconds, clock, plain_images), clock.now


def test_a_trial_that_is_much_shorter_than_the_training_keeps_nothing():
    result, taken = decided(400, 100.0)
    assert not result.is_kept
    assert result.gain is None
    assert result.trial_share == pytest.approx(45 / 400)
    assert "11% of the training" in result.refused
    assert "`max_minutes`" in result.refused
    # The second training would say nothing: its time is left to the training.
    assert taken == 45


def test_a_trial_as_long_as_the_planned_training_decides():
    planned = 2 * 60 * SETTINGS.batch_size
    result, _ = decided(400, 100.0, plain_images=planned)
    assert result.is_kept
    assert result.trial_share == pytest.approx(45 / 60)


@pytest.mark.parametrize("seconds", [300.0, math.inf])
def test_with_time_for_the_whole_length_the_gain_decides(seconds):
    result, _ = decided(100, seconds, slower=1.2)
    assert result.is_kept
    assert (result.refused, result.trial_steps, result.trial_share) == ("", 100, 1.0)


def test_a_machine_that_becomes_slower_does_not_take_the_time_of_the_training():
    result, taken = decided(100, 220.0, slower=4.0)
    assert taken <= 220.0
    assert not result.is_kept
    assert result.gain is None
    assert "the machine became slower" in result.refused


def test_the_page_and_a_warning_say_why_the_trial_says_nothing(tmp_path: Path):
    result, _ = decided(400, 100.0)
    report = pretraining_report(result, is_wanted=True)
    assert [each.code for each in report.warnings] == ["pretraining_refused"]
    assert result.refused in report.warnings[0].message
    write_recipe(Recipe(), tmp_path / "recipe.json")
    write_stage_report(report, tmp_path)
    write_stage_page(tmp_path, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "11% of the training" in page
    assert "no way to learn it came to its end" not in page
