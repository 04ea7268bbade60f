"""A training on a machine that becomes slow ends in time, on a clock of its own."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json
from kfp_vision.components.shared.recipe.document import Recipe, Setting
from kfp_vision.components.shared.recipe.user_choices import UserChoices
from kfp_vision.components.shared.training.checkpoints import Stopwatch
from kfp_vision.components.shared.training.fit import fit
from kfp_vision.components.shared.training.history import History
from kfp_vision.components.shared.training.run import TrainingRun
from kfp_vision.components.shared.training.setup import build_trainer, complete_recipe, open_split
from kfp_vision.components.shared.training.trainer import StepFigures, Trainer

STEPS, ENDS = 200, 200.0


class Clock(Stopwatch):
    """Seconds that pass when it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    @property
    def seconds(self) -> float:
        return self.now


class Slow:
    """A trainer whose steps take the seconds that they are given, and evaluations one."""

    def __init__(self, trainer: Trainer, clock: Clock, step_seconds: Iterator[float]) -> None:
        self._trainer, self._clock, self._seconds = trainer, clock, step_seconds
        self.rates: list[float] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._trainer, name)

    def run_steps(self, images: np.ndarray, targets: Any, rates: np.ndarray) -> StepFigures:
        self._clock.now += sum(itertools.islice(self._seconds, len(rates)))
        self.rates += rates.tolist()
        return self._trainer.run_steps(images, targets, rates)

    def outputs(self, images: np.ndarray) -> np.ndarray:
        # An evaluation of 300 images is one batch.
        self._clock.now += 1.0
        return self._trainer.outputs(images)


@pytest.fixture(scope="module")
def opened(digits_dir: Path, small_model: str) -> tuple[Recipe, Any]:
    """A network that is compiled once."""
    data = {"class_weights": Setting(None, "test"), "primary_metric": Setting("accuracy", "test")}
    info = read_json(DatasetInfo, digits_dir / "dataset.json")
    choices = UserChoices(architecture=small_model, batch_size=16)
    recipe = complete_recipe(Recipe().with_settings("data", data), info, choices)
    trainer, task, settings = build_trainer(recipe, info, 0)
    return recipe, (trainer, trainer.state(), task, settings)


@pytest.fixture
def train(
    digits_dir: Path, opened: Any, tmp_path: Path
) -> Callable[..., tuple[History, Clock, Slow]]:
    recipe, (trainer, initial, task, settings) = opened

    def run(pace: Callable[[int], float], ends: float | None = ENDS, planned: int = STEPS) -> Any:
        trainer.restore(initial)
        clock = Clock()
        slow = Slow(trainer, clock, map(pace, itertools.count()))
        given = TrainingRun(
            trainer=cast("Trainer", slow),
            task=task,
            train=open_split(digits_dir, "train", recipe, None),
            validation=open_split(digits_dir, "validation", recipe, None),
            primary_metric="accuracy",
            checkpoint_dir=tmp_path,
            start=lambda settings: History(
                settings,
                STEPS,
                {"initial_loss": 2.3},
                num_evaluations=5,
                ends=ends,
                planned_steps=planned,
            ),
            watch=clock,
        )
        return fit(given, dataclasses.replace(settings, steps_per_call=4)), clock, slow

    return run


@pytest.mark.parametrize(
    "pace",
    [
        lambda step: 2.0,
        lambda step: 10.0,
        lambda step: 0.5 if step < 60 else 4.0,
        lambda step: 0.8 if step < 150 else 8.0,
        lambda step: 1.5 if step % 50 else 20.0,
    ],
    ids=["twice", "tenfold", "later", "late", "pauses"],
)
def test_a_machine_that_becomes_slower_costs_steps_and_no_time(train, pace) -> None:
    history, clock, slow = train(pace)
    assert 0.7 * ENDS < clock.now < 1.1 * ENDS
    assert history.step == history.total_steps == len(slow.rates) < STEPS
    assert history.planned_steps == STEPS
    # The rate falls to the end, sooner than it would have, and the last weights were judged.
    assert slow.rates[-1] < 0.15 * max(slow.rates)
    assert history.curves[-1]["step"] == history.step


def test_a_moment_in_which_the_machine_was_busy_is_made_up_for(train) -> None:
    history, clock, _ = train(lambda step: 8.0 if 8 <= step < 12 else 0.5)
    assert history.step == STEPS
    assert clock.now < ENDS


@pytest.mark.parametrize("ends", [None, 2 * ENDS])
def test_a_training_with_time_is_as_long_as_planned(train, ends) -> None:
    history, _, slow = train(lambda step: 1.0, ends)
    assert history.step == history.total_steps == STEPS
    assert len(set(slow.rates)) > 100


def test_a_machine_that_was_slow_at_the_start_uses_its_time_when_it_is_fast(train) -> None:
    history, clock, slow = train(lambda step: 0.4, planned=10 * STEPS)
    assert 0.8 * ENDS < clock.now < 1.1 * ENDS
    assert 2 * STEPS < history.step == history.total_steps == len(slow.rates)
    assert slow.rates[-1] < 0.15 * max(slow.rates)


def test_a_fast_training_is_no_longer_than_without_a_limit(train) -> None:
    history, clock, _ = train(lambda step: 0.1, planned=STEPS + 50)
    assert history.step == STEPS + 50
    assert clock.now < ENDS
