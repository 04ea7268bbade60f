"""Short trainings that diverge lose the choice of how a teacher is followed, and end nothing."""

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from kfp_vision.components.distillation import student as student_module
from kfp_vision.components.distillation.lesson import ViewTeacher
from kfp_vision.components.distillation.student import Student, Taught
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.distillation_result import TeachingTrial
from kfp_vision.components.shared.artifacts.json_files import read_json
from kfp_vision.components.shared.augmentation.policy import Policy
from kfp_vision.components.shared.datasets.loader import ImageSource
from kfp_vision.components.shared.recipe.document import Recipe, Setting
from kfp_vision.components.shared.recipe.user_choices import UserChoices
from kfp_vision.components.shared.search.short_training import run_steps
from kfp_vision.components.shared.training.checkpoints import StageWatch
from kfp_vision.components.shared.training.setup import complete_recipe, open_split
from kfp_vision.components.shared.training.soft_targets import Teaching

# Of the learning rate.
_TOO_HIGH = 1e30


def _network() -> keras.Model:
    pixels = keras.Input((16, 16, 1))
    flat = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(pixels))
    return keras.Model(pixels, keras.layers.Dense(8, activation="relu")(flat))


@pytest.fixture
def learn(
    few_digits_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[set[int]], tuple[Taught, list[int]]]:
    """Teaches a student of which some short trainings have too high a rate; counts all of them."""
    monkeypatch.setattr(student_module, "_LEAST_STEPS", 1)
    monkeypatch.setattr(student_module, "MOST_PASSES", 1.0)
    info = read_json(DatasetInfo, few_digits_dir / "dataset.json")
    values = {"class_weights": None, "primary_metric": "accuracy", "positive_class": None}
    recipe = Recipe({"data": {name: Setting(value, "test") for name, value in values.items()}})
    _network().save(tmp_path / "network.keras")
    choices = UserChoices(architecture=str(tmp_path / "network.keras"), epochs=5, batch_size=20)
    recipe = complete_recipe(recipe, info, choices)
    train, validation = (
        open_split(few_digits_dir, name, recipe) for name in ("train", "validation")
    )
    source, policy = ImageSource(few_digits_dir, "train", (16, 16), 1), Policy()
    network = _network()
    model = keras.Model(network.inputs, keras.layers.Dense(10)(network.outputs[0]))

    def run(diverging: set[int]) -> tuple[Taught, list[int]]:
        begun: list[int] = []

        def runs(trainer: Any, images: Any, rows: Any, rates: Any, *given: Any) -> Iterator[Any]:
            begun.append(len(begun))
            scale = _TOO_HIGH if begun[-1] in diverging else 1.0
            return run_steps(trainer, images, rows, scale * rates, *given)

        monkeypatch.setattr(student_module, "run_steps", runs)
        asker = ViewTeacher(model, source, policy, 0)
        given = (recipe, info, source, train, validation, policy, asker, tmp_path / "kept", 0)
        student = Student(*given)
        weights = student._trainer.student.get_weights()
        return student.learn(weights, np.arange(40), np.inf, StageWatch()), begun

    return run


@pytest.mark.long
def test_one_that_diverges_loses_and_is_not_begun_again(learn: Any, tmp_path: Path) -> None:
    taught, begun = learn({0, 4})
    losses = [each.loss for each in taught.trials]
    assert [each is None for each in losses] == [True, False, False, False, True]
    best = taught.trials[losses.index(min(each for each in losses if each is not None))]
    assert taught.teaching.temperature == best.temperature > 1
    assert taught.teaching.label_share == best.label_share
    assert begun == [0, 1, 2, 3, 4]
    (kept,) = (tmp_path / "kept").rglob("trials.json")
    assert json.loads(kept.read_text()) == [dataclasses.asdict(each) for each in taught.trials]
    again, begun = learn(set())
    assert begun == []
    assert again.trials == taught.trials


def _trial(teaching: Teaching, loss: float | None) -> TeachingTrial:
    return TeachingTrial(teaching.temperature, teaching.label_share, teaching.feature_weight, loss)


@pytest.mark.parametrize(
    ("losses", "tried", "followed"),
    [
        # T, s and w of the last two, and of the student.
        ([0.5, 0.4, 0.6, 0.3, 0.2], [(2, 0.3, 0), (2, 0.3, 1)], (2, 0.3, 1)),
        ([None, 0.7, 0.6, None, None], [(4, 0.3, 0), (4, 0, 1)], (4, 0, 0)),
        ([None, None, None, 0.5, None], [(2, 0.3, 0), (2, 0.3, 1)], (2, 0.3, 0)),
        ([None] * 5, [(2, 0.3, 0), (2, 0, 1)], (2, 0, 0)),
    ],
)
def test_the_next_one_and_the_student_follow_the_best_one_that_has_not_diverged(
    losses: list[float | None], tried: list[Any], followed: Any
) -> None:
    trials: list[TeachingTrial] = []
    for loss in losses:
        trials.append(_trial(student_module._next_way(trials), loss))
    found = [(each.temperature, each.label_share, each.feature_weight) for each in trials]
    assert found == [(1, 0, 0), (2, 0, 0), (4, 0, 0), *tried]
    best = student_module._best_way(trials)
    assert (best.temperature, best.label_share, best.feature_weight) == followed
