"""Teachers, and what they teach, begin where the plan of the run has time for them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kfp_vision.components.distillation.distill import distill
from kfp_vision.components.shared.artifacts.cost import START_UP, StageCost
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json
from kfp_vision.components.shared.artifacts.run_plan import RunPlan
from kfp_vision.components.shared.artifacts.teachers_result import Share
from kfp_vision.components.shared.recipe.budget import with_budget
from kfp_vision.components.shared.recipe.document import Recipe, Setting
from kfp_vision.components.shared.recipe.stage_times import plan_stages
from kfp_vision.components.shared.report.page import write_stage_page
from kfp_vision.components.teachers.train_teachers import train_share, train_teachers

LEFT_OUT = "the plan of 4 minutes has no time for it; `max_minutes` gives it more"
BEFORE = [StageCost("import_dataset", 20.0, 1000), StageCost(START_UP, 10.0, 0)]


def recipe_of(**data: Any) -> Recipe:
    held = {
        name: Setting(value, "test", source="user")
        for name, value in {"distill": "auto", "teachers": 0, "deploy": "model", **data}.items()
    }
    model = {"architecture": Setting("separable", "test", source="user")}
    return with_budget(Recipe({"data": held, "model": model}), "fast", 4.0)


def plan_of(dataset_dir: Path, recipe: Recipe) -> RunPlan:
    """Returns the plan of a training of 140 s, which leaves its teachers nothing."""
    info = read_json(DatasetInfo, dataset_dir / "dataset.json")
    plan = plan_stages(recipe, BEFORE, info, 14_000, 1e-2, 10.0)
    assert plan is not None
    return plan


def test_what_the_plan_has_left_out_does_not_begin_in_what_is_left_over(
    few_digits_dir: Path,
    finished_training: Callable[[Recipe], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    recipe = recipe_of()
    plan = plan_of(few_digits_dir, recipe)
    assert {"train_teachers", "distill"}.isdisjoint(plan.stages)
    # A training that has ended early: the minutes have more than the 30 s that a stage wants.
    given = (0, None, [*BEFORE, StageCost("train", 60.0, 1)], plan)
    trained, out = finished_training(recipe), tmp_path / "out"
    result = train_teachers(few_digits_dir, trained, out, tmp_path / "kept", *given)
    assert result.skipped == LEFT_OUT
    assert f"note No network is trained beside the model: {LEFT_OUT}.\n" in capsys.readouterr().out
    write_stage_page(out, tmp_path / "page.html")
    assert "No network was trained beside the model: the plan" in (
        tmp_path / "page.html"
    ).read_text(encoding="utf-8")
    share = train_share(
        few_digits_dir, trained, tmp_path / "share", tmp_path / "kept", 0, 0, 2, *given[1:]
    )
    assert share == Share(seconds=share.seconds)
    taught = distill(few_digits_dir, out, tmp_path / "taught", tmp_path / "kept", *given)
    assert taught.skipped == LEFT_OUT


@pytest.mark.parametrize("wish", [{"teachers": 1}, {"distill": "always"}, {"deploy": "ensemble"}])
def test_what_the_user_has_asked_for_begins_whatever_the_plan_says(
    few_digits_dir: Path, finished_training: Callable[[Recipe], Path], tmp_path: Path, wish: Any
) -> None:
    recipe = recipe_of(**wish)
    plan = plan_of(few_digits_dir, recipe)
    assert "train_teachers" in plan.stages
    unplanned = RunPlan(plan.minutes, plan.spent_s, plan.image_s, plan.start_up_s, {"train": 60.0})
    spent = [*BEFORE, StageCost("train", 200.0, 1)]
    trained = finished_training(recipe)
    given = (few_digits_dir, trained, tmp_path / "out", tmp_path / "kept", 0, None, spent)
    # What stops it is the clock alone.
    assert "the budget leaves" in train_teachers(*given, unplanned).skipped
