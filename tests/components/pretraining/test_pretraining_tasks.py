"""Every task of whole images can be learned before its labels."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from digits_recipe import recipe_for

from kfp_vision.components.pretraining import rivals
from kfp_vision.components.pretraining.learner import Learner
from kfp_vision.components.pretraining.pretrain import pretrain
from kfp_vision.components.shared.artifacts.pretraining_result import ArmResult
from kfp_vision.components.shared.recipe.document import write_recipe


def ask_once(learner: Learner, *_: Any) -> tuple[list[ArmResult], str]:
    """Returns an arm before its first step, and that none is chosen."""
    return [learner.advance("SimCLR", 0.0, 2)], ""


@pytest.mark.parametrize(
    ("task", "metric", "positive", "chance"),
    [
        ("multiclass", "accuracy", None, 0.1),
        ("binary", "balanced_accuracy", "low", 0.5),
        ("binary", "average_precision", "high", 0.5),
        ("multilabel", "mean_average_precision", None, 0.36),
    ],
)
def test_the_probes_of_each_task_are_above_chance(
    task: str,
    metric: str,
    positive: str | None,
    chance: float,
    few_labels_of: Callable[[str], Path],
    small_model: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rivals, "compete", ask_once)
    recipe = recipe_for(small_model, primary_metric=metric, positive_class=positive)
    write_recipe(recipe, tmp_path / "recipe.json")
    folders = (tmp_path / "out", tmp_path / "kept")
    (arm,) = pretrain(few_labels_of(task), tmp_path / "recipe.json", *folders, seed=1).arms
    (point,) = arm.points
    assert chance < point.linear <= 1.0
    assert chance < point.nearest <= 1.0
