"""Short trainings read the images that they are told to, and go on where they were."""

from pathlib import Path

import numpy as np
import pytest

from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json
from kfp_vision.components.shared.augmentation.policy import IDENTITY, Mixing, Policy
from kfp_vision.components.shared.recipe.document import Recipe, Setting
from kfp_vision.components.shared.recipe.user_choices import UserChoices
from kfp_vision.components.shared.search.short_training import run_steps
from kfp_vision.components.shared.training.setup import build_trainer, complete_recipe, open_split


def _complete(digits_dir: Path, small_model: str) -> tuple[Recipe, DatasetInfo]:
    info = read_json(DatasetInfo, digits_dir / "dataset.json")
    data = {"class_weights": Setting(None, "test"), "primary_metric": Setting("accuracy", "test")}
    choices = UserChoices(architecture=small_model)
    return complete_recipe(Recipe().with_settings("data", data), info, choices), info


def test_a_policy_that_the_task_does_not_define_is_refused(
    digits_dir: Path, small_model: str
) -> None:
    policy = Policy(mixing=Mixing(cutmix_probability=0.2, mosaic_probability=0.1))
    with pytest.raises(ValueError, match=r"multiclass .* by cutmix or mixup\. Received: mosaic"):
        build_trainer(*_complete(digits_dir, small_model), 0, policy)


def test_a_training_goes_on_to_the_same_losses_and_sees_only_its_images(
    digits_dir: Path, small_model: str
) -> None:
    recipe, info = _complete(digits_dir, small_model)
    trainer, _, _ = build_trainer(recipe, info, 0, IDENTITY, ema_momentum=0.0)
    images = open_split(digits_dir, "train", recipe)
    rows, rates = np.arange(5, 45), np.full(40, 1e-3)
    initial = trainer.state()
    calls = list(run_steps(trainer, images, rows, rates, 8, seed=3))
    assert [taken for taken, _ in calls] == [16, 32, 40]
    whole = np.concatenate([losses for _, losses in calls])
    assert len(whole) == 40

    trainer.restore(initial)
    steps = run_steps(trainer, images, rows, rates, 8, seed=3)
    assert next(steps)[0] == 16
    rest = [losses for _, losses in run_steps(trainer, images, rows, rates, 8, seed=3, start=16)]
    assert np.concatenate(rest) == pytest.approx(whole[16:], rel=1e-4)

    # With the other images gone nothing changes.
    labels = images.read_targets(np.arange(len(images)))["label"]
    blank = np.zeros_like(labels)
    blank[rows] = labels[rows]
    trainer.restore(initial)
    same = type(images)(images.source, lambda chosen: {"label": blank[chosen]})
    again = [losses for _, losses in run_steps(trainer, same, rows, rates, 8, seed=3)]
    assert np.concatenate(again) == pytest.approx(whole, rel=1e-4)
