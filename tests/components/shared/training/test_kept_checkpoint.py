"""Of few validation images the last weights are kept, unless earlier ones are clearly better."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json
from kfp_vision.components.shared.recipe.document import Recipe, Setting
from kfp_vision.components.shared.recipe.user_choices import UserChoices
from kfp_vision.components.shared.training import fit
from kfp_vision.components.shared.training.history import History
from kfp_vision.components.shared.training.part_training import select_rows
from kfp_vision.components.shared.training.run import TrainingRun
from kfp_vision.components.shared.training.setup import build_trainer, complete_recipe, open_split
from kfp_vision.components.shared.training.trainer import StepFigures, Trainer

_LATE = 15  # Of 20 intervals.


class _Changing:
    """A trainer whose last layer is changed in each of the late intervals."""

    def __init__(self, trainer: Trainer, change: Callable[[np.ndarray], np.ndarray]) -> None:
        self._trainer, self._change, self._calls = trainer, change, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._trainer, name)

    def run_steps(self, images: np.ndarray, targets: Any, rates: np.ndarray) -> StepFigures:
        figures = self._trainer.run_steps(images, targets, rates)
        self._calls += 1
        if self._calls >= _LATE:
            for variable in self._trainer.model.trainable_variables[-2:]:
                variable.assign(self._change(np.array(variable)))
        return figures


@pytest.fixture
def train(digits_dir: Path, small_model: str, tmp_path: Path) -> Callable[..., Any]:
    info = read_json(DatasetInfo, digits_dir / "dataset.json")
    data = {"class_weights": Setting(None, "test"), "primary_metric": Setting("accuracy", "test")}
    recipe = Recipe({"data": data, "training": {"ema_momentum": Setting(0.0, "", source="user")}})
    choices = UserChoices(architecture=small_model, batch_size=40, epochs=4)
    recipe = complete_recipe(recipe, info, choices)

    def run(change: Callable[[np.ndarray], np.ndarray], judges: int) -> tuple[History, float]:
        trainer, task, settings = build_trainer(recipe, info, 0)
        validation = open_split(digits_dir, "validation", recipe)
        validation = select_rows(
            validation, np.arange(len(validation))[:: len(validation) // judges]
        )
        wrapped: Any = _Changing(trainer, change)
        history = fit.fit(
            TrainingRun(
                wrapped,
                task,
                open_split(digits_dir, "train", recipe),
                validation,
                primary_metric="accuracy",
                checkpoint_dir=tmp_path / str(judges),
                start=lambda s: History(s, s.steps, {"initial_loss": 9.0}),
            ),
            settings,
        )
        return history, fit.evaluate(trainer, task, validation)["accuracy"]

    return run


def _less_sure(values: np.ndarray) -> np.ndarray:
    return values / 1.4


def _noise(values: np.ndarray) -> np.ndarray:
    return np.random.default_rng(0).normal(size=values.shape).astype(values.dtype)


def _losses(history: History) -> dict[int, float]:
    name = ("validation", "loss")
    return {r["step"]: r["value"] for r in history.curves if (r["split"], r["metric"]) == name}


def test_the_last_weights_are_kept_where_calibrated_none_are_better(train) -> None:
    history, accuracy = train(_less_sure, 60)
    losses = _losses(history)
    assert losses[history.step] > min(losses.values()) + 0.1
    assert history.best[0]["step"] == history.step
    assert accuracy == history.best[0]["metrics"]["accuracy"]


@pytest.mark.parametrize("judges", [60, 100])
def test_clearly_better_ones_of_before_are_kept(train, judges: int) -> None:
    history, accuracy = train(_noise, judges)
    losses = _losses(history)
    assert losses[history.step] > 1
    assert history.best[0]["step"] < 0.8 * history.step
    assert accuracy == history.best[0]["metrics"]["accuracy"] > 0.7
    again, same = train(_noise, judges)
    assert (again, same) == (history, accuracy)


def test_two_images_tell_nothing(train) -> None:
    history, _ = train(_noise, 2)
    assert history.best[0]["step"] == history.step
