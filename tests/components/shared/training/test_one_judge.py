"""Stages that may replace the model keep it where one validation image would judge, and say why."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kfp_vision.components.distillation.distill import distill
from kfp_vision.components.pretraining.pretrain import pretrain
from kfp_vision.components.self_training.self_train import self_train
from kfp_vision.components.shared.artifacts.cost import COST_FILE, StageCost
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json, write_json
from kfp_vision.components.shared.artifacts.training_result import MODEL_FILE, TrainingResult
from kfp_vision.components.shared.datasets.near_duplicates import NEAR_DUPLICATES_FILE
from kfp_vision.components.shared.recipe.document import Recipe, Setting, write_recipe
from kfp_vision.components.shared.recipe.stage_times import later_lessons
from kfp_vision.components.teachers.train_teachers import train_share, train_teachers

WHY = "fewer than two held-out images cannot tell a gain from chance"


def recipe_of(**data: Any) -> Recipe:
    """Returns a recipe whose user has asked for every stage."""
    values = {
        "class_weights": None,
        "primary_metric": "accuracy",
        "positive_class": None,
        "self_train": "always",
        "pretrain": "always",
        "distill": "always",
        "teachers": 1,
        **data,
    }
    return Recipe({"data": {name: Setting(value, "test") for name, value in values.items()}})


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """The artifact of a training whose model nobody may have to read."""
    folder = tmp_path / "trained"
    folder.mkdir()
    write_recipe(recipe_of(), folder / "recipe.json")
    told = {each.name: 0 for each in dataclasses.fields(TrainingResult)}
    write_json(told | {"images_per_second": 1.0}, folder / "training.json")
    write_json(StageCost("train_model", 1.0, 1), folder / COST_FILE)
    (folder / MODEL_FILE).write_bytes(b"model")
    return folder


@pytest.mark.parametrize(
    ("stage", "code"),
    [
        (self_train, "self_training_skipped"),
        (train_teachers, "teachers_skipped"),
        (distill, "distillation_skipped"),
    ],
)
def test_a_stage_after_the_training_tries_nothing(
    one_judge_dir: Path, trained: Path, tmp_path: Path, stage: Callable[..., Any], code: str
) -> None:
    result = stage(one_judge_dir, trained, tmp_path / "out", tmp_path / "kept", 0)
    assert result.skipped == WHY
    assert (tmp_path / "out" / MODEL_FILE).read_bytes() == b"model"
    report = json.loads((tmp_path / "out/stage_report.json").read_text())
    (warning,) = report["warnings"]
    assert warning["code"] == code
    assert WHY in warning["message"]
    assert report["arms"] == []


def test_no_task_trains_networks_that_would_not_be_judged(
    one_judge_dir: Path, trained: Path, tmp_path: Path
) -> None:
    share = train_share(one_judge_dir, trained, tmp_path / "out", tmp_path / "kept", 0, 0, 1)
    assert (share.members, share.failed) == ([], [])


def test_the_plan_has_no_time_for_such_stages(one_judge_dir: Path) -> None:
    info = read_json(DatasetInfo, one_judge_dir / "dataset.json")
    assert later_lessons(recipe_of(), info, 1000.0) == {}
    two = dataclasses.replace(info, splits={**info.splits, "validation": 2})
    assert set(later_lessons(recipe_of(), two, 1000.0)) == {
        "self_train",
        "train_teachers",
        "distill",
    }


def test_a_pretraining_tries_nothing_where_copies_leave_no_labels_to_judge(
    one_judge_dir: Path, small_model: str, tmp_path: Path
) -> None:
    dataset = tmp_path / "dataset"
    shutil.copytree(one_judge_dir, dataset)
    # All training images are near duplicates of each other.
    groups = np.arange(81)
    groups[:20] = 0
    np.save(dataset / NEAR_DUPLICATES_FILE, groups)
    architecture = {"architecture": Setting(small_model, "test", source="user")}
    write_recipe(recipe_of().with_settings("model", architecture), tmp_path / "recipe.json")
    result = pretrain(dataset, tmp_path / "recipe.json", tmp_path / "out", tmp_path / "kept", 0)
    assert result.skipped == WHY
    assert (result.arms, result.gain, result.is_kept) == ([], None, False)
    report = json.loads((tmp_path / "out/stage_report.json").read_text())
    assert [each["code"] for each in report["warnings"]] == ["pretraining_skipped"]
