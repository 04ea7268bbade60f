"""What a search may cost, for trainings of all lengths."""

import dataclasses
import math
from pathlib import Path

import pytest

from kfp_vision.components.augmentation_search.planning import plan_search
from kfp_vision.components.augmentation_search.search import search_augmentation
from kfp_vision.components.shared.artifacts.augmentation_table import SearchPlan
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json
from kfp_vision.components.shared.recipe.context import fixed_facts
from kfp_vision.components.shared.recipe.document import Recipe, Setting, write_recipe
from kfp_vision.components.shared.recipe.hyperparameters import learn, resolve
from kfp_vision.components.shared.recipe.user_choices import UserChoices
from kfp_vision.components.shared.training.setup import complete_recipe


def _plan(
    digits_dir: Path,
    epochs: int,
    batch_size: int = 0,
    num_train: int = 0,
    num_val: int = 300,
    max_images: float = math.inf,
) -> tuple[SearchPlan, int]:
    """Returns the plan and the images of a baseline training."""
    info = read_json(DatasetInfo, digits_dir / "dataset.json")
    splits = {"train": num_train or info.splits["train"], "validation": num_val}
    info = dataclasses.replace(info, splits=splits)
    data = {"class_weights": Setting(None, "test"), "primary_metric": Setting("accuracy", "test")}
    choices = UserChoices(epochs=epochs, batch_size=batch_size)
    recipe = complete_recipe(Recipe().with_settings("data", data), info, choices)
    steps, batch = (recipe.value("training", name) for name in ("steps", "batch_size"))
    return plan_search(recipe, info, max_images), steps * batch


@pytest.mark.parametrize("epochs", [2, 10, 30, 50, 60, 90, 150, 400, 3000])
def test_a_search_costs_at_most_half_of_a_training(digits_dir: Path, epochs: int) -> None:
    plan, images = _plan(digits_dir, epochs)
    if plan.num_trials:
        spent = plan.checkpoint.steps * plan.checkpoint.batch_size + plan.num_checked
        spent += 60 * plan.num_measured + plan.images_of(plan.num_trials, plan.num_confirmed)
        assert spent <= 0.5 * images
        assert plan.num_trials >= (4 if plan.num_confirmed == 4 else 2 * plan.num_confirmed)
    else:
        assert epochs <= 30


def test_longer_trainings_afford_more_trials(digits_dir: Path) -> None:
    plans = [_plan(digits_dir, epochs)[0] for epochs in range(10, 400, 15)]
    numbers = [(plan.num_confirmed, plan.num_trials) for plan in plans]
    assert [each for each, _ in numbers] == sorted(each for each, _ in numbers)
    assert {each for each, _ in numbers} == {0, 4, 6, 9}
    assert numbers[-1] == (9, 22)


def test_a_large_batch_is_halved_until_a_trial_has_enough_steps(digits_dir: Path) -> None:
    short, _ = _plan(digits_dir, 90, batch_size=256)
    long, images = _plan(digits_dir, 3000, batch_size=256)
    assert (short.batch_size, short.steps) == (16, 64)
    assert long.batch_size > 16
    assert long.steps * long.batch_size == pytest.approx(0.0075 * images, rel=0.01)
    assert short.peak_rate < long.peak_rate


@pytest.mark.parametrize(("num_train", "known"), [(1000, 250), (2000, 400), (8000, 1000)])
@pytest.mark.parametrize("epochs", [60, 400])
def test_the_checkpoint_sees_its_images_half_as_often_as_a_training(
    digits_dir: Path, epochs: int, num_train: int, known: int
) -> None:
    """An eighth of the images, of a small set up to a quarter or 400."""
    checkpoint = _plan(digits_dir, epochs, num_train=num_train)[0].checkpoint
    assert checkpoint.num_images == known
    passes = checkpoint.steps * checkpoint.batch_size / known
    assert passes == pytest.approx(epochs / 2, rel=0.05)
    assert 1 <= checkpoint.warmup_steps <= checkpoint.steps / 4


@pytest.mark.parametrize("num_train", [1, 2, 5, 20, 60, 100, 250, 300, 1000, 60_000])
@pytest.mark.parametrize("num_validation", [1, 30, 300])
def test_what_confirms_is_beside_what_chooses_for_sets_of_all_sizes(
    digits_dir: Path, num_train: int, num_validation: int
) -> None:
    plan, _ = _plan(digits_dir, 1500, num_train=num_train, num_val=num_validation)
    assert plan.num_held_out == num_train + num_validation - plan.checkpoint.num_images
    assert plan.num_scored + plan.num_confirming <= plan.num_held_out
    assert not plan.num_trials or plan.num_held_out >= 64
    assert not plan.num_confirmed or plan.num_confirming >= plan.num_scored


def test_a_search_can_be_planned_for_the_few_steps_of_a_large_learned_batch(
    digits_dir: Path,
) -> None:
    """50,000 images in batches of 4,096: the warm-up of batches of 64 is longer than all steps."""
    info = read_json(DatasetInfo, digits_dir / "dataset.json")
    info = dataclasses.replace(info, splits={**info.splits, "train": 50_000})
    recipe = complete_recipe(Recipe(), info, UserChoices(epochs=18))
    facts = fixed_facts(recipe, info)
    recipe = learn(recipe, "training", {"batch_size": Setting(4096, "probe")}, facts)
    recipe = resolve(recipe, {}, 50_000, facts)
    steps, warmup_steps = (recipe.value("training", name) for name in ("steps", "warmup_steps"))
    assert (steps, warmup_steps) == (220, 100)
    plan = plan_search(recipe, info)
    assert plan.steps >= 64
    assert plan.checkpoint.warmup_steps <= plan.checkpoint.steps / 4


def test_too_few_held_out_images_say_of_which_splits_they_are(
    twelve_digits_dir: Path, tmp_path: Path
) -> None:
    info = read_json(DatasetInfo, twelve_digits_dir / "dataset.json")
    data = {"class_weights": Setting(None, "test"), "primary_metric": Setting("accuracy", "test")}
    recipe = complete_recipe(Recipe().with_settings("data", data), info, UserChoices(epochs=2))
    write_recipe(recipe, tmp_path / "recipe.json")
    known = plan_search(recipe, info).checkpoint.num_images
    table = search_augmentation(
        twelve_digits_dir,
        tmp_path / "recipe.json",
        tmp_path / "out",
        tmp_path / "kept",
        search=True,
        seed=0,
    )
    assert table.skipped.startswith(
        f"{10 - known} held-out images (2 of validation and {8 - known} of train that the "
    )


def test_a_limit_of_images_means_fewer_trials_and_then_none(digits_dir: Path) -> None:
    plans = []
    for limit in (math.inf, 150_000, 110_000, 90_000, 1_000, 0):
        plan, images = _plan(digits_dir, 400, max_images=limit)
        plans.append(plan)
        if plan.num_trials:
            spent = plan.checkpoint.steps * plan.checkpoint.batch_size + plan.num_checked
            spent += 60 * plan.num_measured + plan.images_of(plan.num_trials, plan.num_confirmed)
            assert spent <= min(limit, 0.5 * images)
    trials = [plan.num_trials for plan in plans]
    assert trials == sorted(trials, reverse=True)
    assert trials[0] > trials[2] > 0
    assert trials[-1] == 0
