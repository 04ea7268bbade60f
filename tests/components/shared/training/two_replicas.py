"""Two replicas against one device; `test_replicas.py` runs this in a process of its own.

The devices of a process are fixed before TensorFlow starts, so no other test may run beside these.
"""

import contextlib
import dataclasses
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from kfp_vision.components.batch_size_probe.micro_batches import MicroBatchSteps
from kfp_vision.components.shared.augmentation.policy import IDENTITY, Mixing, Operation, Policy
from kfp_vision.components.shared.recipe import hyperparameters
from kfp_vision.components.shared.recipe.document import Recipe, Setting, write_recipe
from kfp_vision.components.shared.recipe.user_choices import UserChoices
from kfp_vision.components.shared.tasks import get_task
from kfp_vision.components.shared.training import setup
from kfp_vision.components.shared.training.trainer import Trainer
from kfp_vision.components.training.train import train_model

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
_STRATEGY = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
_DEFAULTS = hyperparameters.from_recipe(hyperparameters.resolve(Recipe(), {}, 1000))
_STEPS = 4
_RANDOM = Policy(
    always=(Operation("horizontal_flip", 0.5, 1.0), Operation("rotate", 1.0, 1.0)),
    mixing=Mixing(mixup_probability=1.0, mixup_alpha=1.0),
)


def _model(normalised: bool) -> keras.Model:
    pixels = keras.Input((8, 8, 3))
    x = keras.layers.Rescaling(1 / 255)(pixels)
    x = keras.layers.Conv2D(8, 3, kernel_regularizer=keras.regularizers.L2(0.01))(x)
    if normalised:
        x = keras.layers.BatchNormalization(momentum=0.5)(x)
    x = keras.layers.Flatten()(keras.layers.ReLU()(x))
    return keras.Model(
        pixels, keras.layers.Dense(3)(keras.layers.Dropout(0.1)(x) if normalised else x)
    )


def _trainer(
    replicas: int, optimizer: str = "adamw", normalised: bool = False, policy: Policy | None = None
) -> Trainer:
    settings = dataclasses.replace(
        _DEFAULTS, optimizer=optimizer, clip_norm=0.5, ema_momentum=0.9, weight_decay=0.01
    )
    keras.utils.set_random_seed(0)
    with _STRATEGY.scope() if replicas == 2 else contextlib.nullcontext():
        return Trainer(_model(normalised), get_task("multiclass"), settings, policy=policy)


def _batches(batch: int, steps: int = _STEPS) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (steps, batch, 8, 8, 3), np.uint8)
    return images, {"label": generator.integers(0, 3, (steps, batch)).astype(np.int32)}


def _rates(steps: int = _STEPS, rate: float = 0.01) -> np.ndarray:
    return np.full(steps, rate, np.float32)


def _assert_close(left: list[np.ndarray], right: list[np.ndarray]) -> None:
    for one, other in zip(left, right, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


# An odd batch is shared out unequally.
@pytest.mark.parametrize(("optimizer", "batch"), [("sgd", 32), ("adamw", 33), ("lamb", 33)])
def test_two_replicas_take_the_step_of_one_device(optimizer: str, batch: int) -> None:
    one, two = (_trainer(replicas, optimizer) for replicas in (1, 2))
    expected, figures = (trainer.run_steps(*_batches(batch), _rates()) for trainer in (one, two))
    np.testing.assert_allclose(figures.losses, expected.losses, rtol=1e-5)
    np.testing.assert_allclose(figures.gradient_norms, expected.gradient_norms, rtol=1e-5)
    # Clipping was at work, so the norm that it scales by was that of the whole batch.
    assert (expected.gradient_norms > 0.5).any()
    _assert_close(one.state(), two.state())


def test_the_norms_of_micro_batches_are_those_of_one_device() -> None:
    images, targets = _batches(32)
    micro = images.reshape(_STEPS, 2, 16, 8, 8, 3)
    labels = {"label": targets["label"].reshape(_STEPS, 2, 16)}
    one, two = (_trainer(replicas) for replicas in (1, 2))
    expected, figures = (
        MicroBatchSteps(trainer).run(micro, labels, _rates()) for trainer in (one, two)
    )
    for field in dataclasses.fields(expected):
        np.testing.assert_allclose(
            getattr(figures, field.name), getattr(expected, field.name), rtol=1e-3
        )
    _assert_close(one.state(), two.state())


def test_every_copy_of_a_variable_is_restored_and_training_repeats_itself() -> None:
    trainer = _trainer(2, normalised=True)
    trainer.run_steps(*_batches(32), _rates())
    state = trainer.state()
    first = trainer.run_steps(*_batches(32), _rates())
    end = trainer.state()
    trainer.restore(state)
    for variable, value in zip(trainer.model.variables, state, strict=False):
        for copy in variable.value.values:
            np.testing.assert_array_equal(copy.numpy(), value)
    again = trainer.run_steps(*_batches(32), _rates())
    np.testing.assert_array_equal(again.losses, first.losses)
    for left, right in zip(trainer.state(), end, strict=True):
        np.testing.assert_array_equal(left, right)


def test_a_normalised_model_learns_and_its_file_answers_like_it(tmp_path: Path) -> None:
    trainer = _trainer(2, normalised=True)
    images, targets = _batches(32, steps=1)
    steps = 30
    repeated = {"label": np.repeat(targets["label"], steps, axis=0)}
    losses = trainer.run_steps(np.repeat(images, steps, axis=0), repeated, _rates(steps)).losses
    assert losses[-1] < 0.5 * losses[0]
    before = trainer.average_weights([images[0]] * 5)
    logits = trainer.outputs(images[0])
    assert (logits.argmax(axis=1) == targets["label"][0]).mean() > 0.9
    trainer.model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded(images[0].astype(np.float32)), logits, atol=1e-5)
    trainer.set_variables(before)
    for variable, value in zip(trainer.model.variables, before, strict=True):
        np.testing.assert_array_equal(np.array(variable), value)


def test_replicas_draw_their_own_augmentation() -> None:
    images, targets = _batches(16, steps=1)
    still = 0.0  # The weights stay: the losses differ by what was drawn alone.
    one, two = (_trainer(replicas, policy=_RANDOM) for replicas in (1, 2))
    single = one.run_steps(
        np.repeat(images, 4, axis=0),
        {"label": np.repeat(targets["label"], 4, axis=0)},
        _rates(4, still),
    ).losses
    # Rows 2i and 2i + 1 are the same, so both replicas have the batch of the single device.
    doubled = np.repeat(np.repeat(images, 2, axis=1), 2, axis=0)
    labels = np.repeat(np.repeat(targets["label"], 2, axis=1), 2, axis=0)
    both = two.run_steps(doubled, {"label": labels}, _rates(2, still)).losses
    np.testing.assert_allclose(both, single.reshape(2, 2).mean(axis=1), rtol=1e-5)
    assert len(np.unique(single)) == 4
    two.use_policy(IDENTITY)
    plain = two.run_steps(doubled[:1], {"label": labels[:1]}, _rates(1, still)).losses
    assert not np.isclose(plain, both).any()


def test_a_batch_of_fewer_images_than_replicas_is_refused() -> None:
    trainer = _trainer(2)
    images, targets = _batches(1)
    with pytest.raises(ValueError, match="a batch of 1 for 2 replicas"):
        trainer.run_steps(images, targets, _rates())


def test_the_training_stage_runs_on_replicas(
    digits_dir: Path, small_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup, "node_strategy", lambda batch_size: _STRATEGY)
    data = {"class_weights": Setting(None, "test"), "primary_metric": Setting("accuracy", "test")}
    # The average costs thirty batches of statistics at each of twenty evaluations.
    plain = {"ema_momentum": Setting(0.0, "test", source="user")}
    recipe = Recipe().with_settings("data", data).with_settings("training", plain)
    write_recipe(recipe, tmp_path / "recipe.json")
    config = UserChoices(architecture=small_model, epochs=4, batch_size=50)
    summary = train_model(
        digits_dir, tmp_path / "recipe.json", tmp_path / "model", tmp_path / "checkpoints", config
    )
    assert summary.validation["accuracy"] > 0.6
    model = keras.models.load_model(tmp_path / "model" / "model.keras")
    assert not isinstance(model.weights[0].value, tf.distribute.DistributedValues)
