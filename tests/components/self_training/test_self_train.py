"""Learning digits without labels: what helps is kept, what does not is refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from kfp_vision.components.self_training import pretrained_view, student
from kfp_vision.components.self_training.self_train import self_train
from kfp_vision.components.shared.artifacts.cost import COST_FILE, StageCost
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json, write_json
from kfp_vision.components.shared.artifacts.run_plan import RunPlan
from kfp_vision.components.shared.datasets.labelled import open_labelled
from kfp_vision.components.shared.datasets.near_duplicates import NEAR_DUPLICATES_FILE
from kfp_vision.components.shared.datasets.store import SplitWriter, encode_raw
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
from kfp_vision.components.shared.training import part_training
from kfp_vision.components.shared.training.length import Pace
from kfp_vision.components.shared.training.soft_targets import taught_images
from kfp_vision.components.training.train import train_model

pytestmark = pytest.mark.long

_SEED = 2


def _train(dataset: Path, model: str, folder: Path, seed: int) -> Path:
    values = {
        "class_weights": None,
        "primary_metric": "accuracy",
        "positive_class": None,
        "use_validation_for_training": False,
        "self_train": "auto",
    }
    recipe = Recipe({"data": {name: Setting(value, "test") for name, value in values.items()}})
    write_recipe(recipe, folder / "in.json")
    config = UserChoices(architecture=model, epochs=200, batch_size=32, seed=seed)
    train_model(dataset, folder / "in.json", folder / "model", folder / "checkpoints", config)
    return folder / "model"


@pytest.fixture(scope="module")
def trained(
    few_labels_dir: Path, small_model: str, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    return _train(few_labels_dir, small_model, tmp_path_factory.mktemp("trained"), _SEED)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("checkpoints")


@pytest.fixture(scope="module")
def taught(few_labels_dir: Path, trained: Path, checkpoints: Path, phases: Any) -> Path:
    with phases.heard("self_training"):
        self_train(few_labels_dir, trained, checkpoints / "out", checkpoints / "kept", _SEED)
    return checkpoints / "out"


def weights(folder: Path) -> list[np.ndarray]:
    model = keras.models.load_model(folder / "model.keras", compile=False, safe_mode=True)
    return model.get_weights()


def are_equal(first: Path, second: Path) -> bool:
    pairs = zip(weights(first), weights(second), strict=True)
    return all(np.array_equal(one, other) for one, other in pairs)


def accuracy(dataset: Path, folder: Path) -> float:
    model = keras.models.load_model(folder / "model.keras", compile=False, safe_mode=True)
    images, targets = (
        test := open_labelled(dataset, "test", (16, 16, 1), get_task("multiclass"), 10)
    ).take(np.arange(len(test)))
    predicted = model.predict(images.astype(np.float32), verbose=0).argmax(axis=1)
    return float((predicted == targets["label"]).mean())


def result_of(folder: Path) -> dict[str, Any]:
    held: dict[str, Any] = json.loads((folder / "self_training.json").read_text())
    return held


def test_the_best_that_clears_zero_is_kept_and_the_test_images_agree(
    few_labels_dir: Path, trained: Path, taught: Path
) -> None:
    rounds = result_of(taught)["rounds"]
    assert result_of(taught)["trials"] == []
    assert all((each["neighbours"] is not None) == (each["refined"]["low"] > 0) for each in rounds)
    assert accuracy(few_labels_dir, taught) > accuracy(few_labels_dir, trained) + 0.02
    # The last round is the one that was refused, or the last that may be.
    before = result_of(taught)["loss"]
    for place in range(0, len(rounds), 2):
        alone, student = both = rounds[place : place + 2]
        assert (alone["arm"], alone["images"]) == ("labels alone", 0)
        assert student["images_seen"] == alone["images_seen"]
        assert alone["gain"]["value"] == pytest.approx(before - alone["loss"], abs=1e-6)
        # The gain of a student is that of the images: over the better one of those without them.
        rival = min(before, alone["loss"])
        assert student["gain"]["value"] == pytest.approx(rival - student["loss"], abs=1e-6)
        clear = [each for each in both if each["gain"]["low"] > 0]
        kept = [each for each in both if each["is_kept"]]
        assert kept == sorted(clear, key=lambda each: each["loss"])[:1]
        assert kept or both == rounds[-2:]
        before = kept[0]["loss"] if kept else before


def test_the_artifact_is_that_of_the_training_with_another_model(
    trained: Path, taught: Path
) -> None:
    before = {path.relative_to(trained) for path in trained.rglob("*") if path.is_file()}
    after = {path.relative_to(taught) for path in taught.rglob("*") if path.is_file()}
    assert before <= after
    assert read_recipe(taught / "recipe.json").value("model", "trainable") == "all"
    cost = read_json(StageCost, taught / COST_FILE)
    assert cost.name == "self_train"
    assert cost.images_seen == sum(each["images_seen"] for each in result_of(taught)["rounds"])


def test_a_task_that_is_started_again_trains_nothing_again(
    few_labels_dir: Path, trained: Path, taught: Path, checkpoints: Path, tmp_path: Path
) -> None:
    states = sorted((checkpoints / "kept").rglob("state.npz"))
    changed = [path.stat().st_mtime_ns for path in states]
    assert len(states) == len(result_of(taught)["rounds"])
    self_train(few_labels_dir, trained, tmp_path / "out", checkpoints / "kept", _SEED)
    assert are_equal(tmp_path / "out", taught)
    assert [path.stat().st_mtime_ns for path in states] == changed
    before, after = result_of(taught), result_of(tmp_path / "out")
    # Its time holds that of the task before.
    assert after.pop("seconds") >= before.pop("seconds") - 1.0
    assert after == before


def test_the_page_shows_every_round(taught: Path, tmp_path: Path) -> None:
    write_stage_page(taught, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "Images without labels" in page
    assert page.count(">kept</span>") == sum(
        each["is_kept"] for each in result_of(taught)["rounds"]
    )


# In small: `halves` and the copies of judges in test_filtering.py.
@pytest.mark.slow
def test_where_few_images_judge_half_of_the_labels_do_too(
    few_judges_dir: Path, small_model: str, tmp_path: Path
) -> None:
    trained = _train(few_judges_dir, small_model, tmp_path, 0)
    result = self_train(few_judges_dir, trained, tmp_path / "out", tmp_path / "kept", 0)
    assert [each.arm for each in result.trials] == ["labels alone", "noisy student"]
    (trial,) = (each for each in result.trials if each.is_kept)
    assert trial.number == 0
    assert trial.judges == 50 + 30
    assert trial.gain.low > 0
    (only,) = result.rounds
    assert only.arm == trial.arm
    # 30 images alone would not have told.
    assert only.judges == 30
    assert only.gain.low < 0
    assert only.is_kept
    assert accuracy(few_judges_dir, tmp_path / "out") > accuracy(few_judges_dir, trained) + 0.01
    cost = read_json(StageCost, tmp_path / "out" / COST_FILE)
    seen = [
        *(each.images_seen for each in result.trials),
        only.images_seen,
        result.plain_images_seen,
    ]
    assert min(seen) > 0
    assert cost.images_seen == sum(seen)
    write_stage_page(tmp_path / "out", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert ">helped</span>" in page
    assert ">kept</span>" in page


def test_always_compares_both_arms_and_keeps_one_at_most(
    few_labels_dir: Path, trained: Path, tmp_path: Path
) -> None:
    shutil.copytree(trained, tmp_path / "model")
    recipe = read_recipe(trained / "recipe.json")
    recipe = recipe.with_settings("data", {"self_train": Setting("always", "test", source="user")})
    short = {"epochs": Setting(20, "test", source="user")}
    write_recipe(recipe.with_settings("training", short), tmp_path / "model/recipe.json")
    given = (tmp_path / "model", tmp_path / "out", tmp_path / "kept", _SEED)
    rounds = self_train(few_labels_dir, *given).rounds
    first = [each for each in rounds if each.number == 1]
    assert [each.arm for each in first] == ["labels alone", "noisy student", "FixMatch"]
    assert len({each.loss for each in first}) == 3
    accepted = [each.loss for each in first if each.gain.low > 0]
    kept = [each.loss for each in first if each.is_kept]
    assert kept == sorted(accepted)[:1]


def _changed(dataset: Path, folder: Path, images: np.ndarray) -> Path:
    """Returns the dataset with other images without labels, uint8 [U, 16, 16]."""
    shutil.copytree(dataset, folder)
    (folder / "unlabeled.arrow").unlink()
    with SplitWriter(folder, "unlabeled") as writer:
        for index, pixels in enumerate(images):
            row = {"encoding": "raw", "height": 16, "width": 16, "channels": 1, "labels": []}
            row |= {"path": f"{index}.png", "sha256": index.to_bytes(32), "signature": bytes(64)}
            writer.write({"image": encode_raw(pixels[..., None]), **row})
    info = json.loads((dataset / "dataset.json").read_text())
    info["splits"]["unlabeled"] = len(images)
    (folder / "dataset.json").write_text(json.dumps(info))
    np.save(folder / NEAR_DUPLICATES_FILE, np.arange(sum(info["splits"].values())))
    return folder


def _with_noise(few_labels_dir: Path, tmp_path: Path, number: int) -> Path:
    noise = np.random.default_rng(0).integers(0, 256, (number, 16, 16), np.uint8)
    return _changed(few_labels_dir, tmp_path / "wrong", noise)


@pytest.mark.parametrize("seen_by", ["own", "pretrained"])
def test_images_of_something_else_are_found_counted_shown_and_refused(
    few_labels_dir: Path,
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    seen_by: str,
) -> None:
    if seen_by == "own":
        # It leaves some of them to students.
        monkeypatch.setattr(pretrained_view, "missing_weights", lambda _: "not at hand")
    dataset = _with_noise(few_labels_dir, tmp_path, 300)
    result = self_train(dataset, trained, tmp_path / "out", tmp_path / "kept", _SEED)
    assert result.foreign_by == seen_by
    assert result.foreign > 240
    assert len(result.foreign_images) == 12
    # More steps with the labels may help; what has seen these images gains nothing beyond that.
    kept = [each.arm for each in result.rounds if each.is_kept]
    assert set(kept) <= {"labels alone"}
    assert are_equal(tmp_path / "out", trained) == (not kept)
    write_stage_page(tmp_path / "out", tmp_path / "page.html")
    assert "The images without labels are not in the model" in (tmp_path / "page.html").read_text()
    report = json.loads((tmp_path / "out/stage_report.json").read_text())
    (warning,) = report["warnings"]
    assert (warning["code"], warning["count"]) == ("unlabeled_foreign", result.foreign)


def test_of_few_images_it_is_said_that_nothing_was_tried(
    few_labels_dir: Path, trained: Path, tmp_path: Path
) -> None:
    dataset = _with_noise(few_labels_dir, tmp_path, 31)
    result = self_train(dataset, trained, tmp_path / "out", tmp_path / "kept", _SEED)
    left = 31 - result.foreign
    assert result.untried == f"{left} are left to learn, fewer than 32"
    assert 190 <= result.foreign_within < result.foreign_judges == 200
    report = json.loads((tmp_path / "out/stage_report.json").read_text())
    assert report["summary"]["self_training"]["untried"] == result.untried


def test_a_student_that_diverges_costs_a_warning_and_not_the_model(
    few_labels_dir: Path, trained: Path, tmp_path: Path
) -> None:
    shutil.copytree(trained, tmp_path / "model")
    recipe = read_recipe(trained / "recipe.json")
    rate = {"learning_rate": Setting(1e20, "test", source="user")}
    off = {name: Setting(0.0, "test", source="user") for name in ("clip_norm", "ema_momentum")}
    optimizer = {"optimizer": Setting("sgd", "test", source="user")}
    changed = recipe.with_settings("training", rate | off | optimizer)
    write_recipe(changed, tmp_path / "model/recipe.json")
    given = (tmp_path / "model", tmp_path / "out", tmp_path / "kept", _SEED)
    result = self_train(few_labels_dir, *given)
    assert "loss" in result.failed
    assert result.rounds == []
    assert are_equal(tmp_path / "out", trained)
    report = json.loads((tmp_path / "out/stage_report.json").read_text())
    assert [each["code"] for each in report["warnings"]] == ["self_training_failed"]


def test_copies_of_held_out_images_are_never_learned(
    few_labels_dir: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = tmp_path / "dataset"
    shutil.copytree(few_labels_dir, dataset)
    # Validation images are rows 60 to 259, those without labels 260 to 1259.
    groups = np.arange(1797)
    groups[260:300] = np.arange(60, 100)
    np.save(dataset / NEAR_DUPLICATES_FILE, groups)
    learned: set[int] = set()

    def listens(*given: Any) -> Any:
        rows = taught_images(*given).rows
        assert rows is not None
        learned.update((rows[rows >= 60] - 60).tolist())
        if learned:
            raise KeyboardInterrupt
        return taught_images(*given)

    monkeypatch.setattr(student, "taught_images", listens)
    with pytest.raises(KeyboardInterrupt):
        self_train(dataset, trained, tmp_path / "out", tmp_path / "kept", _SEED)
    assert len(learned) > 800
    assert min(learned) >= 40


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_of_nothing_but_copies_of_held_out_images_nothing_is_learned(
    few_labels_dir: Path, trained: Path, tmp_path: Path
) -> None:
    dataset = tmp_path / "dataset"
    shutil.copytree(few_labels_dir, dataset)
    groups = np.arange(1797)
    # Each is a near duplicate of a validation image.
    groups[260:1260] = 60 + np.arange(1000) % 200
    np.save(dataset / NEAR_DUPLICATES_FILE, groups)
    result = self_train(dataset, trained, tmp_path / "out", tmp_path / "kept", _SEED)
    assert (result.copies, result.rounds, result.failed) == (1000, [], "")
    assert are_equal(tmp_path / "out", trained)


@pytest.mark.parametrize(
    ("data", "minutes", "reason"),
    [
        ({"self_train": "never"}, 0.0, "`self_train` is `never`"),
        ({"use_validation_for_training": True}, 0.0, "leaves no images to judge it by"),
        ({}, 0.01, "the budget leaves 0 s"),
    ],
)
def test_why_nothing_was_learned_is_said_and_the_model_is_the_one_before(
    few_labels_dir: Path, trained: Path, tmp_path: Path, data: Any, minutes: float, reason: str
) -> None:
    shutil.copytree(trained, tmp_path / "model")
    recipe = read_recipe(trained / "recipe.json")
    changed = {name: Setting(value, "test", source="user") for name, value in data.items()}
    recipe = recipe.with_settings("data", changed)
    if minutes:
        recipe = with_budget(recipe, "balanced", minutes)
    write_recipe(recipe, tmp_path / "model/recipe.json")
    spent = [StageCost("train", 60.0, 100)]
    plan = RunPlan(minutes, 60.0, 1e-3, 10.0, {})
    result = self_train(
        few_labels_dir,
        tmp_path / "model",
        tmp_path / "out",
        tmp_path / "kept",
        0,
        None,
        spent,
        plan,
    )
    assert reason in result.skipped
    assert are_equal(tmp_path / "out", trained)


def test_without_images_nothing_is_said_of_them(
    few_labels_dir: Path, trained: Path, tmp_path: Path
) -> None:
    dataset = tmp_path / "dataset"
    shutil.copytree(few_labels_dir, dataset)
    info = read_json(DatasetInfo, dataset / "dataset.json")
    del info.splits["unlabeled"]
    write_json(info, dataset / "dataset.json")
    (dataset / "unlabeled.arrow").unlink()
    result = self_train(dataset, trained, tmp_path / "out", tmp_path / "kept", 0)
    assert result.skipped == "there are no images without labels"
    report = json.loads((tmp_path / "out/stage_report.json").read_text())
    assert report["sections"] == []


def test_a_student_has_the_time_that_the_budget_leaves(
    few_labels_dir: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Steps of a second, of 40 that are left.
    monkeypatch.setattr(part_training, "measure_pace", lambda *_: Pace(1.0, 1e-6, 0.0))
    shutil.copytree(trained, tmp_path / "model")
    recipe = with_budget(read_recipe(trained / "recipe.json"), "balanced", 1.0)
    write_recipe(recipe, tmp_path / "model/recipe.json")
    given = (tmp_path / "model", tmp_path / "out", tmp_path / "kept", 0, None)
    result = self_train(few_labels_dir, *given, [StageCost("train", 20.0, 100)])
    alone, first = result.rounds[:2]
    assert 32 * 20 < alone.images_seen + first.images_seen <= 32 * 40
    assert alone.images_seen == pytest.approx(first.images_seen, abs=32 * 6)
