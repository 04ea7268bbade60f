"""Arms that go on after a kill: the same one is chosen, and no second counts twice."""

import contextlib
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from digits_recipe import recipe_for

from kfp_vision.components.pretraining import learner
from kfp_vision.components.pretraining.learner import Learner
from kfp_vision.components.pretraining.rivals import compete
from kfp_vision.components.pretraining.twins import TwinImages
from kfp_vision.components.pretraining.views import DEFAULT_VIEWS
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json
from kfp_vision.components.shared.artifacts.pretraining_result import ArmResult, ProbePoint
from kfp_vision.components.shared.datasets.loader import ImageSource
from kfp_vision.components.shared.recipe.user_choices import UserChoices
from kfp_vision.components.shared.training import checkpoints
from kfp_vision.components.shared.training.checkpoints import Stopwatch
from kfp_vision.components.shared.training.setup import complete_recipe

STOPS = math.nan
BARLOW_TWINS = [2.0, 1.0, 0.6, 0.55, 0.5]
# Losses of the probes of SimCLR -> the arm that is chosen.
SIMCLR = {
    "worse in the end": ([2.0, 1.0, 0.5, 0.7, 0.8], "SimCLR"),
    "stopped in the end": ([2.0, 1.0, 0.5, 0.4, STOPS], ""),
    "stopped at once": ([2.0, STOPS, 0.5, 0.4, 0.3], "Barlow Twins"),
}
# Of an undisturbed run: both arms go 83 of 250 steps, one of them the rest.
TRYOUT, EVERY = 166, 333
NEVER = 1000
Outcome = tuple[list[ArmResult], str, float]
_undisturbed: dict[str, Outcome] = {}


class World:
    """The clock of all processes, and the steps that the next one lives for."""

    def __init__(self) -> None:
        self.now, self.step_s, self.lives = 0.0, 1.0, NEVER


class Scripted(Learner):
    """A learner whose steps take their time and do nothing, and whose probes say what is given."""

    def __init__(self, world: World, losses: dict[str, list[float]], *given: Any) -> None:
        super().__init__(*given)
        self._world, self._losses = world, losses

    def _train(self, name: str, arm: Any, end: int, progress: Any) -> None:
        self._name, steps = name, min(end - arm.step, self._world.lives)
        arm.step += steps
        self._world.now += steps * self._world.step_s
        self._world.lives -= steps
        if not self._world.lives:
            self._save(name, arm)
            raise KeyboardInterrupt

    def _look(self, arm: Any) -> None:
        loss = self._losses[self._name][len(arm.points)]
        if math.isnan(loss):
            arm.stopped = f"a collapse after {arm.step} steps"
        else:
            point = ProbePoint(arm.step / arm.total, 0.5, 0.5, loss, 0.5, 9.0, 9, 9)
            arm.points.append(vars(point))


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    monkeypatch.setattr(checkpoints, "time", SimpleNamespace(monotonic=lambda: world.now))
    # What is planned for a step.
    monkeypatch.setattr(learner, "seconds_per_step", lambda *_: 1.0)
    return world


@pytest.fixture
def process(few_digits_dir: Path, small_model: str, world: World) -> Callable[..., Outcome]:
    """Returns the arms, which one is chosen, and the seconds of the stage, after one process."""
    info = read_json(DatasetInfo, few_digits_dir / "dataset.json")
    recipe = complete_recipe(recipe_for(small_model), info, UserChoices(seed=1))
    source = ImageSource(few_digits_dir, "train", (16, 16), 1)
    images = TwinImages(source, np.arange(40), 8, 1)

    def run(
        folder: Path, simclr: list[float], lives: int = NEVER, seconds: float = math.inf
    ) -> Outcome:
        world.lives, watch = lives, Stopwatch()
        losses = {"Barlow Twins": BARLOW_TWINS, "SimCLR": simclr}
        given = (recipe, info, images, DEFAULT_VIEWS, None, folder, 1, watch)
        arms, chosen = compete(Scripted(world, losses, *given), images, seconds, watch)
        return arms, chosen, watch.seconds

    return run


@pytest.mark.parametrize("case", SIMCLR)
def test_no_second_counts_twice_and_the_better_arm_of_the_tryout_goes_on(
    case: str, process: Callable[..., Outcome], world: World, tmp_path: Path
) -> None:
    losses, better = SIMCLR[case]
    _, chosen, seconds = process(tmp_path, losses)
    assert chosen == better
    assert seconds == world.now


@pytest.mark.parametrize("case", SIMCLR)
@pytest.mark.parametrize("lives", [TRYOUT - 1, TRYOUT + 1, EVERY - 1, NEVER])
def test_the_processes_after_a_kill_end_as_an_undisturbed_one(
    case: str, lives: int, process: Callable[..., Outcome], tmp_path: Path
) -> None:
    losses, _ = SIMCLR[case]
    if case not in _undisturbed:
        _undisturbed[case] = process(tmp_path / "undisturbed", losses)
    with contextlib.suppress(KeyboardInterrupt):
        process(tmp_path / "killed", losses, lives)
    assert process(tmp_path / "killed", losses) == _undisturbed[case]


def test_where_an_arm_ends_in_limited_time_is_decided_once(
    process: Callable[..., Outcome], world: World, tmp_path: Path
) -> None:
    losses, _ = SIMCLR["worse in the end"]
    # There is time for two thirds of the steps, and for fewer seen from the middle of the last one.
    world.step_s = 1.45
    expected = process(tmp_path / "undisturbed", losses, seconds=400.0)
    assert [len(arm.points) for arm in expected[0]] == [3, 4]
    with pytest.raises(KeyboardInterrupt):
        process(tmp_path / "killed", losses, 130, seconds=400.0)
    arms, chosen, seconds = process(tmp_path / "killed", losses, seconds=400.0)
    assert (arms, chosen) == expected[:2]
    assert seconds == pytest.approx(expected[2])
