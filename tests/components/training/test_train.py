"""Training real digits: what it writes, what it refuses, and that a kill changes nothing."""

import dataclasses
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from kfp_vision.components.shared.artifacts.cost import COST_FILE, StageCost
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json
from kfp_vision.components.shared.artifacts.training_result import TrainingResult
from kfp_vision.components.shared.augmentation.known_policies import trivial_augment
from kfp_vision.components.shared.datasets.loader import ImageSource
from kfp_vision.components.shared.recipe import hyperparameters
from kfp_vision.components.shared.recipe.budget import with_budget
from kfp_vision.components.shared.recipe.context import fixed_facts
from kfp_vision.components.shared.recipe.document import Recipe, Setting, read_recipe, write_recipe
from kfp_vision.components.shared.recipe.user_choices import UserChoices
from kfp_vision.components.shared.report.page import write_stage_page
from kfp_vision.components.shared.training.checkpoints import read_checkpoint, write_checkpoint
from kfp_vision.components.shared.training.setup import complete_recipe
from kfp_vision.components.training.opening import plain_steps
from kfp_vision.components.training.train import train_model

_RUN = """
import sys
from pathlib import Path
from kfp_vision.components.shared.training.setup import UserChoices
from kfp_vision.components.training.train import train_model
dataset, recipe, output, checkpoints = map(Path, sys.argv[1:5])
config = UserChoices(architecture=sys.argv[5], epochs=int(sys.argv[6]), seed=3)
train_model(dataset, recipe, output, checkpoints, config)
"""


def _recipe(path: Path, **training: Any) -> Path:
    data = {
        "class_weights": Setting(None, "balanced"),
        "primary_metric": Setting("accuracy", "balanced"),
    }
    recipe = Recipe().with_settings("data", data)
    user = {name: Setting(value, "test", source="user") for name, value in training.items()}
    write_recipe(recipe.with_settings("training", user), path)
    return path


@pytest.fixture(scope="module")
def trained(
    digits_dir: Path, small_model: str, tmp_path_factory: pytest.TempPathFactory, phases: Any
) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    recipe = _recipe(folder / "in.json", ema_momentum=0.9, dropout=0.1)
    config = UserChoices(architecture=small_model, epochs=12, batch_size=50)
    with phases.heard("train"):
        train_model(digits_dir, recipe, folder / "model", folder / "checkpoints", config)
    return folder / "model"


@pytest.mark.long
def test_a_single_epoch_has_few_evaluations(
    digits_dir: Path, small_model: str, tmp_path: Path
) -> None:
    recipe = _recipe(tmp_path / "in.json", ema_momentum=0.9)
    config = UserChoices(architecture=small_model, epochs=1, batch_size=16)
    train_model(digits_dir, recipe, tmp_path / "model", tmp_path / "checkpoints", config)
    assert len(_curve(tmp_path / "model", "validation", "loss")) <= 4


@pytest.mark.usefixtures("trained")
def test_every_long_phase_names_itself(phases: Any) -> None:
    expected = {"read train images", "compile", "learn one batch by heart", "train", "validate"}
    assert expected <= phases.of["train"]


def _curve(folder: Path, split: str, metric: str) -> list[float]:
    rows = pq.read_table(folder / "curves.parquet").to_pylist()
    return [row["value"] for row in rows if (row["split"], row["metric"]) == (split, metric)]


def test_digits_are_learned_and_the_best_checkpoint_is_what_is_saved(
    trained: Path, digits_dir: Path
) -> None:
    summary = json.loads((trained / "training.json").read_text())
    assert summary["steps"] == 240
    assert summary["images_seen"] == 240 * 50
    assert 0 < summary["waiting_share"] < 1
    assert summary["validation"]["accuracy"] == max(_curve(trained, "validation", "accuracy")) > 0.9
    assert _curve(trained, "train", "loss")[-1] < _curve(trained, "train", "loss")[0]
    assert _curve(trained, "train", "learning_rate")[-1] < 1e-5

    model = keras.models.load_model(trained / "model.keras", safe_mode=True)
    source = ImageSource(digits_dir, "validation", (16, 16), 1)
    logits = model.predict(source.take(np.arange(len(source))).astype(np.float32), verbose=0)
    labels = np.array(source.table["labels"].to_pylist())[:, 0]
    assert (logits.argmax(axis=1) == labels).mean() == pytest.approx(
        summary["validation"]["accuracy"]
    )


def test_every_setting_in_the_recipe_says_where_it_comes_from(trained: Path) -> None:
    recipe = read_recipe(trained / "recipe.json")
    assert recipe.sections["training"]["batch_size"].source == "user"
    assert recipe.sections["training"]["learning_rate"].source == "default"
    assert recipe.value("training", "ema_momentum") == 0.9
    assert recipe.value("model", "image_size") == [16, 16]
    assert all(setting.method for part in recipe.sections.values() for setting in part.values())


def test_the_page_of_the_stage_shows_the_curves_before_there_is_a_report(
    trained: Path, tmp_path: Path
) -> None:
    write_stage_page(trained, tmp_path / "run/page")
    page = (tmp_path / "run/page").read_text(encoding="utf-8")
    assert "<title>Training: kfp-vision</title>" in page
    assert page.count("data-chart>") >= 4
    assert "Learning rate" in page
    assert len(page) < 1e6


def test_tensorboard_events_are_those_of_the_curves(trained: Path) -> None:
    events = EventAccumulator(str(trained / "tensorboard"), size_guidance={"tensors": 0})
    events.Reload()
    written = [
        float(tf.make_ndarray(event.tensor_proto)) for event in events.Tensors("validation/loss")
    ]
    np.testing.assert_allclose(written, _curve(trained, "validation", "loss"), rtol=1e-6)


def _steps_done(checkpoints: Path) -> int:
    states = [read_checkpoint(path) for path in checkpoints.glob("*/state.npz")]
    return max((state[1]["step"] for state in states if state), default=0)


@pytest.mark.long
def test_killed_and_resumed_equals_uninterrupted(
    digits_dir: Path, small_model: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    recipe = _recipe(tmp_path / "recipe.json", dropout=0.2, ema_momentum=0.9)
    config = UserChoices(architecture=small_model, epochs=40, seed=3)
    checkpoints = tmp_path / "killed-checkpoints"
    train_model(digits_dir, recipe, tmp_path / "whole", tmp_path / "whole-checkpoints", config)

    folders = map(str, (digits_dir, recipe, tmp_path / "killed", checkpoints))
    command = [sys.executable, "-c", _RUN, *folders, small_model, "40"]
    killed = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 400
    while not _steps_done(checkpoints) and time.monotonic() < deadline:
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not (tmp_path / "killed" / "training.json").exists()
    restored = read_checkpoint(next(checkpoints.glob("*/state.npz")))
    assert restored is not None
    assert 0 < restored[1]["step"] < restored[1]["total_steps"]
    killed_seconds = restored[1]["stage_seconds"]

    capfd.readouterr()
    train_model(digits_dir, recipe, tmp_path / "killed", checkpoints, config)
    said = capfd.readouterr().out.splitlines()
    first = next(line for line in said if line.startswith('progress {"stage": "train"'))
    assert json.loads(first.removeprefix("progress "))["done"] >= restored[1]["step"]
    # The seconds of both processes, of which the second trained for some.
    cost = read_json(StageCost, tmp_path / "killed" / COST_FILE)
    summary = read_json(TrainingResult, tmp_path / "killed" / "training.json")
    assert cost.seconds > max(killed_seconds, summary.seconds)
    assert summary.images_seen == cost.images_seen == summary.steps * 64
    curves = [pq.read_table(tmp_path / name / "curves.parquet") for name in ("whole", "killed")]
    assert curves[0].equals(curves[1])
    events = EventAccumulator(str(tmp_path / "killed/tensorboard"), size_guidance={"tensors": 0})
    rows = [row for row in curves[0].to_pylist() if row["split"] == "train"]
    steps = [event.step for event in events.Reload().Tensors("train/learning_rate")]
    assert steps == [row["step"] for row in rows if row["metric"] == "learning_rate"]
    models = [keras.models.load_model(tmp_path / n / "model.keras") for n in ("whole", "killed")]
    for left, right in zip(models[0].weights, models[1].weights, strict=True):
        np.testing.assert_array_equal(np.array(left), np.array(right))


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"learning_rate": -1.0}, "`learning_rate` must be a positive number"),
        ({"optimizer": "adagrad"}, "`optimizer` must be one of"),
        ({"label_smoothing": 1.0}, r"`label_smoothing` must be a number in \[0, 1\)"),
        ({"batch_size": "many"}, "`batch_size` must be a positive number"),
        ({"learning_rate": 1e6}, "lower `learning_rate`"),
    ],
)
def test_a_recipe_that_cannot_train_is_refused_with_the_reason(
    training: dict[str, Any], message: str, digits_dir: Path, small_model: str, tmp_path: Path
) -> None:
    recipe = _recipe(tmp_path / "recipe.json", **training)
    config = UserChoices(architecture=small_model, epochs=1)
    with pytest.raises(ValueError, match=message):
        train_model(digits_dir, recipe, tmp_path / "model", tmp_path, config)


def test_parameters_that_are_negative_or_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="`epochs` must not be negative"):
        UserChoices(epochs=-1)
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="`learning_rate` .* must be finite. Received"):
            UserChoices(learning_rate=value)


def test_the_users_minutes_shorten_the_training_and_the_report_says_so(
    digits_dir: Path, small_model: str, tmp_path: Path
) -> None:
    recipe = _recipe(tmp_path / "recipe.json")
    write_recipe(with_budget(read_recipe(recipe), "best", max_minutes=0.2), recipe)
    config = UserChoices(architecture=small_model, epochs=100_000)
    summary = train_model(digits_dir, recipe, tmp_path / "model", tmp_path / "checkpoints", config)
    assert summary.steps < 100_000 * 1000 // 64
    # Of a warm-up of 5 % of the planned steps, half of the steps that were taken.
    used = summary.steps // 2
    (warning,) = (each for each in summary.warnings if "0.2 minutes shortened" in each)
    assert f"steps, {used:,} of them for the warm-up" in warning
    trained = read_recipe(tmp_path / "model/recipe.json")
    assert trained.value("training", "warmup_steps") == used
    # Another training derives its own.
    info = read_json(DatasetInfo, digits_dir / "dataset.json")
    resolved = complete_recipe(trained, info, config).value("training", "warmup_steps")
    assert resolved == trained.value("training", "steps") // 20 > used
    # The length is that of the first process: a resumed one does not get the minutes anew.
    again = train_model(digits_dir, recipe, tmp_path / "again", tmp_path / "checkpoints", config)
    assert (again.steps, again.seconds) == (summary.steps, summary.seconds)
    assert again.plain_seconds == summary.plain_seconds
    costs = [read_json(StageCost, tmp_path / name / COST_FILE) for name in ("model", "again")]
    assert costs[1].seconds > summary.seconds
    assert costs[0].images_seen == costs[1].images_seen


def test_a_training_has_its_least_share_where_nothing_is_left(
    digits_dir: Path, small_model: str, tmp_path: Path
) -> None:
    recipe = _recipe(tmp_path / "recipe.json", ema_momentum=0.0)
    write_recipe(with_budget(read_recipe(recipe), "best"), recipe)
    config, spent = UserChoices(architecture=small_model), [StageCost("choose_network", 1e5, 1)]
    given = (digits_dir, recipe, tmp_path / "model", tmp_path / "checkpoints", config, None, spent)
    summary = train_model(*given)
    # Three minutes of an hour, and not two steps.
    assert summary.steps > 100
    assert summary.validation["accuracy"] > 0.5


def test_a_batch_of_more_images_than_there_are_is_named(
    few_digits_dir: Path, small_model: str, tmp_path: Path
) -> None:
    recipe = _recipe(tmp_path / "recipe.json", ema_momentum=0.0)
    config = UserChoices(architecture=small_model, epochs=10, batch_size=48)
    summary = train_model(few_digits_dir, recipe, tmp_path / "model", tmp_path / "state", config)
    assert any("`batch_size` is larger than" in warning for warning in summary.warnings)


@pytest.mark.long
def test_a_plain_training_is_one_without_a_policy_and_what_it_lengthens(
    digits_dir: Path, small_model: str, tmp_path: Path
) -> None:
    path = _recipe(tmp_path / "plain.json", warmup_steps=5, batch_size=64, ema_momentum=0.0)
    info = read_json(DatasetInfo, digits_dir / "dataset.json")
    config = UserChoices(architecture=small_model)
    recipe = complete_recipe(read_recipe(path), info, config)
    facts = fixed_facts(recipe, info)
    # 20 steps of 64 images without the policy, of 1000.
    epochs = Setting(3.84, "longer", {"epochs_without_policy": 1.28})
    policy = Setting(trivial_augment().to_json(), "test")
    recipe = hyperparameters.learn(recipe, "training", {"epochs": epochs}, facts)
    recipe = hyperparameters.learn(recipe, "augmentation", {"policy": policy}, facts)
    write_recipe(recipe, tmp_path / "long.json")
    folders = (tmp_path / "long.json", tmp_path / "model", tmp_path / "checkpoints")
    summary = train_model(digits_dir, *folders, config)
    assert summary.steps == 60
    long, plain = (read_recipe(tmp_path / name) for name in ("long.json", "plain.json"))
    settings = hyperparameters.from_recipe(read_recipe(tmp_path / "model/recipe.json"))
    repaired = dataclasses.replace(settings, steps=120)
    plain = plain.with_settings("training", {"epochs": Setting(3.84, "as it was")})
    cases = [(long, settings), (long, repaired), (plain, settings)]
    steps = [plain_steps(*case) for case in cases]
    assert steps == [20, 40, 60]
    restored = read_checkpoint(next(tmp_path.glob("checkpoints/*/state.npz")))
    assert restored is not None
    done = restored[1]
    # 20 of 60 steps, each without what its augmentation takes.
    assert 0 < done["plain_share"] <= 20 / 60
    others = done["setup_seconds"] + done["seconds"] - done["step_seconds"]
    steps_alone = done["step_seconds"] * done["plain_share"]
    assert summary.plain_seconds == pytest.approx(others + steps_alone)


def test_a_training_without_a_policy_is_its_own_plain_training(
    digits_dir: Path, small_model: str, tmp_path: Path
) -> None:
    recipe = _recipe(tmp_path / "recipe.json", ema_momentum=0.0)
    folders = (recipe, tmp_path / "model", tmp_path / "checkpoints")
    config = UserChoices(architecture=small_model, epochs=1)
    summary = train_model(digits_dir, *folders, config)
    cost = read_json(StageCost, tmp_path / "model" / COST_FILE)
    assert summary.seconds < summary.plain_seconds < cost.seconds


def test_a_checkpoint_is_the_old_one_or_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "state.npz"
    arrays: list[np.ndarray] = [np.arange(3), np.eye(2, dtype=np.float32)]
    write_checkpoint(path, arrays, {"step": 1})
    with pytest.raises(TypeError):
        write_checkpoint(path, arrays, {"step": object()})
    restored = read_checkpoint(path)
    assert restored is not None
    for left, right in zip(arrays, restored[0], strict=True):
        np.testing.assert_array_equal(left, right)
    assert restored[1] == {"step": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.npz"]


def test_the_checked_batch_is_one_of_the_training_whatever_the_order_on_disk(
    digits_by_class_dir: Path, small_model: str, tmp_path: Path
) -> None:
    # The first class on disk weighs eleven times as much as another; the mean weight is one.
    weights = Setting([5.5] + [0.5] * 9, "test")
    metric = Setting("accuracy", "test")
    recipe = Recipe().with_settings("data", {"class_weights": weights, "primary_metric": metric})
    write_recipe(recipe, tmp_path / "in.json")
    config = UserChoices(architecture=small_model, epochs=1, batch_size=50)
    folders = (tmp_path / "in.json", tmp_path / "model", tmp_path / "checkpoints")
    summary = train_model(digits_by_class_dir, *folders, config)
    assert summary.checks["initial_loss"] < 2 * summary.checks["expected_initial_loss"]
    assert summary.warnings == []


def _save_model(path: Path, filters: int, seed: int) -> None:
    keras.utils.set_random_seed(seed)
    layers = [
        keras.Input((16, 16, 1)),
        keras.layers.Rescaling(1 / 255),
        keras.layers.Conv2D(filters, 3, activation="relu"),
        keras.layers.Conv2D(64, 3, strides=2, activation="relu"),
        keras.layers.Conv2D(64, 3, strides=2),
        keras.layers.BatchNormalization(),
        keras.layers.ReLU(),
    ]
    keras.Sequential(layers).save(path)


@pytest.mark.long
def test_a_changed_model_file_at_the_same_path_is_trained_anew(
    digits_dir: Path, tmp_path: Path
) -> None:
    """Other weights of the same shapes, then a wider layer."""
    # The average costs thirty batches of statistics at each evaluation.
    recipe = _recipe(tmp_path / "recipe.json", ema_momentum=0.0)
    file = tmp_path / "mine.keras"
    config = UserChoices(architecture=str(file), epochs=2, learning_rate=0.01)

    def train(name: str) -> list[np.ndarray]:
        summary = train_model(digits_dir, recipe, tmp_path / name, tmp_path / "checkpoints", config)
        assert summary.steps == 31
        return keras.models.load_model(tmp_path / name / "model.keras").get_weights()

    _save_model(file, filters=16, seed=0)
    first = train("first")
    _save_model(file, filters=16, seed=1)
    second = train("second")
    assert [weight.shape for weight in second] == [weight.shape for weight in first]
    assert not all(map(np.array_equal, first, second))
    _save_model(file, filters=24, seed=1)
    assert any(24 in weight.shape for weight in train("wider"))
