"""The whole probe on real digits, and everything that makes it fall back or refuse."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from kfp_vision.components.batch_size_probe.learned_settings import note_on_length
from kfp_vision.components.batch_size_probe.pilot import plan_lengths
from kfp_vision.components.batch_size_probe.probe import ProbeConfig, probe_batch_size
from kfp_vision.components.shared.artifacts.cost import START_UP, StageCost
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json, write_json
from kfp_vision.components.shared.artifacts.probe_result import ProbeResult
from kfp_vision.components.shared.datasets.store import SplitWriter, encode_raw
from kfp_vision.components.shared.recipe.budget import with_budget
from kfp_vision.components.shared.recipe.context import fixed_facts
from kfp_vision.components.shared.recipe.document import Recipe, Setting, read_recipe, write_recipe
from kfp_vision.components.shared.recipe.hyperparameters import learn
from kfp_vision.components.shared.recipe.user_choices import UserChoices
from kfp_vision.components.shared.training.sanity import NotFiniteError
from kfp_vision.components.shared.training.setup import complete_recipe

# Long enough that a few percent of it are steps enough to learn from.
_EPOCHS = 170


def _recipe(folder: Path, **training: Setting) -> Path:
    data = {"class_weights": Setting(None, "test"), "primary_metric": Setting("accuracy", "test")}
    recipe = Recipe().with_settings("data", data).with_settings("training", training)
    write_recipe(recipe, folder / "in.json")
    return folder / "in.json"


@pytest.fixture(scope="module")
def probed(
    digits_dir: Path, small_model: str, tmp_path_factory: pytest.TempPathFactory, phases: Any
) -> Path:
    folder = tmp_path_factory.mktemp("probed")
    config = ProbeConfig(architecture=small_model, epochs=_EPOCHS, seed=1)
    with phases.heard("probe"):
        probe_batch_size(digits_dir, _recipe(folder), folder / "probe", config)
    return folder / "probe"


@pytest.mark.usefixtures("probed")
def test_every_long_phase_names_itself(phases: Any) -> None:
    assert {"compile", "time batch sizes", "try learning rates"} <= phases.of["probe"]


def test_what_is_learned_has_a_method_and_evidence(probed: Path) -> None:
    settings = read_recipe(probed / "recipe.json").sections["training"]
    learned = {name for name, setting in settings.items() if setting.source == "learned"}
    expected = {"batch_size", "learning_rate", "weight_decay", "noise_scale"}
    assert expected <= learned
    for name in expected:
        assert settings[name].method
        assert settings[name].evidence
    low, high = settings["learning_rate"].evidence["interval"]
    assert low <= settings["learning_rate"].value * 2
    assert high >= settings["learning_rate"].value / 2
    for name in expected:
        assert settings[name].context["data"] == "digits"
        assert settings[name].context["batch_size"] == settings["batch_size"].value


def test_the_epochs_of_the_user_are_those_of_the_training(probed: Path) -> None:
    settings = read_recipe(probed / "recipe.json").sections["training"]
    assert (settings["epochs"].value, settings["epochs"].source) == (_EPOCHS, "user")
    steps, batch_size = (settings[name].value for name in ("steps", "batch_size"))
    assert steps * batch_size == pytest.approx(_EPOCHS * 1000, abs=batch_size)
    assert settings["warmup_steps"].value < steps
    # As much shrinkage as a plain training of this length.
    decay, rate = (settings[name].value for name in ("weight_decay", "learning_rate"))
    plain_steps = _EPOCHS * 1000 / 64
    assert rate * decay * steps == pytest.approx(3e-3 * 0.02 * plain_steps, rel=1e-3)


def test_the_evidence_is_on_disk_and_the_cost_is_bounded_in_images(probed: Path) -> None:
    summary = read_json(ProbeResult, probed / "probe.json")
    assert summary.skipped == ""
    sizes = [row.batch_size for row in summary.throughput]
    assert sizes == sorted(sizes)
    assert summary.reference_batch in sizes
    assert all(row.images_per_second > 0 for row in summary.throughput)
    assert 0 < summary.images_seen <= 0.06 * _EPOCHS * 1000
    assert len(summary.trials) >= 3
    lengths = {len(losses) for losses in summary.trials.values()}
    assert len(lengths) == 1
    assert summary.noise_scale is not None
    assert len(summary.noise_scale.raw) == lengths.pop()
    cost = json.loads((probed / "cost.json").read_text())
    assert (cost["name"], cost["images_seen"]) == ("probe_batch_size", summary.images_seen)


def test_a_budget_that_is_spent_leaves_the_defaults_and_plans_the_rest(
    digits_dir: Path, small_model: str, tmp_path: Path
) -> None:
    path = _recipe(tmp_path)
    write_recipe(with_budget(read_recipe(path), "fast"), path)
    config = ProbeConfig(architecture=small_model, epochs=_EPOCHS, seed=1)
    spent = [StageCost("import_dataset", 200.0, 1), StageCost(START_UP, 20.0, 0)]
    result = probe_batch_size(digits_dir, path, tmp_path / "probe", config, spent=spent)
    assert result.skipped.startswith("the budget of 4 minutes leaves no time for it")
    assert read_recipe(tmp_path / "probe/recipe.json").value("training", "batch_size") == 64
    report = json.loads((tmp_path / "probe/stage_report.json").read_text())
    assert list(report["summary"]["plan"]["stages"]) == [
        *("train", "evaluate_model", "export_model", "build_report")
    ]


def test_the_learning_part_is_a_function_of_the_seed(
    probed: Path, digits_dir: Path, small_model: str, tmp_path: Path
) -> None:
    config = ProbeConfig(architecture=small_model, epochs=_EPOCHS, seed=1)
    again = probe_batch_size(digits_dir, _recipe(tmp_path), tmp_path / "probe", config)
    first = read_json(ProbeResult, probed / "probe.json")
    assert again.range_test == first.range_test
    assert again.trials == first.trials
    assert again.noise_scale == first.noise_scale


def test_what_the_user_has_set_stays_and_the_rest_follows_it(
    digits_dir: Path, small_model: str, tmp_path: Path
) -> None:
    config = ProbeConfig(architecture=small_model, epochs=_EPOCHS, batch_size=32, optimizer="sgd")
    probe_batch_size(digits_dir, _recipe(tmp_path), tmp_path / "probe", config)
    settings = read_recipe(tmp_path / "probe/recipe.json").sections["training"]
    assert (settings["batch_size"].value, settings["batch_size"].source) == (32, "user")
    assert settings["learning_rate"].source == "learned"
    reference = settings["learning_rate"].evidence["reference_rate"]
    assert settings["learning_rate"].value < reference


@pytest.mark.parametrize(("needed", "said"), [(10.2, False), (17.3, True), (6.0, False)])
def test_a_length_of_the_user_that_the_batch_makes_too_short_is_said(
    needed: float, said: bool
) -> None:
    settings = {
        name: Setting(value, "by hand", source="user")
        for name, value in {"epochs": 10, "batch_size": 256}.items()
    }
    recipe = Recipe().with_settings("training", settings)
    notes = note_on_length(recipe, Setting(needed, "probe"), 64)
    assert [note for note in notes if "10 epochs. At a batch of 256, 17.3" in note] == (
        notes if said else []
    )
    assert len(notes) == said


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (ProbeConfig(learn=False), "`learn_batch_size` is false"),
        (ProbeConfig(), "too few steps to tell learning rates apart"),
        (ProbeConfig(batch_size=8, learning_rate=0.1), "set by the user"),
    ],
)
def test_a_probe_that_does_not_run_says_why_and_learns_nothing(
    config: ProbeConfig, reason: str, digits_dir: Path, tmp_path: Path
) -> None:
    path = _recipe(tmp_path)
    summary = probe_batch_size(digits_dir, path, tmp_path / "probe", config)
    assert reason in summary.skipped
    assert summary.images_seen == 0
    settings = read_recipe(tmp_path / "probe/recipe.json").sections["training"]
    assert "learned" not in {setting.source for setting in settings.values()}
    for name, value in config.hyperparameters().items():
        assert (settings[name].value, settings[name].source) == (value, "user")


def test_a_measured_recipe_is_not_measured_again(digits_dir: Path, tmp_path: Path) -> None:
    info = read_json(DatasetInfo, digits_dir / "dataset.json")
    recipe = complete_recipe(read_recipe(_recipe(tmp_path)), info, UserChoices())
    held = {"batch_size": Setting(32, "probe"), "learning_rate": Setting(1e-3, "probe")}
    write_recipe(learn(recipe, "training", held, fixed_facts(recipe, info)), tmp_path / "in.json")
    config = ProbeConfig(epochs=_EPOCHS)
    summary = probe_batch_size(digits_dir, tmp_path / "in.json", tmp_path / "out", config)
    assert "starts from" in summary.skipped
    assert summary.notes == []
    settings = read_recipe(tmp_path / "out/recipe.json").sections["training"]
    assert (settings["batch_size"].value, settings["learning_rate"].value) == (32, 1e-3)


def test_a_recipe_of_other_data_is_not_used_and_the_summary_says_so(
    probed: Path, digits_dir: Path, tmp_path: Path
) -> None:
    other = tmp_path / "dataset"
    shutil.copytree(digits_dir, other)
    info = read_json(DatasetInfo, other / "dataset.json")
    write_json(dataclasses.replace(info, fingerprint="other"), other / "dataset.json")
    config = ProbeConfig(learn=False)
    summary = probe_batch_size(other, probed / "recipe.json", tmp_path / "out", config)
    settings = read_recipe(tmp_path / "out/recipe.json").sections["training"]
    assert "learned" not in {setting.source for setting in settings.values()}
    assert settings["learning_rate"].value == 3e-3
    assert any(
        "`learning_rate`" in note and "other data or another split" in note
        for note in summary.notes
    )


def test_a_constant_image_set_falls_back_to_the_defaults(
    digits_dir: Path, small_model: str, tmp_path: Path
) -> None:
    dataset = tmp_path / "dataset"
    dataset.mkdir()
    with SplitWriter(dataset, "train") as writer:
        for index in range(400):
            writer.write(
                {
                    "image": encode_raw(np.full((16, 16, 1), 7, np.uint8)),
                    "encoding": "raw",
                    "height": 16,
                    "width": 16,
                    "channels": 1,
                    "labels": [index % 10],
                    "path": f"{index}.png",
                    "sha256": bytes(32),
                    "signature": bytes(64),
                }
            )
    info = json.loads((digits_dir / "dataset.json").read_text())
    (dataset / "dataset.json").write_text(json.dumps({**info, "splits": {"train": 400}}))
    config = ProbeConfig(architecture=small_model, epochs=1000)
    summary = probe_batch_size(dataset, _recipe(tmp_path), tmp_path / "out", config)
    assert "all the same" in summary.skipped


def test_a_model_whose_loss_is_nan_from_the_start_is_refused(
    digits_dir: Path, tmp_path: Path
) -> None:
    pixels = keras.Input((16, 16, 1))
    features = keras.layers.Conv2D(4, 3)(pixels)
    model = keras.Model(pixels, features)
    model.layers[-1].set_weights([np.full((3, 3, 1, 4), 3e38), np.zeros(4)])
    model.save(tmp_path / "broken.keras")
    config = ProbeConfig(epochs=_EPOCHS, architecture=str(tmp_path / "broken.keras"))
    with pytest.raises(NotFiniteError, match="untrained model must be finite"):
        probe_batch_size(digits_dir, _recipe(tmp_path), tmp_path / "out", config)


def test_the_plan_never_sees_more_than_its_share() -> None:
    for images in (100_000, 200_000, 480_000, 10_000_000):
        lengths = plan_lengths(images, 64, 0.07)
        if lengths is not None:
            assert lengths.total * 64 <= 0.07 * images
            assert lengths.range_steps + 4 * lengths.trial_steps <= lengths.total
    assert plan_lengths(50_000, 64, 0.07) is None
