"""Digits: networks beside the model, and one teacher of them where that is better."""

import itertools
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from kfp_vision.components.shared.artifacts.cost import COST_FILE, StageCost
from kfp_vision.components.shared.artifacts.json_files import read_json
from kfp_vision.components.shared.artifacts.run_plan import RunPlan
from kfp_vision.components.shared.artifacts.teachers_result import Share, TeachersResult
from kfp_vision.components.shared.datasets.labelled import open_labelled
from kfp_vision.components.shared.recipe.budget import with_budget
from kfp_vision.components.shared.recipe.document import (
    Recipe,
    Setting,
    read_recipe,
    write_recipe,
)
from kfp_vision.components.shared.recipe.user_choices import UserChoices
from kfp_vision.components.shared.report.page import write_stage_page
from kfp_vision.components.shared.tasks import get_task
from kfp_vision.components.shared.training.checkpoints import Stopwatch, read_checkpoint
from kfp_vision.components.shared.training.length import Pace
from kfp_vision.components.shared.training.sanity import DivergenceError
from kfp_vision.components.teachers import gathering, member_training, members
from kfp_vision.components.teachers.member_training import TrainedMember
from kfp_vision.components.teachers.train_teachers import train_share, train_teachers
from kfp_vision.components.training.train import train_model

pytestmark = pytest.mark.long

_SEED = 0


@pytest.fixture(scope="module")
def offline() -> Iterator[None]:
    """Without pretrained weights every member is as small as the model."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(members, "missing_weights", lambda name: f"no weights of {name}")
        yield


@pytest.fixture(scope="module")
def trained(
    many_judges_dir: Path, small_model: str, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    values = {
        "class_weights": None,
        "primary_metric": "accuracy",
        "positive_class": None,
        "use_validation_for_training": False,
        "self_train": "auto",
        "distill": "auto",
        "teachers": 3,
        "deploy": "model",
    }
    recipe = Recipe({"data": {name: Setting(value, "test") for name, value in values.items()}})
    write_recipe(recipe, folder / "in.json")
    config = UserChoices(architecture=small_model, epochs=2, batch_size=32, seed=_SEED)
    train_model(
        many_judges_dir, folder / "in.json", folder / "model", folder / "checkpoints", config
    )
    # The members have the time that the model did not have.
    recipe = read_recipe(folder / "model/recipe.json")
    longer = {"epochs": Setting(12, "test", source="user")}
    recipe = Recipe({**recipe.sections, "training": {**recipe.sections["training"], **longer}})
    write_recipe(recipe, folder / "model/recipe.json")
    return folder / "model"


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("checkpoints")


@pytest.fixture(scope="module")
def taught(
    many_judges_dir: Path, trained: Path, checkpoints: Path, offline: None, phases: Any
) -> Path:
    with phases.heard("teachers"):
        train_teachers(many_judges_dir, trained, checkpoints / "out", checkpoints / "kept", _SEED)
    return checkpoints / "out"


def changed(trained: Path, folder: Path, minutes: float = 0.0, **data: Any) -> Path:
    """Returns the trained model with other wishes of the user."""
    shutil.copytree(trained, folder)
    wishes = {name: Setting(value, "test", source="user") for name, value in data.items()}
    recipe = read_recipe(trained / "recipe.json").with_settings("data", wishes)
    if minutes:
        recipe = with_budget(recipe, "balanced", minutes)
    write_recipe(recipe, folder / "recipe.json")
    return folder


def result_of(folder: Path) -> TeachersResult:
    return read_json(TeachersResult, folder / "teachers.json")


def load(path: Path) -> keras.Model:
    return keras.models.load_model(path, compile=False, safe_mode=True)


def are_equal(first: Path, second: Path) -> bool:
    pairs = zip(load(first).get_weights(), load(second).get_weights(), strict=True)
    return all(np.array_equal(one, other) for one, other in pairs)


def accuracy(dataset: Path, path: Path) -> float:
    model = load(path)
    test = open_labelled(dataset, "test", model.input_shape[1:], get_task("multiclass"), 10)
    images, targets = test.take(np.arange(len(test)))
    predicted = model.predict(images.astype(np.float32), verbose=0).argmax(axis=1)
    return float((predicted == targets["label"]).mean())


def test_an_ensemble_that_is_better_is_a_teacher_and_the_test_images_agree(
    many_judges_dir: Path, trained: Path, taught: Path
) -> None:
    result = result_of(taught)
    assert [each.kind for each in result.members] == ["model", "seed", "bootstrap", "boosted"]
    assert [each.way for each in result.tried] == ["average", "greedy", "stacking"]
    (kept,) = [each for each in result.tried if each.way == result.kept]
    assert kept.gain.low > 0
    assert kept.loss < result.members[0].loss
    assert accuracy(many_judges_dir, taught / "ensemble.keras") > accuracy(
        many_judges_dir, trained / "model.keras"
    )
    # What is no better than the model alone is not taken for it.
    assert all(each.gain.value <= kept.gain.value for each in result.tried if each.gain.low > 0)


def test_members_are_told_with_how_they_differ(taught: Path) -> None:
    result = result_of(taught)
    differ = np.array(result.disagreement)
    assert differ.shape == (4, 4)
    np.testing.assert_array_equal(differ, differ.T)
    assert (differ.diagonal() == 0).all()
    assert (differ[~np.eye(4, dtype=bool)] > 0).all()
    assert sum(each.weight for each in result.members) == pytest.approx(
        4 if result.kept == "stacking" else 1
    )
    assert all(0 < each.calibration_error < 1 for each in result.members)
    assert result.members[0].images_seen < 1000
    assert all(each.seconds > 0 and each.images_seen > 4000 for each in result.members[1:])


def test_the_artifact_is_that_of_the_training_with_a_teacher(trained: Path, taught: Path) -> None:
    before = {path.relative_to(trained) for path in trained.rglob("*") if path.is_file()}
    after = {path.relative_to(taught) for path in taught.rglob("*") if path.is_file()}
    assert after - before == {Path("ensemble.keras"), Path("teachers.json")}
    assert are_equal(trained / "model.keras", taught / "model.keras")
    assert load(taught / "ensemble.keras").count_params() == result_of(taught).parameters
    cost = read_json(StageCost, taught / COST_FILE)
    assert cost.name == "train_teachers"
    assert cost.images_seen == sum(each.images_seen for each in result_of(taught).members[1:])


def test_a_task_that_is_started_again_trains_nothing_again_and_deploys_what_is_wanted(
    many_judges_dir: Path, trained: Path, taught: Path, checkpoints: Path, tmp_path: Path
) -> None:
    states = sorted((checkpoints / "kept").rglob("state.npz"))
    written = [path.stat().st_mtime_ns for path in states]
    assert len(states) == 3
    wanted = changed(trained, tmp_path / "model", deploy="ensemble")
    result = train_teachers(many_judges_dir, wanted, tmp_path / "out", checkpoints / "kept", _SEED)
    assert [path.stat().st_mtime_ns for path in states] == written
    assert result.is_deployed
    # Of the process that has trained them.
    assert result.seconds > sum(each.seconds for each in result.members[1:])
    assert not (tmp_path / "out/ensemble.keras").exists()
    assert are_equal(tmp_path / "out/model.keras", taught / "ensemble.keras")
    setting = read_recipe(tmp_path / "out/recipe.json").get("data", "deploy")
    assert setting is not None
    assert setting.value == "ensemble"
    assert len(setting.evidence["members"]) == sum(each.weight > 0 for each in result.members)


def test_the_page_shows_every_member_and_every_way(taught: Path, tmp_path: Path) -> None:
    write_stage_page(taught, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    for text in ("Teachers", "<td>boosted</td>", "greedy selection", ">helped</span>"):
        assert text in page


def test_a_member_that_fails_costs_a_warning_and_the_others_go_on(
    many_judges_dir: Path,
    trained: Path,
    taught: Path,
    checkpoints: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(dataset: Path, info: Any, planned: Any, *given: Any) -> Any:
        if planned.kind == "bootstrap":
            raise DivergenceError("The loss must be finite. Received: nan")
        return member_training.train_member(dataset, info, planned, *given)

    monkeypatch.setattr(gathering, "train_member", fails)
    result = train_teachers(many_judges_dir, trained, tmp_path / "out", checkpoints / "kept", _SEED)
    assert [each.kind for each in result.members] == ["model", "seed", "boosted"]
    assert result.failed == ["bootstrap: The loss must be finite. Received: nan."]
    report = json.loads((tmp_path / "out/stage_report.json").read_text())
    assert [each["code"] for each in report["warnings"]] == ["teachers_failed"]


def test_what_is_not_better_is_refused_and_the_time_is_kept_to(
    digits_dir: Path,
    trained: Path,
    offline: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Steps of ten seconds, of 40 that are left: two or three for each member. The 300 validation
    # images are too few for a stack, which would mend what the model says.
    monkeypatch.setattr(member_training, "measure_pace", lambda *_: Pace(10.0, 1e-6, 0.0))
    wanted = changed(trained, tmp_path / "model", 1.0, deploy="ensemble", teachers=3)
    given = (wanted, tmp_path / "out", tmp_path / "kept", _SEED, None)
    result = train_teachers(digits_dir, *given, [StageCost("train", 20.0, 100)])
    assert all(each.images_seen in (64, 96) for each in result.members[1:])
    assert not result.is_accepted
    assert not (tmp_path / "out/ensemble.keras").exists()
    assert are_equal(tmp_path / "out/model.keras", trained / "model.keras")
    for path in (tmp_path / "kept").rglob("state.npz"):
        held = read_checkpoint(path)
        assert held is not None
        # Were the machine slower later, each would be cut.
        assert 0 < held[1]["ends"] < 40
    setting = read_recipe(tmp_path / "out/recipe.json").get("data", "deploy")
    assert setting is not None
    assert setting.value == "model"
    assert "no ensemble is better" in setting.method


def test_a_network_that_is_too_slow_to_be_deployed_in_time_is_not_trained(
    digits_dir: Path,
    trained: Path,
    offline: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(member_training, "measure_pace", lambda *_: Pace(0.01, 1e-6, 1.0))
    wanted = changed(trained, tmp_path / "model", 1.0, deploy="ensemble", teachers=1)
    given = (wanted, tmp_path / "out", tmp_path / "kept", _SEED, None)
    result = train_teachers(digits_dir, *given, [StageCost("train", 20.0, 100)])
    assert result.failed == [
        "seed: its evaluation and export, 5,520 images, take 5520 s and leave no time to train it; "
        "`max_minutes` gives it more."
    ]
    assert not result.is_deployed
    assert are_equal(tmp_path / "out/model.keras", trained / "model.keras")


def test_networks_of_several_tasks_make_the_same_teacher(
    many_judges_dir: Path, trained: Path, taught: Path, offline: None, tmp_path: Path
) -> None:
    shares = [tmp_path / str(worker) for worker in range(2)]
    for worker, share in enumerate(shares):
        given = (trained, share, tmp_path / f"kept-{worker}", _SEED, worker, 2)
        told = train_share(many_judges_dir, *given)
        assert told.places == [worker, worker + 2][: 2 - worker]
        assert all(each.images_seen > 0 for each in told.members)
        assert not told.failed
        assert {each.name for each in share.glob("*.keras")} == {
            f"{place}.keras" for place in told.places
        }
    out = tmp_path / "out"
    result = train_teachers(many_judges_dir, trained, out, tmp_path / "none", _SEED, shares=shares)
    alone = result_of(taught)
    assert [each.kind for each in result.members] == [each.kind for each in alone.members]
    assert [each.images_seen for each in result.members] == [
        each.images_seen for each in alone.members
    ]
    assert result.tried == alone.tried
    assert are_equal(out / "ensemble.keras", taught / "ensemble.keras")
    assert not list((tmp_path / "none").glob("teacher-*"))
    seconds = [read_json(StageCost, each / COST_FILE).seconds for each in shares]
    assert result.seconds > max(seconds)


def test_a_task_without_a_network_of_its_own_hands_on_none(
    many_judges_dir: Path, trained: Path, offline: None, tmp_path: Path
) -> None:
    wanted = changed(trained, tmp_path / "model", teachers=0, distill="never")
    given = (wanted, tmp_path / "share", tmp_path / "kept", _SEED, 1, 2)
    assert train_share(many_judges_dir, *given) == Share()
    result = train_teachers(
        many_judges_dir, wanted, tmp_path / "out", tmp_path, _SEED, shares=[tmp_path / "share"]
    )
    assert "`distill` is `never`" in result.skipped


def test_networks_that_no_time_is_left_for_are_not_begun(
    digits_dir: Path,
    trained: Path,
    offline: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    began: list[float] = []

    def fails(dataset: Path, info: Any, planned: Any, *given: Any) -> Any:
        began.append(given[-3])
        raise DivergenceError("The loss must be finite. Received: nan")

    # As if each took half of the 34 seconds: the watch is read when it begins, and kept.
    now = itertools.count(0.0, 8.5)
    monkeypatch.setattr(gathering, "train_member", fails)
    monkeypatch.setattr(Stopwatch, "seconds", property(lambda _: next(now)))
    wanted = changed(trained, tmp_path / "model", 1.0, teachers=1000)
    given = (wanted, tmp_path / "out", tmp_path / "kept", _SEED, None)
    result = train_teachers(digits_dir, *given, [StageCost("train", 20.0, 100)])
    # Enough for a few of them at a time.
    assert began == [pytest.approx(10.0), pytest.approx(10.0)]
    assert len(result.failed) == 3
    assert result.failed[-1] == "998 of 1000 networks: no time is left for them."


def test_networks_that_processes_before_have_trained_took_their_time(
    digits_dir: Path,
    trained: Path,
    offline: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given_s: list[float] = []

    def resumes(dataset: Path, info: Any, planned: Any, *given: Any) -> Any:
        given_s.append(given[-3])
        return TrainedMember(load(trained / "model.keras"), 100, 300.0, forward_s=0.0)

    monkeypatch.setattr(gathering, "train_member", resumes)
    wanted = changed(trained, tmp_path / "model", 60.0, teachers=3)
    given = (wanted, tmp_path / "out", tmp_path / "kept", _SEED, None)
    result = train_teachers(digits_dir, *given, [StageCost("train", 20.0, 100)])
    # Each has its part of what those before it have left.
    for at in (1, 2):
        expected = (given_s[at - 1] * (4 - at) - 300.0) / (3 - at)
        assert given_s[at] == pytest.approx(expected, abs=100.0)
    assert result.seconds >= 900
    assert read_json(StageCost, tmp_path / "out" / COST_FILE).seconds == result.seconds
    # A process after a kill gives each the time that it had.
    given = (wanted, tmp_path / "again", tmp_path / "kept", _SEED, None)
    train_teachers(digits_dir, *given, [StageCost("train", 20.0, 100)])
    assert given_s[3:] == given_s[:3]


@pytest.mark.parametrize(
    ("data", "minutes", "reason"),
    [
        ({"teachers": 0, "distill": "never"}, 0.0, "`distill` is `never`"),
        ({"use_validation_for_training": True}, 0.0, "leaves no images to judge them by"),
        ({}, 0.01, "the budget leaves 0 s"),
    ],
)
def test_why_nothing_was_trained_is_said_and_the_model_is_the_one_before(
    many_judges_dir: Path, trained: Path, tmp_path: Path, data: Any, minutes: float, reason: str
) -> None:
    wanted = changed(trained, tmp_path / "model", minutes, **data)
    plan = RunPlan(minutes, 60.0, 1e-3, 10.0, {})
    spent = [StageCost("train", 60.0, 100)]
    given = (wanted, tmp_path / "out", tmp_path / "kept", _SEED, None, spent, plan)
    result = train_teachers(many_judges_dir, *given)
    assert reason in result.skipped
    assert are_equal(tmp_path / "out/model.keras", trained / "model.keras")
    report = json.loads((tmp_path / "out/stage_report.json").read_text())
    # What more minutes would have brought is on the page.
    assert [each["name"] for each in report["sections"]] == (["teachers"] if minutes else [])
