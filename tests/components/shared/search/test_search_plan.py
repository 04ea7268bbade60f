"""What a search may cost, for trainings of all lengths."""

import dataclasses
from pathlib import Path

import pytest

from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json
from kfp_vision.components.shared.recipe.context import fixed_facts
from kfp_vision.components.shared.recipe.document import Recipe, Setting
from kfp_vision.components.shared.recipe.hyperparameters import learn, resolve
from kfp_vision.components.shared.search.plan import (
    CheckpointPlan,
    SearchPlan,
    plan_checkpoint,
    plan_search,
)
from kfp_vision.components.shared.training.setup import UserChoices, complete_recipe


def _plan(
    digits_dir: Path, epochs: int, batch_size: int = 0, num_train: int = 0, num_val: int = 300
) -> tuple[SearchPlan, CheckpointPlan, int]:
    """Returns the plans and the images of a plain training."""
    info = read_json(DatasetInfo, digits_dir / "dataset.json")
    splits = {"train": num_train or info.splits["train"], "validation": num_val}
    info = dataclasses.replace(info, splits=splits)
    data = {"class_weights": Setting(None, "test"), "primary_metric": Setting("accuracy", "test")}
    choices = UserChoices(epochs=epochs, batch_size=batch_size)
    recipe = complete_recipe(Recipe().with_settings("data", data), info, choices)
    steps, batch = (recipe.value("training", name) for name in ("steps", "batch_size"))
    return plan_search(recipe, info), plan_checkpoint(recipe, info), steps * batch


@pytest.mark.parametrize("epochs", [2, 10, 30, 50, 60, 90, 150, 400, 3000])
def test_all_trials_together_stay_below_the_promised_share(digits_dir: Path, epochs: int) -> None:
    plan, checkpoint, images = _plan(digits_dir, epochs)
    number = plan.num_screened + plan.num_combined + plan.num_confirmed
    trials = plan.images_of(number, plan.num_confirmed)
    length = 2 * plan.steps * plan.batch_size
    if plan.num_screened:
        learned = checkpoint.steps * checkpoint.batch_size
        assert learned + trials + length <= 0.6 * images
    if plan.is_brief:
        assert (plan.num_screened, plan.num_combined) == (4, 0)
        assert 20 < epochs < 90
    elif plan.num_screened:
        assert plan.num_screened >= 8
        assert plan.num_combined >= 3
    else:
        assert plan.num_combined == plan.num_confirmed == 0
        assert epochs <= 20


def test_a_large_batch_is_halved_until_a_trial_has_enough_steps(digits_dir: Path) -> None:
    short, _, _ = _plan(digits_dir, 90, batch_size=256)
    long, _, images = _plan(digits_dir, 3000, batch_size=256)
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
    _, checkpoint, _ = _plan(digits_dir, epochs, num_train=num_train)
    assert checkpoint.known == known
    passes = checkpoint.steps * checkpoint.batch_size / checkpoint.known
    assert passes == pytest.approx(epochs / 2, rel=0.05)


@pytest.mark.parametrize("epochs", [10, 60, 400])
def test_the_checkpoint_learns_at_the_peak_rate_for_most_of_its_steps(
    digits_dir: Path, epochs: int
) -> None:
    _, checkpoint, _ = _plan(digits_dir, epochs)
    assert 1 <= checkpoint.warmup_steps <= checkpoint.steps / 4


def test_two_candidates_are_confirmed_where_the_cost_allows_it(digits_dir: Path) -> None:
    numbers = [_plan(digits_dir, epochs)[0].num_confirmed for epochs in range(10, 200, 5)]
    assert sorted(numbers) == numbers
    assert set(numbers) == {0, 6, 9}


@pytest.mark.parametrize("num_train", [1, 2, 5, 20, 60, 100, 250, 300, 1000, 60_000])
@pytest.mark.parametrize("num_validation", [1, 30, 300])
def test_what_confirms_is_beside_what_chooses_for_sets_of_all_sizes(
    digits_dir: Path, num_train: int, num_validation: int
) -> None:
    plan, checkpoint, images = _plan(digits_dir, 1500, num_train=num_train, num_val=num_validation)
    assert plan.num_held_out == num_train + num_validation - checkpoint.known
    assert plan.num_scored + plan.num_confirming <= plan.num_held_out
    if plan.num_confirmed:
        assert plan.num_confirming >= max(128, min(plan.num_scored, plan.num_held_out // 2))
    else:
        assert plan.num_confirming == 0
    assert not plan.num_screened or plan.num_held_out >= 64
    assert plan.few_images == (plan.num_held_out < 256)
    # A training of half a million images and more affords all.
    assert images < 300_000 or plan.few_images or plan.num_confirmed == 9


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
    plan, checkpoint = plan_search(recipe, info), plan_checkpoint(recipe, info)
    assert plan.steps >= 64
    assert checkpoint.warmup_steps <= checkpoint.steps / 4
