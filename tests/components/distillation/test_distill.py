"""A network of few labels, taught by one that has seen many."""

import dataclasses
import json
import shutil
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest

from kfp_vision.components.distillation import student, teaching
from kfp_vision.components.distillation.distill import distill
from kfp_vision.components.distillation.lesson import ViewTeacher
from kfp_vision.components.shared.artifacts.cost import COST_FILE, StageCost
from kfp_vision.components.shared.artifacts.distillation_result import DistillationResult
from kfp_vision.components.shared.artifacts.json_files import read_json
from kfp_vision.components.shared.artifacts.teachers_result import ENSEMBLE_FILE
from kfp_vision.components.shared.augmentation.known_policies import shifts
from kfp_vision.components.shared.augmentation.policy import Mixing, Policy
from kfp_vision.components.shared.datasets.labelled import open_labelled
from kfp_vision.components.shared.recipe.budget import with_budget
from kfp_vision.components.shared.recipe.document import (
    Recipe,
    Setting,
    read_recipe,
    write_recipe,
)
from kfp_vision.components.shared.recipe.policies import AUGMENTATION, POLICY
from kfp_vision.components.shared.recipe.user_choices import UserChoices
from kfp_vision.components.shared.report.page import write_stage_page
from kfp_vision.components.shared.tasks import get_task
from kfp_vision.components.shared.training import checkpoints
from kfp_vision.components.shared.training.sanity import DivergenceError
from kfp_vision.components.training.train import train_model

pytestmark = pytest.mark.long

_SEED = 3


def _train(dataset: Path, model: str, folder: Path, epochs: int) -> Path:
    values = {
        "class_weights": None,
        "primary_metric": "accuracy",
        "positive_class": None,
        "use_validation_for_training": False,
        "distill": "always",
    }
    recipe = Recipe({"data": {name: Setting(value, "test") for name, value in values.items()}})
    # Of teacher and student: the views of the lesson are new to neither.
    policy = {POLICY: Setting(shifts().to_json(), "test", source="user")}
    recipe = recipe.with_settings(AUGMENTATION, policy)
    write_recipe(recipe, folder / "in.json")
    config = UserChoices(architecture=model, epochs=epochs, batch_size=32, seed=_SEED)
    train_model(dataset, folder / "in.json", folder / "model", folder / "checkpoints", config)
    return folder / "model"


@pytest.fixture(scope="module")
def teacher(digits_dir: Path, small_model: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of a thousand labels that takes larger images."""
    folder = _train(digits_dir, small_model, tmp_path_factory.mktemp("teacher"), 60)
    model = keras.models.load_model(folder / "model.keras", compile=False, safe_mode=True)
    inputs = keras.Input((32, 32, 1))
    path = folder / ENSEMBLE_FILE
    keras.Model(inputs, model(keras.layers.Resizing(16, 16)(inputs))).save(path)
    return path


@pytest.fixture(scope="module")
def trained(
    few_labels_dir: Path, small_model: str, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    return _train(few_labels_dir, small_model, tmp_path_factory.mktemp("trained"), 200)


@pytest.fixture(scope="module")
def before(trained: Path, teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifact of a network that has a teacher."""
    folder = tmp_path_factory.mktemp("before") / "model"
    shutil.copytree(trained, folder)
    shutil.copyfile(teacher, folder / ENSEMBLE_FILE)
    return folder


@pytest.fixture(scope="module")
def taught(
    few_labels_dir: Path, before: Path, tmp_path_factory: pytest.TempPathFactory, phases: Any
) -> Path:
    folder = tmp_path_factory.mktemp("taught")
    with phases.heard("distillation"):
        distill(few_labels_dir, before, folder / "out", folder / "kept", _SEED)
    return folder


def model_of(folder: Path) -> keras.Model:
    return keras.models.load_model(folder / "model.keras", compile=False, safe_mode=True)


def are_equal(first: Path, second: Path) -> bool:
    pairs = zip(model_of(first).get_weights(), model_of(second).get_weights(), strict=True)
    return all(np.array_equal(one, other) for one, other in pairs)


def accuracy(dataset: Path, folder: Path) -> float:
    test = open_labelled(dataset, "test", (16, 16, 1), get_task("multiclass"), 10)
    images, targets = test.take(np.arange(len(test)))
    predicted = model_of(folder).predict(images.astype(np.float32), verbose=0).argmax(axis=1)
    return float((predicted == targets["label"]).mean())


def result_of(folder: Path) -> DistillationResult:
    return read_json(DistillationResult, folder / "distillation.json")


def layers_of(model: keras.Model) -> list[Any]:
    """Class and shapes of the weights of every layer, without dropout, which a student has not."""
    return [
        layers_of(each)
        if isinstance(each, keras.Model)
        else (type(each), [tuple(weight.shape) for weight in each.weights])
        for each in model.layers
        if not isinstance(each, keras.layers.Dropout)
    ]


def test_a_teacher_makes_the_network_better_and_leaves_its_size(
    few_labels_dir: Path, before: Path, taught: Path
) -> None:
    result = result_of(taught / "out")
    assert result.is_kept
    assert result.gain is not None
    assert result.gain.low > 0
    assert result.teacher_loss < result.student_loss < result.loss
    assert accuracy(few_labels_dir, taught / "out") > accuracy(few_labels_dir, before) + 0.05
    assert layers_of(model_of(taught / "out")) == layers_of(model_of(before))


def test_images_without_labels_are_taught_too(taught: Path) -> None:
    result = result_of(taught / "out")
    assert (result.images, result.copies) == (60 + 1000, 0)
    assert result.pictures >= result.images
    # Temperatures, then the label with outputs alone, then the features.
    assert [each.feature_weight > 0 for each in result.trials] == [False] * 4 + [True]
    lowest = min(each.loss for each in result.trials if each.loss is not None)
    best = next(each for each in result.trials if each.loss == lowest)
    for name in ("temperature", "label_share", "feature_weight"):
        assert getattr(result, name) == getattr(best, name)


def test_the_artifact_is_the_one_before_without_the_teacher(before: Path, taught: Path) -> None:
    held = {path.relative_to(before) for path in before.rglob("*") if path.is_file()}
    after = {path.relative_to(taught / "out") for path in (taught / "out").rglob("*")}
    assert held - after == {Path(ENSEMBLE_FILE)}
    cost = read_json(StageCost, taught / "out" / COST_FILE)
    assert (cost.name, cost.images_seen) == ("distill", result_of(taught / "out").images_seen)


def test_the_page_shows_the_gain_and_the_trials(taught: Path, tmp_path: Path) -> None:
    write_stage_page(taught / "out", tmp_path / "page.html")
    _, section = (tmp_path / "page.html").read_text().split('<section id="distillation">')
    assert "The model has learned from the teacher" in section
    assert section.split("</section>")[0].count('<tr><td class="n">') == 5


def test_a_task_that_is_started_again_asks_and_trains_nothing_again(
    few_labels_dir: Path, before: Path, taught: Path, tmp_path: Path
) -> None:
    kept = [path for path in (taught / "kept").rglob("*") if path.is_file()]
    changed = {path: path.stat().st_mtime_ns for path in kept}
    distill(few_labels_dir, before, tmp_path / "out", taught / "kept", _SEED)
    assert are_equal(tmp_path / "out", taught / "out")
    files = [path for path in (taught / "kept").rglob("*") if path.is_file()]
    assert {path: path.stat().st_mtime_ns for path in files} == changed


def test_a_task_that_was_killed_goes_on_counting_its_time(
    few_labels_dir: Path,
    before: Path,
    taught: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried = student.Student._try
    begun: list[Any] = []

    def kills(self: Any, *given: Any) -> Any:
        begun.append(given)
        if len(begun) > 2:
            raise KeyboardInterrupt
        return tried(self, *given)

    with monkeypatch.context() as patch:
        patch.setattr(student.Student, "_try", kills)
        # As if each trial took a thousand seconds.
        clock = SimpleNamespace(monotonic=lambda: time.monotonic() + 1000.0 * len(begun))
        patch.setattr(checkpoints, "time", clock)
        with pytest.raises(KeyboardInterrupt):
            distill(few_labels_dir, before, tmp_path / "out", tmp_path / "kept", _SEED)

    result = distill(few_labels_dir, before, tmp_path / "out", tmp_path / "kept", _SEED)
    assert result.seconds > 2000
    assert read_json(StageCost, tmp_path / "out" / COST_FILE).seconds == result.seconds
    assert are_equal(tmp_path / "out", taught / "out")


def test_a_teacher_that_knows_nothing_is_refused(
    few_labels_dir: Path, before: Path, tmp_path: Path
) -> None:
    shutil.copytree(before, tmp_path / "model")
    inputs = keras.Input((16, 16, 1))
    outputs = keras.layers.Dense(10)(keras.layers.Flatten()(inputs / 255))
    keras.Model(inputs, outputs).save(tmp_path / "model" / ENSEMBLE_FILE)
    distill(few_labels_dir, tmp_path / "model", tmp_path / "out", tmp_path / "kept", _SEED)
    assert not result_of(tmp_path / "out").is_kept
    assert are_equal(tmp_path / "out", before)
    write_stage_page(tmp_path / "out", tmp_path / "page.html")
    assert "the gain does not clear zero" in (tmp_path / "page.html").read_text()


def _changed(model: Path, folder: Path, data: dict[str, Any], minutes: float = 0.0) -> Path:
    """Returns the artifact with other settings of the recipe."""
    shutil.copytree(model, folder)
    settings = {name: Setting(value, "test", source="user") for name, value in data.items()}
    recipe = read_recipe(model / "recipe.json").with_settings("data", settings)
    if minutes:
        recipe = with_budget(recipe, "balanced", minutes)
    write_recipe(recipe, folder / "recipe.json")
    return folder


def test_without_a_teacher_the_network_teaches_itself_where_the_user_wants_it(
    few_labels_dir: Path, trained: Path, tmp_path: Path
) -> None:
    model = _changed(trained, tmp_path / "model", {"distill": "always"})
    result = distill(few_labels_dir, model, tmp_path / "out", tmp_path / "kept", _SEED)
    assert result.is_own_teacher
    assert result.teacher_loss == result.loss
    assert result.gain is not None
    assert result.is_kept == (result.gain.low > 0)


@pytest.mark.parametrize(
    ("data", "minutes", "reason"),
    [
        ({"distill": "never"}, 0.0, "`distill` is `never`"),
        ({"use_validation_for_training": True}, 0.0, "leaves no images to judge it by"),
        ({}, 0.01, "and it takes 30 at least; `max_minutes` gives it more"),
    ],
)
def test_why_nothing_was_taught_is_said_and_the_model_is_the_one_before(
    few_labels_dir: Path, before: Path, tmp_path: Path, data: Any, minutes: float, reason: str
) -> None:
    model = _changed(before, tmp_path / "model", data, minutes)
    result = distill(few_labels_dir, model, tmp_path / "out", tmp_path / "kept", _SEED)
    assert reason in result.skipped
    assert are_equal(tmp_path / "out", before)
    report = json.loads((tmp_path / "out/stage_report.json").read_text())
    assert report["sections"] == []


def test_nobody_teaches_where_there_is_no_teacher(
    few_labels_dir: Path, trained: Path, tmp_path: Path
) -> None:
    model = _changed(trained, tmp_path / "model", {"distill": "auto"})
    result = distill(few_labels_dir, model, tmp_path / "out", tmp_path / "kept", _SEED)
    assert "the length of the training is the user's" in result.skipped
    sections = read_recipe(model / "recipe.json").sections
    training = {**sections["training"], "epochs": Setting(200, "test")}
    write_recipe(Recipe({**sections, "training": training}), model / "recipe.json")
    result = distill(few_labels_dir, model, tmp_path / "again", tmp_path / "kept", _SEED)
    assert result.skipped == "no teacher is better than the network itself"


def test_teacher_and_student_see_no_mixes_but_those_of_the_lesson(
    few_labels_dir: Path, before: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = _changed(before, tmp_path / "model", {})
    policy = dataclasses.replace(shifts(), mixing=Mixing(mixup_probability=0.5))
    wanted = {POLICY: Setting(policy.to_json(), "test", source="user")}
    recipe = read_recipe(model / "recipe.json").with_settings(AUGMENTATION, wanted)
    write_recipe(recipe, model / "recipe.json")
    seen: list[Policy] = []

    def asks(teacher: Any, source: Any, policy: Policy, seed: int) -> Any:
        seen.append(policy)
        return ViewTeacher(teacher, source, policy, seed)

    def learns(*given: Any) -> Any:
        seen.extend(each for each in given if isinstance(each, Policy))
        raise DivergenceError("What it sees is known.")

    monkeypatch.setattr(teaching, "ViewTeacher", asks)
    monkeypatch.setattr(teaching, "Student", learns)
    distill(few_labels_dir, model, tmp_path / "out", tmp_path / "kept", _SEED)
    asked, learned = seen
    assert asked == learned
    assert (asked.mixing, asked.always) == (Mixing(), shifts().always)


def test_a_student_that_diverges_costs_a_warning_and_not_the_model(
    few_labels_dir: Path, before: Path, tmp_path: Path
) -> None:
    model = _changed(before, tmp_path / "model", {})
    wanted = {"learning_rate": 1e20, "clip_norm": 0.0, "ema_momentum": 0.0, "optimizer": "sgd"}
    settings = {name: Setting(value, "test", source="user") for name, value in wanted.items()}
    recipe = read_recipe(model / "recipe.json").with_settings("training", settings)
    write_recipe(recipe, model / "recipe.json")
    result = distill(few_labels_dir, model, tmp_path / "out", tmp_path / "kept", _SEED)
    assert result.failed
    assert are_equal(tmp_path / "out", before)
    report = json.loads((tmp_path / "out/stage_report.json").read_text())
    assert [each["code"] for each in report["warnings"]] == ["distillation_failed"]
