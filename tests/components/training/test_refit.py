"""The second training, on training and validation images: digits of 16 px."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest

from kfp_vision.components.evaluation.evaluate import EvaluateConfig, evaluate_model
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json
from kfp_vision.components.shared.datasets.store import open_split
from kfp_vision.components.shared.recipe.budget import with_budget
from kfp_vision.components.shared.recipe.document import (
    Recipe,
    Setting,
    read_recipe,
    write_recipe,
)
from kfp_vision.components.shared.recipe.stage_times import plan_stages
from kfp_vision.components.shared.recipe.user_choices import UserChoices
from kfp_vision.components.shared.training import fit
from kfp_vision.components.shared.training.checkpoints import Stopwatch, read_checkpoint
from kfp_vision.components.shared.training.history import History
from kfp_vision.components.shared.training.run import TrainingRun
from kfp_vision.components.training.refit import _end, fit_again
from kfp_vision.components.training.train import train_model

pytestmark = pytest.mark.long

LITE0 = "efficientnet_lite0_imagenet"


def train(
    dataset: Path,
    folder: Path,
    config: UserChoices,
    joined: bool,
    trainable: str = "all",
) -> Path:
    values = {
        "class_weights": None,
        "primary_metric": "accuracy",
        "positive_class": None,
        "use_validation_for_training": joined,
    }
    recipe = Recipe({"data": {name: Setting(value, "test") for name, value in values.items()}})
    recipe = recipe.with_settings("model", {"trainable": Setting(trainable, "test")})
    folder.mkdir(parents=True, exist_ok=True)
    write_recipe(recipe, folder / "in.json")
    train_model(dataset, folder / "in.json", folder / "model", folder / "checkpoints", config)
    return folder / "model"


def weights(path: Path) -> list[np.ndarray]:
    return keras.models.load_model(path, compile=False, safe_mode=True).get_weights()


def all_equal(first: Path, second: Path) -> bool:
    pairs = zip(weights(first), weights(second), strict=True)
    return all(np.array_equal(one, other) for one, other in pairs)


@pytest.fixture(scope="module")
def config(small_model):
    return UserChoices(architecture=small_model, epochs=8, batch_size=50)


@pytest.fixture(scope="module")
def refit(digits_dir, config, tmp_path_factory):
    return train(digits_dir, tmp_path_factory.mktemp("refit"), config, joined=True)


def test_splits_follow_one_another(digits_dir):
    joined = open_split(digits_dir, "train+validation")
    train, validation = (open_split(digits_dir, split) for split in ("train", "validation"))
    assert joined["path"].to_pylist() == train["path"].to_pylist() + validation["path"].to_pylist()
    with pytest.raises(FileNotFoundError, match="the split `holdout`"):
        open_split(digits_dir, "train+holdout")


def test_what_was_judged_is_the_training_without_the_validation_images(
    refit, digits_dir, config, tmp_path
):
    plain = train(digits_dir, tmp_path, config, joined=False)
    assert not (plain / "judged.keras").exists()
    assert all_equal(refit / "judged.keras", plain / "model.keras")
    assert not all_equal(refit / "model.keras", plain / "model.keras")
    held, expected = (json.loads((each / "training.json").read_text()) for each in (refit, plain))
    assert held["validation"] == expected["validation"]
    num_train, num_validation = (
        open_split(digits_dir, split).num_rows for split in ("train", "validation")
    )
    assert held["refit_images"] == num_train + num_validation
    assert held["refit_steps"] == round(
        expected["best_step"] * (num_train + num_validation) / num_train
    )
    assert expected["refit_images"] == expected["refit_steps"] == 0


def test_a_finished_training_is_not_repeated(refit, digits_dir, config, capfd):
    before = weights(refit / "model.keras")
    capfd.readouterr()
    train(digits_dir, refit.parent, config, joined=True)
    assert '"stage": "train"' not in capfd.readouterr().out
    for value, expected in zip(weights(refit / "model.keras"), before, strict=True):
        np.testing.assert_array_equal(value, expected)


def test_a_second_training_that_stops_goes_on_from_its_checkpoint(
    refit, digits_dir, config, tmp_path, monkeypatch
):
    seen: list[int] = []

    def stop(run: TrainingRun, history: History) -> None:
        save(run, history)
        seen.append(history.step)
        if run.keeps_last and history.step:
            raise KeyboardInterrupt

    save = fit._save
    monkeypatch.setattr(fit, "_save", stop)
    with pytest.raises(KeyboardInterrupt):
        train(digits_dir, tmp_path, config, joined=True)
    stopped_at = seen[-1]
    monkeypatch.setattr(fit, "_save", save)
    steps = json.loads((refit / "training.json").read_text())["refit_steps"]
    assert 0 < stopped_at < steps
    model = train(digits_dir, tmp_path, config, joined=True)
    assert all_equal(model / "model.keras", refit / "model.keras")


def test_a_second_training_without_time_is_cut(refit, digits_dir, tmp_path):
    recipe = with_budget(read_recipe(refit / "recipe.json"), "best", max_minutes=0.01)
    info = read_json(DatasetInfo, digits_dir / "dataset.json")
    checkpoints = (refit.parent / "checkpoints").glob("*/state.npz")
    held = next(each for path in checkpoints if (each := read_checkpoint(path)))
    first = History.from_document(held[1])
    # No machine takes so many steps in what any training has of 0.01 minutes.
    first.best[0]["step"] = 10**6
    given = (digits_dir, recipe, info, first, tmp_path, 0, None, Stopwatch())
    first.ends = first.setup_seconds
    found = fit_again(*given)
    assert found.planned_steps > 10**6 > found.steps > 0


def test_a_second_training_may_take_what_the_first_has_left():
    first = History(None, 100, {}, ends=50.0)  # type: ignore[arg-type]
    first.setup_seconds = 10.0
    # 40 s for the first, and 1.25 times as many images.
    assert _end(first, 1.25) == 100.0
    first.ends = None
    assert _end(first, 1.25) is None


def test_validation_figures_are_those_of_images_that_were_not_learned(refit, digits_dir, tmp_path):
    result = evaluate_model(digits_dir, refit, tmp_path, EvaluateConfig(num_resamples=100))
    held = json.loads((refit / "training.json").read_text())["validation"]
    assert result.is_refit
    assert result.metrics["validation"]["accuracy"]["value"] == pytest.approx(held["accuracy"])
    assert result.metrics["test"]["accuracy"]["value"] > 0.85
    page = json.loads((tmp_path / "stage_report.json").read_text())
    assert page["sections"][0]["data"]["is_refit"]


def test_both_trainings_are_planned(digits_dir):
    info = read_json(DatasetInfo, digits_dir / "dataset.json")
    counts = {split: open_split(digits_dir, split).num_rows for split in ("train", "validation")}
    plans = {}
    for joined in (False, True):
        recipe = with_budget(Recipe(), "best")
        setting = {"use_validation_for_training": Setting(joined, "test")}
        recipe = recipe.with_settings("data", setting)
        plan = plan_stages(recipe, [], info, 50_000, 0.001, 0.0)
        assert plan is not None
        plans[joined] = plan.stages["train"]
    expected = 2 + counts["validation"] / counts["train"]
    assert plans[True] / plans[False] == pytest.approx(expected)


def test_a_head_fits_the_features_of_both_splits(digits_dir, tmp_path):
    config = UserChoices(architecture=LITE0, image_size=32)
    model = train(digits_dir, tmp_path, config, joined=True, trainable="head")
    held = json.loads((model / "training.json").read_text())
    assert held["refit_images"] == open_split(digits_dir, "train+validation").num_rows
    assert held["refit_steps"] == 0
    first, second = weights(model / "judged.keras"), weights(model / "model.keras")
    differ = [not np.array_equal(one, other) for one, other in zip(first, second, strict=True)]
    # Kernel and bias of the head, the last layer.
    assert differ == [False] * (len(first) - 2) + [True, True]
