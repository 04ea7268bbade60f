"""A choice whose process is killed ends as one that nobody has killed, and counts its time."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kfp_vision.components.network_choice import trials as trials_module
from kfp_vision.components.network_choice.candidates import Candidate
from kfp_vision.components.network_choice.choose import choose_network
from kfp_vision.components.network_choice.images import divide_images
from kfp_vision.components.network_choice.trials import NetworkSize, Trials
from kfp_vision.components.shared.artifacts.cost import StageCost
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json
from kfp_vision.components.shared.recipe.budget import with_budget
from kfp_vision.components.shared.recipe.document import Recipe, Setting, write_recipe
from kfp_vision.components.shared.recipe.user_choices import UserChoices
from kfp_vision.components.shared.training.checkpoints import StageWatch
from kfp_vision.components.shared.training.setup import complete_recipe

VALUES = {"class_weights": None, "primary_metric": "accuracy", "positive_class": None}
RECIPE = Recipe({"data": {name: Setting(value, "test") for name, value in VALUES.items()}})


@pytest.fixture
def process(
    few_digits_dir: Path, small_model: str, tmp_path: Path
) -> Callable[[], tuple[Trials, StageWatch, Any]]:
    """Starts the trials of one choice as a new process does."""
    info = read_json(DatasetInfo, few_digits_dir / "dataset.json")
    candidate = Candidate(small_model, 16, 16, "all", "random")
    recipe = complete_recipe(candidate.in_recipe(RECIPE), info, UserChoices(batch_size=8))

    def start() -> tuple[Trials, StageWatch, Any]:
        watch = StageWatch()
        watch.open(tmp_path / "choice")
        division = divide_images(few_digits_dir, info, 256)
        folders = tmp_path / "choice", tmp_path / "features"
        size = NetworkSize(1, 0, 100)
        given = (few_digits_dir, info, division, 1e-3, 0, *folders, lambda _: size, 100, watch)
        return Trials(*given), watch, (candidate, recipe)

    return start


@pytest.mark.long
def test_a_trial_after_a_kill_is_as_long_as_without_it(process, monkeypatch):
    def dies(*_: Any) -> Any:
        raise KeyboardInterrupt

    trials, first_watch, tried = process()
    monkeypatch.setattr(trials_module, "run_steps", dies)
    with pytest.raises(KeyboardInterrupt):
        trials.run(*tried, 1)
    monkeypatch.undo()
    # Whatever the machine is doing now: its speed was measured.
    monkeypatch.setattr(trials_module, "seconds_per_step", dies)
    trials, watch, tried = process()
    result = trials.run(*tried, 1)
    assert np.isfinite(result.losses).all()
    pace = watch.once(f"step of {tried[0].name}", dies) / 8
    assert result.seconds_per_image == pace
    assert watch.seconds > first_watch.once(f"step of {tried[0].name}", dies)
    # What had ended is read, and its time counts.
    trials, watch, tried = process()
    monkeypatch.setattr(trials_module, "run_steps", dies)
    np.testing.assert_array_equal(trials.run(*tried, 1).losses, result.losses)
    assert watch.seconds > result.seconds


def test_the_time_that_the_first_process_found_counts(few_digits_dir, small_model, tmp_path):
    write_recipe(with_budget(RECIPE, "balanced", max_minutes=1.0), tmp_path / "recipe.json")
    given = few_digits_dir, tmp_path / "recipe.json", tmp_path, tmp_path / "kept"
    choices = UserChoices(architecture=small_model)
    spent = [StageCost("profile_dataset", 50.0, 0)]
    first = choose_network(*given, choices, spent=spent)
    assert first.skipped.startswith("the budget leaves 10 s, and a comparison takes 45")
    again = choose_network(*given, choices)
    assert again.skipped == first.skipped
    # As if the first process had taken an hour.
    (kept,) = (tmp_path / "kept").glob("choice-*/stage.json")
    assert again.seconds < 3600.0
    held = json.loads(kept.read_text())
    kept.write_text(json.dumps({**held, "seconds": 3600.0}))
    assert choose_network(*given, choices).seconds > 3600.0
