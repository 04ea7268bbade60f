"""One optimizer step against its closed form."""

import dataclasses
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from kfp_vision.components.batch_size_probe.micro_batches import MicroBatchSteps
from kfp_vision.components.shared.augmentation.policy import (
    IDENTITY,
    Mixing,
    Operation,
    Policy,
)
from kfp_vision.components.shared.recipe import hyperparameters
from kfp_vision.components.shared.recipe.document import Recipe
from kfp_vision.components.shared.recipe.hyperparameters import Hyperparameters
from kfp_vision.components.shared.recipe.training_values import OPTIMIZERS
from kfp_vision.components.shared.tasks import get_task
from kfp_vision.components.shared.training.trainer import Trainer

_DEFAULTS = hyperparameters.from_recipe(hyperparameters.resolve(Recipe(), {}, 1000))


def _settings(**changes: Any) -> Hyperparameters:
    off = dict.fromkeys(("weight_decay", "clip_norm", "label_smoothing", "ema_momentum"), 0.0)
    return dataclasses.replace(_DEFAULTS, **{**off, "optimizer": "sgd", **changes})


def _linear_model() -> keras.Model:
    pixels = keras.Input((2, 2, 1))
    flat = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(pixels))
    return keras.Model(pixels, keras.layers.Dense(3)(flat))


def _batch(steps: int = 1) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (steps, 16, 2, 2, 1), np.uint8)
    return images, {"label": generator.integers(0, 3, (steps, 16)).astype(np.int32)}


def _gradients(kernel: np.ndarray, bias: np.ndarray, images: np.ndarray, labels: np.ndarray):
    """Mean cross-entropy of a linear softmax model: dL/dz = p - y."""
    x = images.reshape(len(images), -1) / 255.0
    z = x @ kernel + bias
    p = np.exp(z - z.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    residual = (p - np.eye(3)[labels]) / len(x)
    return x.T @ residual, residual.sum(axis=0), -np.log(p[np.arange(len(x)), labels]).mean()


def _run(settings: Hyperparameters, rate: float = 0.5, jit_compile: bool = False):
    model = _linear_model()
    settings = dataclasses.replace(settings, jit_compile=jit_compile)
    trainer = Trainer(model, get_task("multiclass"), settings)
    kernel, bias = (np.array(weight) for weight in model.trainable_weights)
    images, targets = _batch()
    figures = trainer.run_steps(images, targets, np.array([rate], np.float32))
    gradients = _gradients(kernel, bias, images[0], targets["label"][0])
    return trainer, figures, (kernel, bias), gradients


@pytest.mark.parametrize("jit_compile", [False, True])
def test_loss_norm_and_first_step_of_momentum_sgd(jit_compile: bool) -> None:
    trainer, figures, (kernel, bias), (dkernel, dbias, loss) = _run(
        _settings(), jit_compile=jit_compile
    )
    np.testing.assert_allclose(figures.losses, [loss], rtol=1e-5)
    norm = np.sqrt((dkernel**2).sum() + (dbias**2).sum())
    np.testing.assert_allclose(figures.gradient_norms, [norm], rtol=1e-5)
    # Nesterov: the first step is (1 + momentum) times plain SGD's.
    after = [np.array(weight) for weight in trainer.model.trainable_weights]
    np.testing.assert_allclose(after[0], kernel - 0.5 * 1.9 * dkernel, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(after[1], bias - 0.5 * 1.9 * dbias, rtol=1e-4, atol=1e-6)


def test_clipping_scales_the_whole_gradient_to_the_norm() -> None:
    trainer, figures, (kernel, _), (dkernel, _, _) = _run(_settings(clip_norm=0.01))
    scale = 0.01 / figures.gradient_norms[0]
    assert scale < 1
    after = np.array(trainer.model.trainable_weights[0])
    np.testing.assert_allclose(after, kernel - 0.5 * 1.9 * scale * dkernel, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_weight_decay_is_decoupled_and_spares_biases(optimizer: str) -> None:
    before, after = [], []
    for decay in (0.0, 0.1):
        keras.utils.set_random_seed(0)
        settings = _settings(optimizer=optimizer, weight_decay=decay)
        trainer, _, weights, _ = _run(settings)
        before.append(weights)
        after.append([np.array(weight) for weight in trainer.model.trainable_weights])
    kernel, bias = before[0]
    # theta <- theta - rate * decay * theta, before the step of the gradient, and nothing else.
    if optimizer != "lamb":  # LAMB's step is scaled by the norm of what it decays.
        np.testing.assert_allclose(after[0][0] - after[1][0], 0.5 * 0.1 * kernel, atol=1e-6)
    assert np.abs(after[1][0]).sum() < np.abs(after[0][0]).sum()
    np.testing.assert_allclose(after[0][1], after[1][1], atol=1e-6)


def test_moving_average_follows_its_recursion() -> None:
    settings = _settings(ema_momentum=0.5)
    model = _linear_model()
    trainer = Trainer(model, get_task("multiclass"), settings)
    average = np.array(model.trainable_weights[0])
    for step in range(5):
        images, targets = _batch()
        trainer.run_steps(images, targets, np.array([0.1], np.float32))
        momentum = min(0.5, (2 + step) / (11 + step))
        average = momentum * average + (1 - momentum) * np.array(model.trainable_weights[0])
    weights = np.array(model.trainable_weights[0])
    before = trainer.average_weights([])
    np.testing.assert_allclose(np.array(model.trainable_weights[0]), average, rtol=1e-5)
    trainer.set_variables(before)
    np.testing.assert_array_equal(np.array(model.trainable_weights[0]), weights)


def test_one_call_of_k_steps_is_k_calls_of_one() -> None:
    images, targets = _batch(4)
    rates = np.array([0.1, 0.2, 0.3, 0.4], np.float32)
    states = []
    for sizes in ([4], [1, 1, 1, 1], [3, 1]):
        keras.utils.set_random_seed(0)
        trainer = Trainer(_linear_model(), get_task("multiclass"), _settings(optimizer="adamw"))
        start = 0
        for size in sizes:
            part = slice(start, start + size)
            trainer.run_steps(images[part], {"label": targets["label"][part]}, rates[part])
            start += size
        states.append(trainer.state())
    for other in states[1:]:
        for left, right in zip(states[0], other, strict=True):
            np.testing.assert_array_equal(left, right)


def test_chunks_and_batches_of_any_length_share_one_trace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    traces = 0
    run_steps = Trainer._run_steps

    def counted(*args: Any) -> Any:
        nonlocal traces
        traces += 1
        return run_steps(*args)

    monkeypatch.setattr(Trainer, "_run_steps", counted)
    trainer = Trainer(_linear_model(), get_task("multiclass"), _settings())
    for steps, batch in ((4, 16), (3, 16), (2, 8), (5, 8), (1, 4), (7, 16)):
        images, targets = _batch(steps)
        labels = {"label": targets["label"][:, :batch]}
        trainer.run_steps(images[:, :batch], labels, np.full(steps, 0.1, np.float32))
    assert traces == 1


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_accumulated_micro_batches_are_one_step_and_their_norms_are_exact(optimizer: str) -> None:
    settings = _settings(optimizer=optimizer)
    trainer, whole, (kernel, bias), _ = _run(settings)
    expected = trainer.state()
    images, targets = _batch()
    labels = targets["label"][0]
    accumulated = Trainer(_linear_model(), get_task("multiclass"), settings)
    for variable, value in zip(accumulated.model.trainable_weights, (kernel, bias), strict=True):
        variable.assign(value)
    figures = MicroBatchSteps(accumulated).run(
        images.reshape(1, 4, 4, 2, 2, 1),
        {"label": labels.reshape(1, 4, 4)},
        np.array([0.5], np.float32),
    )
    for left, right in zip(expected, accumulated.state(), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(figures.losses, whole.losses, rtol=1e-5)
    np.testing.assert_allclose(figures.sq_norms, whole.gradient_norms**2, rtol=1e-4)
    for micro in range(4):
        rows = slice(4 * micro, 4 * micro + 4)
        dkernel, dbias, _ = _gradients(kernel, bias, images[0][rows], labels[rows])
        sq_norm = (dkernel**2).sum() + (dbias**2).sum()
        np.testing.assert_allclose(figures.micro_sq_norms[0, micro], sq_norm, rtol=1e-4)
    if optimizer == "sgd":
        np.testing.assert_array_equal(figures.scaled_micro_sq_norms, figures.micro_sq_norms)


def _with_policy(policy: Policy | None, **changes: Any) -> tuple[Trainer, np.ndarray]:
    keras.utils.set_random_seed(0)
    trainer = Trainer(_linear_model(), get_task("multiclass"), _settings(**changes), policy=policy)
    images, targets = _batch(4)
    return trainer, trainer.run_steps(images, targets, np.full(4, 0.1, np.float32)).losses


def test_the_identity_policy_changes_nothing_and_another_one_needs_no_trace() -> None:
    _, plain = _with_policy(None)
    trainer, identity = _with_policy(IDENTITY)
    np.testing.assert_allclose(identity, plain, rtol=1e-6)
    compiled: Any
    (compiled,) = trainer._run._compiled.values()
    mirror = Policy(always=(Operation("horizontal_flip", 1.0, 1.0),))
    trainer.use_policy(mirror)
    images, targets = _batch(4)
    changed = trainer.run_steps(images, targets, np.full(4, 0.1, np.float32)).losses
    assert not np.allclose(changed, plain)
    assert compiled.experimental_get_tracing_count() == 1
    with pytest.raises(ValueError, match="made with a policy"):
        _with_policy(None)[0].use_policy(mirror)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "lamb"])
@pytest.mark.parametrize("changes", [{"label_smoothing": 0.2}, {"weight_decay": 0.5}])
def test_regularisation_changed_later_is_that_of_a_trainer_made_with_it(
    optimizer: str, changes: dict[str, float]
) -> None:
    made, expected = _with_policy(None, optimizer=optimizer, **changes)
    changed, plain = _with_policy(None, optimizer=optimizer)
    settings = _settings(optimizer=optimizer, **changes)
    images, targets = _batch(4)
    keras.utils.set_random_seed(0)
    fresh = Trainer(_linear_model(), get_task("multiclass"), _settings(optimizer=optimizer))
    fresh.regularise(settings.label_smoothing, settings.weight_decay)
    losses = fresh.run_steps(images, targets, np.full(4, 0.1, np.float32)).losses
    np.testing.assert_allclose(losses, expected, rtol=1e-6)
    for value, other in zip(fresh.model_variables(), made.model_variables(), strict=True):
        np.testing.assert_allclose(value, other, rtol=1e-6)
    pairs = zip(changed.model_variables(), made.model_variables(), strict=True)
    assert not all(np.allclose(value, other) for value, other in pairs)
    assert len(plain) == len(losses)


def test_the_loss_of_mixed_images_weighs_both_labels() -> None:
    half = Policy(mixing=Mixing(mixup_probability=1.0, mixup_alpha=1e4))
    keras.utils.set_random_seed(0)
    trainer = Trainer(_linear_model(), get_task("multiclass"), _settings(), policy=half)
    for weight in trainer.model.trainable_weights:
        weight.assign(tf.zeros_like(weight))
    images, targets = _batch()
    loss = trainer.run_steps(images, targets, np.zeros(1, np.float32)).losses
    # A model that knows nothing has ln 3 whatever the labels; a biased one shows both.
    np.testing.assert_allclose(loss, np.log(3), rtol=1e-6)
    bias = np.array([2.0, 0.0, -1.0], np.float32)
    trainer.model.trainable_weights[1].assign(bias)
    loss = trainer.run_steps(images, targets, np.zeros(1, np.float32)).losses
    log_p = bias - np.log(np.exp(bias).sum())
    # Everybody is the partner of somebody: the mean over the batch is that of its labels.
    np.testing.assert_allclose(loss, -log_p[targets["label"][0]].mean(), rtol=1e-2)


def test_class_weights_scale_the_loss_of_their_class() -> None:
    task = get_task("multiclass")
    logits = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    targets = {"label": np.array([0, 1, 2, 0, 1, 2], np.int32)}
    plain = np.asarray(task.loss(targets, tf.constant(logits)))
    weights = tf.constant([1.0, 2.0, 0.5])
    weighted = np.asarray(task.loss(targets, tf.constant(logits), class_weights=weights))
    np.testing.assert_allclose(weighted, plain * [1, 2, 0.5, 1, 2, 0.5], rtol=1e-6)


def test_settled_statistics_are_the_means_over_the_batches() -> None:
    pixels = keras.Input((2, 2, 1))
    norm = keras.layers.BatchNormalization(momentum=0.9)
    # One BatchNorm at the top and one in a model within.
    inner = keras.Sequential([keras.Input((2, 2, 1)), keras.layers.BatchNormalization()])
    flat = keras.layers.Flatten()(inner(norm(pixels)))
    model = keras.Model(pixels, keras.layers.Dense(3)(flat))
    trainer = Trainer(model, get_task("multiclass"), _settings())
    inner.layers[0].moving_mean.assign([5.0])
    inner.layers[0].moving_variance.assign([9.0])
    batches, _ = _batch(steps=3)
    trainer.recalibrate_batch_norm(batches)
    images = batches.astype(np.float64).reshape(3, -1)
    np.testing.assert_allclose(norm.moving_mean, [images.mean(1).mean()], rtol=1e-5)
    np.testing.assert_allclose(norm.moving_variance, [images.var(1).mean()], rtol=1e-4)
    np.testing.assert_allclose(inner.layers[0].moving_mean, [0.0], atol=1e-4)
    np.testing.assert_allclose(inner.layers[0].moving_variance, [1.0], rtol=1e-2)
    assert (norm.momentum, inner.layers[0].momentum) == (0.9, 0.99)
