"""Networks on labels alone: they end in time, and after a kill where they would have ended."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kfp_vision.components.self_training.plain import train_plain
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json
from kfp_vision.components.shared.recipe.document import Recipe, Setting
from kfp_vision.components.shared.recipe.user_choices import UserChoices
from kfp_vision.components.shared.training import fit, part_training
from kfp_vision.components.shared.training.checkpoints import Stopwatch
from kfp_vision.components.shared.training.history import History
from kfp_vision.components.shared.training.length import Pace
from kfp_vision.components.shared.training.setup import complete_recipe, open_split
from kfp_vision.components.shared.training.trainer import Trainer

_KNOWN = np.arange(0, 100, 2)


@pytest.fixture
def train(few_judges_dir: Path, small_model: str) -> Callable[..., tuple[Trainer, History]]:
    """Trains on 50 of 100 images, for twelve epochs."""
    info = read_json(DatasetInfo, few_judges_dir / "dataset.json")
    values = {"class_weights": None, "primary_metric": "accuracy", "positive_class": None}
    recipe = Recipe({"data": {name: Setting(value, "test") for name, value in values.items()}})
    choices = UserChoices(architecture=small_model, epochs=12, batch_size=20)
    recipe = complete_recipe(recipe, info, choices)
    train, validation = (
        open_split(few_judges_dir, name, recipe) for name in ("train", "validation")
    )

    def run(folder: Path, ends: float, watch: Stopwatch) -> tuple[Trainer, History]:
        given = (few_judges_dir, recipe, info, train, validation, _KNOWN, None)
        return train_plain(*given, folder, 0, ends, watch)

    return run


def test_after_a_kill_it_ends_with_the_same_weights_and_is_not_trained_again(
    train, tmp_path, monkeypatch
):
    whole, history = train(tmp_path / "whole", np.inf, Stopwatch())
    # Of twelve epochs of five steps, of half of the images.
    assert history.step == 30
    evaluate, calls = fit.evaluate, []

    def dies(*args: Any) -> Any:
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return evaluate(*args)

    monkeypatch.setattr(fit, "evaluate", dies)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "killed", np.inf, Stopwatch())
    monkeypatch.setattr(fit, "evaluate", evaluate)
    taken: list[int] = []
    run_steps = Trainer.run_steps

    def count(trainer: Any, images: Any, *args: Any) -> Any:
        taken.append(len(images))
        return run_steps(trainer, images, *args)

    monkeypatch.setattr(Trainer, "run_steps", count)
    for left in (20, 0):
        taken.clear()
        trainer, _ = train(tmp_path / "killed", np.inf, Stopwatch())
        assert sum(taken) == left
        for one, other in zip(trainer.model.get_weights(), whole.model.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)


def test_it_is_as_short_as_it_has_to_be(train, tmp_path, monkeypatch):
    # Steps of a second.
    monkeypatch.setattr(part_training, "measure_pace", lambda *_: Pace(1.0, 1e-6, 0.0))
    watch = Stopwatch()
    watch.resume(1000.0)
    _, history = train(tmp_path, 1020.0, watch)
    assert 10 < history.step <= 20
