"""Seeds beyond 32 bits: everything random takes them, and tells them apart."""

import itertools
from pathlib import Path

import numpy as np
import tensorflow as tf

from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json
from kfp_vision.components.shared.augmentation.draw import batch_keys, draw_seed
from kfp_vision.components.shared.augmentation.policy import IDENTITY, Operation, Policy
from kfp_vision.components.shared.augmentation.threefry import uniform
from kfp_vision.components.shared.datasets.loader import BatchOrder
from kfp_vision.components.shared.recipe.document import Recipe, Setting
from kfp_vision.components.shared.recipe.user_choices import UserChoices
from kfp_vision.components.shared.runtime.seeds import MAX_SEED, seed_word
from kfp_vision.components.shared.search.short_training import run_steps
from kfp_vision.components.shared.training.setup import build_trainer, complete_recipe, open_split

_SEEDS = (0, 5, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**32 + 5, 2**53, 2**63 - 1)


def test_small_seeds_stand_for_themselves_and_large_ones_for_different_words() -> None:
    words = [seed_word(seed) for seed in _SEEDS]
    assert words[:5] == list(_SEEDS[:5])
    assert len(set(words)) == len(words)
    assert all(0 <= word < 2**32 for word in words)


def test_every_seed_draws_its_own_numbers() -> None:
    def draw(seed: tf.Tensor) -> np.ndarray:
        return uniform(batch_keys(seed, 1), 0, 64).numpy()[0]

    drawn = [draw(draw_seed(seed, 3)) for seed in _SEEDS]
    for one, other in itertools.combinations(drawn, 2):
        assert abs(np.corrcoef(one, other)[0, 1]) < 0.5
    np.testing.assert_array_equal(drawn[1], draw(tf.constant([5, 3])))


def test_an_epoch_of_one_seed_is_not_that_of_another() -> None:
    orders = {
        (seed, epoch): tuple(BatchOrder(50, 50, seed).indices(epoch)[0])
        for seed in _SEEDS
        for epoch in range(3)
    }
    assert len(set(orders.values())) == len(orders)


def test_the_largest_seed_survives_a_double() -> None:
    assert int(float(MAX_SEED)) == MAX_SEED
    assert int(float(MAX_SEED + 2)) != MAX_SEED + 2


def test_a_training_draws_by_seeds_of_every_size(digits_dir: Path, small_model: str) -> None:
    info = read_json(DatasetInfo, digits_dir / "dataset.json")
    data = {"class_weights": Setting(None, "test"), "primary_metric": Setting("accuracy", "test")}
    choices = UserChoices(architecture=small_model)
    recipe = complete_recipe(Recipe().with_settings("data", data), info, choices)
    images = open_split(digits_dir, "train", recipe)
    rotated = Policy(always=(Operation("rotate", 0.5, 1.0),))
    seeds = (2**31, 2**63 - 1)
    trainers = [build_trainer(recipe, info, seed, rotated, ema_momentum=0.0)[0] for seed in seeds]
    # Compiling the steps of one takes seconds; what they draw is decided after it was built.
    trainer = trainers[-1]
    initial = trainer.state()

    def loss(policy: Policy, draws: int, order: int) -> float:
        trainer.restore(initial)
        trainer.use_policy(policy)
        trainer.reseed(draws)
        steps = run_steps(trainer, images, np.arange(32), np.full(1, 1e-3), 16, order)
        return float(next(steps)[1][0])

    for seed in seeds:
        assert loss(rotated, seed, seed) == loss(rotated, seed, seed)
        # Dropout alone, and augmentation beside it.
        assert loss(IDENTITY, seed, seed) != loss(IDENTITY, seed - 1, seed)
        assert loss(rotated, seed, seed) != loss(IDENTITY, seed, seed)
