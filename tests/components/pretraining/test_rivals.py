"""Arms of a pretraining share its time, on a clock of its own."""

from collections.abc import Callable
from typing import Any, cast

import pytest

from kfp_vision.components.pretraining.learner import Learner
from kfp_vision.components.pretraining.rivals import compete
from kfp_vision.components.pretraining.twins import TwinImages
from kfp_vision.components.shared.artifacts.pretraining_result import ArmResult, ProbePoint
from kfp_vision.components.shared.training.checkpoints import Stopwatch

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
