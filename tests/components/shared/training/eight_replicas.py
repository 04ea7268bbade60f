"""Eight devices and few images; `test_replicas.py` runs this in a process of its own.

Logical CPUs stand for GPUs.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json
from kfp_vision.components.shared.recipe.document import Recipe, Setting
from kfp_vision.components.shared.recipe.user_choices import UserChoices
from kfp_vision.components.shared.training.replicas import node_strategy
from kfp_vision.components.shared.training.setup import build_trainer, complete_recipe, open_split

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 8
)
_LIST = tf.config.list_logical_devices


@pytest.fixture(autouse=True)
def gpus(monkeypatch):
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: _LIST("CPU"))


@pytest.mark.parametrize(
    ("batch_size", "replicas"), [(1, 1), (3, 1), (4, 2), (15, 7), (16, 8), (64, 8)]
)
def test_each_replica_gets_two_images_of_a_batch(batch_size, replicas):
    assert node_strategy(batch_size).num_replicas_in_sync == replicas


def test_a_strategy_that_is_set_stays():
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1", "CPU:2"])
    with strategy.scope():
        assert node_strategy(2) is strategy


@pytest.mark.parametrize(("choices", "batch_size"), [({}, 2), ({"batch_size": 5}, 5)])
def test_eight_images_are_trained_on(twelve_digits_dir, small_model, choices, batch_size):
    info = read_json(DatasetInfo, twelve_digits_dir / "dataset.json")
    values = {"class_weights": None, "primary_metric": "accuracy", "positive_class": None}
    recipe = Recipe({"data": {name: Setting(value, "test") for name, value in values.items()}})
    recipe = complete_recipe(recipe, info, UserChoices(architecture=small_model, **choices))
    trainer, _, settings = build_trainer(recipe, info, seed=0)
    assert settings.batch_size == batch_size
    assert trainer.strategy.num_replicas_in_sync == batch_size // 2
    train = open_split(twelve_digits_dir, "train", recipe)
    images, targets = train.take(np.arange(batch_size))
    before = keras.tree.map_structure(np.array, trainer.model.get_weights())
    rates = np.full(1, 0.01, np.float32)
    labels = {name: value[None] for name, value in targets.items()}
    assert np.isfinite(trainer.run_steps(images[None], labels, rates).losses).all()
    assert any(
        (old != new).any() for old, new in zip(before, trainer.model.get_weights(), strict=True)
    )
