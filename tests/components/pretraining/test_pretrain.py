"""Learning digits before their labels: what helps is kept, and the training starts from it."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from digits_recipe import recipe_for
from kfp import dsl

from kfp_vision.components.pretraining import learner, rivals
from kfp_vision.components.pretraining.barlow_twins import barlow_twins_loss
from kfp_vision.components.pretraining.pretrain import pretrain
from kfp_vision.components.shared.artifacts.cost import COST_FILE, StageCost
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json
from kfp_vision.components.shared.artifacts.pretraining_result import PretrainingResult
from kfp_vision.components.shared.artifacts.run_plan import RunPlan
from kfp_vision.components.shared.artifacts.training_result import START_FILE
from kfp_vision.components.shared.datasets.near_duplicates import NEAR_DUPLICATES_FILE
from kfp_vision.components.shared.recipe import unlabeled
from kfp_vision.components.shared.recipe.budget import with_budget
from kfp_vision.components.shared.recipe.document import Recipe, Setting, read_recipe, write_recipe
from kfp_vision.components.shared.recipe.initial_weights import START_WEIGHTS
from kfp_vision.components.shared.recipe.unlabeled import why_no_pretraining
from kfp_vision.components.shared.recipe.user_choices import UserChoices
from kfp_vision.components.shared.report.page import write_stage_page
from kfp_vision.components.shared.report.records import read_stages
from kfp_vision.components.shared.training.checkpoints import read_checkpoint
from kfp_vision.components.shared.training.trainer import Trainer
from kfp_vision.components.training.train import train_model
from kfp_vision.pipelines.learning.component import train_model as train_task

pytestmark = pytest.mark.long


def run(
    dataset: Path, recipe: Recipe, folder: Path, kept: Path | None = None, **about: Any
) -> PretrainingResult:
    folder.mkdir(parents=True, exist_ok=True)
    write_recipe(recipe, folder / "in.json")
    given = (dataset, folder / "in.json", folder / "out", kept or folder / "kept", 1)
    return pretrain(*given, **about)


@pytest.fixture(scope="module", autouse=True)
def short() -> Iterator[None]:
    """Half the passes that a pretraining takes of so few images."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unlabeled, "_MOST_PASSES", 25)
        yield


@pytest.fixture(scope="module")
def learned(
    few_labels_dir: Path, small_model: str, tmp_path_factory: pytest.TempPathFactory, phases: Any
) -> Path:
    folder = tmp_path_factory.mktemp("learned")
    with phases.heard("pretraining"):
        run(few_labels_dir, recipe_for(small_model), folder)
    return folder


def result_of(folder: Path) -> dict[str, Any]:
    held: dict[str, Any] = json.loads((folder / "out/pretraining.json").read_text())
    return held


def test_a_training_gains_from_digits_without_labels(learned: Path) -> None:
    result = result_of(learned)
    assert result["is_kept"]
    assert result["gain"]["low"] > 0
    assert result["pretrained_loss"] < result["scratch_loss"]
    assert result["trial_share"] == pytest.approx(1.0, abs=0.02)
    assert (result["images"], result["judges"]) == (1060, 200)
    arms = {arm["name"]: arm for arm in result["arms"]}
    assert list(arms) == ["Barlow Twins", "SimCLR"]
    chosen = arms.pop(result["chosen"])
    (other,) = arms.values()
    # The better one goes all the way, the other a third of it.
    assert [len(arm["points"]) for arm in (chosen, other)] == [5, 3]
    assert chosen["points"][2]["loss"] <= other["points"][2]["loss"]
    first, *_, last = chosen["points"]
    assert last["linear"] > first["linear"] + 0.05
    assert last["nearest"] > first["nearest"] + 0.05
    assert last["effective_rank"] > 3
    assert not chosen["stopped"]


def test_the_recipe_says_where_the_weights_come_from(learned: Path) -> None:
    setting = read_recipe(learned / "out/recipe.json").get("model", START_WEIGHTS)
    assert setting is not None
    result = result_of(learned)
    assert result["chosen"] in setting.method
    assert setting.evidence["gain_ci95"] == [result["gain"]["low"], result["gain"]["high"]]
    cost = read_json(StageCost, learned / "out" / COST_FILE)
    assert cost.name == "pretrain"
    seen = sum(arm["images_seen"] for arm in result["arms"]) + result["trial_images"]
    assert cost.images_seen == seen


def test_the_training_starts_there_and_says_so(
    few_labels_dir: Path, learned: Path, tmp_path: Path
) -> None:
    def train(recipe: Path, name: str) -> dict[str, Any]:
        config = UserChoices(seed=1)
        train_model(few_labels_dir, recipe, tmp_path / name, tmp_path / "checkpoints", config)
        held: dict[str, Any] = json.loads((tmp_path / name / "training.json").read_text())
        return held

    shutil.copy(learned / "out/recipe.json", tmp_path / "lost.json")
    started = train(learned / "out/recipe.json", "started")
    lost = train(tmp_path / "lost.json", "b")
    assert started["checks"]["initial_loss"] < 0.7 * started["checks"]["expected_initial_loss"]
    assert lost["checks"]["initial_loss"] > 0.8 * lost["checks"]["expected_initial_loss"]
    named = read_recipe(tmp_path / "started/recipe.json").get("model", START_WEIGHTS)
    assert named == read_recipe(learned / "out/recipe.json").get("model", START_WEIGHTS)
    assert read_recipe(tmp_path / "b/recipe.json").get("model", START_WEIGHTS) is None
    # Other starts are other trainings: their checkpoints lie apart.
    assert len([path for path in (tmp_path / "checkpoints").iterdir() if path.is_dir()]) == 2
    assert (tmp_path / "started" / START_FILE).exists()


def test_in_the_task_of_all_that_trains_the_training_starts_there(
    few_labels_dir: Path, learned: Path, tmp_path: Path, divided: Any
) -> None:
    (tmp_path / "recipe").mkdir()
    shutil.copy(learned / "in.json", tmp_path / "recipe/recipe.json")
    model = dsl.Model(uri=str(tmp_path / "model"))
    train_task.python_func(
        **divided(few_labels_dir, "train", "validation", "unlabeled"),
        recipe=dsl.Artifact(uri=str(tmp_path / "recipe")),
        model=model,
        train_sample=dsl.Dataset(uri=str(tmp_path / "train_sample")),
        page=dsl.HTML(uri=str(tmp_path / "page")),
        metrics=dsl.Metrics(uri=str(tmp_path / "metrics")),
        checkpoint_uri=str(learned / "kept"),
        image_cache_gib=0.0,
        seed=1,
    )
    names = [record.artifact for record in read_stages(tmp_path / "model")]
    assert names[:3] == ["pretrained", "model", "student"]
    recipe = read_recipe(tmp_path / "model/recipe.json")
    named = read_recipe(learned / "out/recipe.json").get("model", START_WEIGHTS)
    assert recipe.get("model", START_WEIGHTS) == named
    # Weights that nobody reads any more are not in the model.
    assert not (tmp_path / "model" / START_FILE).exists()


def test_the_page_shows_probes_and_ranks(learned: Path, tmp_path: Path) -> None:
    write_stage_page(learned / "out", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "Effective rank" in page
    assert page.count("<td>SimCLR</td>") == len(result_of(learned)["arms"][1]["points"])


def start_weights(folder: Path) -> list[np.ndarray]:
    held = read_checkpoint(folder / "out" / START_FILE)
    assert held is not None
    return held[0]


def test_a_killed_task_goes_on_and_ends_with_the_same_weights(
    few_labels_dir: Path,
    small_model: str,
    learned: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken = 0
    run_steps = Trainer.run_steps

    def dies(trainer: Trainer, *given: Any) -> Any:
        nonlocal taken
        taken += len(given[2])
        if taken > 100:
            raise KeyboardInterrupt
        return run_steps(trainer, *given)

    recipe = recipe_for(small_model)
    monkeypatch.setattr(learner, "_SAVED_EVERY_S", 0.0)
    monkeypatch.setattr(Trainer, "run_steps", dies)
    with pytest.raises(KeyboardInterrupt):
        run(few_labels_dir, recipe, tmp_path)
    monkeypatch.setattr(Trainer, "run_steps", run_steps)
    assert run(few_labels_dir, recipe, tmp_path).is_kept
    pairs = zip(start_weights(tmp_path), start_weights(learned), strict=True)
    assert all(np.array_equal(one, other) for one, other in pairs)
    # A task that is started once more takes no step.
    monkeypatch.setattr(Trainer, "run_steps", lambda *_: pytest.fail("a step was taken again"))
    run(few_labels_dir, recipe, tmp_path / "again", tmp_path / "kept")
    again = zip(start_weights(tmp_path / "again"), start_weights(learned), strict=True)
    assert all(np.array_equal(one, other) for one, other in again)


def _attraction(first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
    """SimCLR without negatives: a constant is as good as anything."""
    first, second = (tf.math.l2_normalize(each, 1) for each in (first, second))
    return 1.0 - tf.reduce_mean(tf.reduce_sum(first * second, 1))


def _redundant(first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
    """Barlow Twins with features that may all be the same, and are drawn to be."""
    alike = tf.reduce_mean(tf.square(first - tf.reduce_mean(first, 1, keepdims=True)))
    return barlow_twins_loss(first, second, 0.0) + 100.0 * alike


@pytest.mark.parametrize(
    ("loss", "name"),
    [
        pytest.param(_attraction, "complete collapse", id="complete"),
        # In small: test_embedding_spread.py.
        pytest.param(_redundant, "dimensional collapse", id="dimensional", marks=pytest.mark.slow),
    ],
)
def test_a_collapse_stops_an_arm_by_its_name_and_the_training_starts_as_before(
    few_labels_dir: Path,
    small_model: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    loss: Any,
    name: str,
) -> None:
    monkeypatch.setattr(learner, "ARMS", {"first": loss, "second": loss})
    monkeypatch.setattr(rivals, "ARMS", {"first": loss, "second": loss})
    monkeypatch.setattr(learner, "_RATE", 3e-2)
    result = run(few_labels_dir, recipe_for(small_model), tmp_path)
    # Of two that are alike the first goes on.
    assert result.arms[0].stopped.startswith(name)
    assert not result.is_kept
    assert result.gain is None
    assert read_recipe(tmp_path / "out/recipe.json").get("model", START_WEIGHTS) is None
    assert not (tmp_path / "out" / START_FILE).exists()
    report = json.loads((tmp_path / "out/stage_report.json").read_text())
    assert {each["code"] for each in report["warnings"]} == {"pretraining_stopped"}
    assert name in report["warnings"][0]["message"]


def test_a_rate_that_is_absurd_is_named_too(
    few_labels_dir: Path, small_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learner, "_RATE", 1e30)
    result = run(few_labels_dir, recipe_for(small_model), tmp_path)
    assert all(arm.stopped for arm in result.arms)
    assert not result.is_kept


def learned_rows(
    dataset: Path, model: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> list[int]:
    """Returns which of the training images and those without labels are learned."""
    learned: list[int] = []

    def listens(_: Any, rows: np.ndarray, *__: Any) -> Any:
        learned.extend(rows.tolist())
        raise KeyboardInterrupt

    monkeypatch.setattr(rivals, "TwinImages", listens)
    with pytest.raises(KeyboardInterrupt):
        run(dataset, recipe_for(model), folder)
    return learned


def test_a_batch_is_shared_out_among_the_devices_of_the_training(
    few_labels_dir: Path, small_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    def listens(*given: Any) -> Any:
        sizes.append(given[2])
        raise KeyboardInterrupt

    asked: list[int] = []

    def three(batch_size: int) -> Any:
        asked.append(batch_size)
        return SimpleNamespace(num_replicas_in_sync=3)

    monkeypatch.setattr(rivals, "TwinImages", listens)
    monkeypatch.setattr(rivals, "node_strategy", three)
    with pytest.raises(KeyboardInterrupt):
        run(few_labels_dir, recipe_for(small_model), tmp_path)
    assert (sizes, asked) == ([255], [32])


def test_copies_of_held_out_images_are_never_learned(
    few_labels_dir: Path, small_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = tmp_path / "dataset"
    shutil.copytree(few_labels_dir, dataset)
    # Validation images are rows 60 to 259, those without labels 260 to 1259.
    groups = np.arange(1797)
    groups[260:300] = np.arange(60, 100)
    np.save(dataset / NEAR_DUPLICATES_FILE, groups)
    learned = learned_rows(dataset, small_model, tmp_path, monkeypatch)
    assert learned == [*range(60), *range(100, 1060)]


def test_where_few_images_judge_half_of_the_labels_do_too_and_are_not_learned(
    few_judges_dir: Path, small_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = tmp_path / "dataset"
    shutil.copytree(few_judges_dir, dataset)
    # Every training image has a copy among those without labels, which begin at row 130.
    groups = np.arange(1797)
    groups[130:230] = np.arange(100)
    np.save(dataset / NEAR_DUPLICATES_FILE, groups)
    learned = np.array(learned_rows(dataset, small_model, tmp_path, monkeypatch))
    known = learned[learned < 100]
    assert len(known) == 50
    np.testing.assert_array_equal(learned[50:], [*(100 + known), *range(200, 1100)])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({"pretrain": "never"}, "`pretrain` is `never`"),
        ({"use_validation_for_training": True}, "leaves no images to judge it by"),
    ],
)
def test_why_nothing_was_learned_is_said(
    few_labels_dir: Path, small_model: str, tmp_path: Path, data: Any, reason: str
) -> None:
    result = run(few_labels_dir, recipe_for(small_model, **data), tmp_path)
    assert reason in result.skipped
    assert not (tmp_path / "out" / START_FILE).exists()
    write_stage_page(tmp_path / "out", tmp_path / "page.html")
    assert "Nothing was learned before the labels" in (tmp_path / "page.html").read_text()


def test_a_pretrained_network_or_few_images_without_labels_are_left_alone_unless_the_user_insists(
    few_labels_dir: Path, small_model: str
) -> None:
    info = read_json(DatasetInfo, few_labels_dir / "dataset.json")
    recipe = recipe_for(small_model)
    assert why_no_pretraining(recipe, info) == ""
    tuned = {"initial_weights": Setting("pretrained", "test", source="user")}
    assert "pretrained weights" in why_no_pretraining(recipe.with_settings("model", tuned), info)
    info.splits["unlabeled"] = 200
    assert "few beside" in why_no_pretraining(recipe, info)
    insists = {"pretrain": Setting("always", "test", source="user")}
    changed = recipe.with_settings("model", tuned).with_settings("data", insists)
    assert why_no_pretraining(changed, info) == ""


def test_the_time_of_the_stages_after_it_is_left_alone(
    few_labels_dir: Path, small_model: str, tmp_path: Path
) -> None:
    recipe = with_budget(recipe_for(small_model), "balanced", 4.0)
    stages = {"train": 60.0, "evaluate_model": 60.0}
    spent = [StageCost("search_trials", 100.0, 100)]
    slow = RunPlan(4.0, 100.0, 1e-3, 2.0, stages)
    result = run(few_labels_dir, recipe, tmp_path, spent=spent, plan=slow)
    # Less what has no cost, 8 s, and the reserve, 9 s.
    assert "leave 3 s of the budget" in result.skipped
    few = RunPlan(4.0, 0.0, 1e-2, 2.0, stages)
    result = run(few_labels_dir, recipe, tmp_path / "few", spent=[], plan=few)
    assert "passes over the images" in result.skipped
