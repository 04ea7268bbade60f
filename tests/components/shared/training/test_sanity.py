"""When one batch stops a training, when it only warns, and what it says."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from kfp_vision.components.shared.augmentation.policy import Mixing, Operation, Policy
from kfp_vision.components.shared.recipe import hyperparameters
from kfp_vision.components.shared.recipe.document import Recipe
from kfp_vision.components.shared.tasks import get_task
from kfp_vision.components.shared.training.sanity import (
    DivergenceError,
    MemorizationError,
    NotFiniteError,
    RateTooHighError,
    check_one_batch,
    describe_check,
    failure_reason,
)
from kfp_vision.components.shared.training.trainer import Trainer

_DEFAULTS = hyperparameters.from_recipe(hyperparameters.resolve(Recipe(), {}, 1000))
_TASK = get_task("multiclass")
_STRONG = Policy(
    always=(Operation("invert", 1.0, 1.0), Operation("rotate", 1.0, 1.0)),
    mixing=Mixing(mixup_probability=1.0, mixup_alpha=1.0),
)


def _model(body: Sequence[layers.Layer] = (), **head: Any) -> keras.Model:
    keras.utils.set_random_seed(0)
    scale = layers.Rescaling(1 / 127.5, offset=-1)
    end = [layers.Flatten(), layers.Dense(3, name="logits", **head)]
    return keras.Sequential([keras.Input((4, 4, 1)), scale, *body, *end])


def _trainer(
    model: keras.Model | None = None, policy: Policy | None = None, **changes: Any
) -> Trainer:
    settings = dataclasses.replace(_DEFAULTS, **changes)
    return Trainer(model or _model(), _TASK, settings, policy=policy)


def _batch() -> tuple[np.ndarray, dict[str, np.ndarray]]:
    images = np.random.default_rng(0).integers(0, 256, (12, 4, 4, 1)).astype(np.uint8)
    return images, {"label": (np.arange(12) % 3).astype(np.int32)}


def _check(trainer: Trainer, rate: float = 0.05) -> dict[str, float]:
    return check_one_batch(trainer, *_batch(), rate, np.log(3))


@pytest.fixture(scope="module")
def strong() -> Trainer:
    """A trainer with all that a check leaves out; compiling its augmentation takes seconds."""
    return _trainer(policy=_STRONG, label_smoothing=0.5, weight_decay=0.5)


def test_a_batch_is_learned_by_heart_and_the_trainer_put_back(strong: Trainer) -> None:
    trainer, before = strong, strong.state()
    assert trainer._policy is not None
    changed = [trainer._label_smoothing, trainer.optimizer.weight_decay, *trainer._policy.values()]
    values = [np.array(variable) for variable in changed]
    checks = _check(trainer)
    assert checks["overfit_loss"] < 0.5 * checks["initial_loss"]
    assert describe_check(trainer, checks) == []
    for left, right in zip(before, trainer.state(), strict=True):
        np.testing.assert_array_equal(left, right)
    for variable, value in zip(changed, values, strict=True):
        np.testing.assert_array_equal(np.array(variable), value)


@pytest.mark.parametrize(("copies", "steps"), [(1, 96), (342, 32)])
def test_a_large_batch_is_checked_in_fewer_steps(copies: int, steps: int) -> None:
    images, targets = _batch()
    many = {name: np.tile(value, copies) for name, value in targets.items()}
    checks = check_one_batch(_trainer(), np.tile(images, (copies, 1, 1, 1)), many, 1e-3, np.log(3))
    assert checks["overfit_steps"] == steps


def test_augmentation_smoothing_and_decay_have_no_part_in_it(strong: Trainer) -> None:
    plain = _check(_trainer(label_smoothing=0.0, weight_decay=0.0))
    checks = _check(strong)
    for name in ("initial_loss", "overfit_loss", "overfit_steps"):
        assert checks[name] == pytest.approx(plain[name], rel=1e-3)


def test_dropout_does_not_hide_what_was_learned() -> None:
    trainer = _trainer(_model([layers.Dropout(0.7)]))
    checks = _check(trainer)
    assert checks["overfit_loss"] < 0.5 * checks["initial_loss"]


def test_a_penalty_of_the_model_is_no_loss_of_the_images() -> None:
    checks = _check(_trainer(_model(kernel_regularizer=keras.regularizers.L2(10.0))), rate=1e-3)
    plain = _check(_trainer(), rate=1e-3)
    assert checks["initial_loss"] == pytest.approx(plain["initial_loss"], rel=1e-5)


def test_a_loss_that_starts_to_fall_late_gets_more_steps() -> None:
    # Too little in 96 steps to be told from none.
    trainer = _trainer(optimizer="sgd", clip_norm=0.0)
    checks = _check(trainer, rate=1e-5)
    assert checks["overfit_steps"] == 384
    assert len(describe_check(trainer, checks)) == 1


def test_a_loss_that_falls_without_halving_warns_and_goes_on() -> None:
    trainer = _trainer()
    checks = _check(trainer, rate=2e-3)
    assert 0.5 < checks["overfit_loss"] / checks["initial_loss"] < 0.98
    (warning,) = describe_check(trainer, checks)
    assert f"to {checks['overfit_loss']:.3g} only, in 96 steps" in warning


@pytest.mark.parametrize(
    ("rate", "kind", "advice"),
    [
        (1e-6, MemorizationError, "nor at 1e-07 or 1e-05"),
        (
            2.5e-6,
            MemorizationError,
            "at 2.5e-05 it falls to .* higher `learning_rate`, such as 2.5e-05",
        ),
        (1.0, RateTooHighError, "at 0.1 it falls to .* lower `learning_rate`, such as 0.1"),
        (1e4, RateTooHighError, "lower `learning_rate`"),
        (1e8, RateTooHighError, "lower `learning_rate`"),
    ],
)
def test_the_rate_is_blamed_where_another_one_was_seen_to_work(
    rate: float, kind: type, advice: str
) -> None:
    # Depth is what a high rate breaks: a linear model settles at any.
    body = [layers.Dense(16, activation="relu") for _ in range(2 if rate > 0.01 else 0)]
    trainer = _trainer(_model(body), optimizer="sgd", clip_norm=0.0)
    with pytest.raises(MemorizationError, match=f"by heart.*{advice}") as raised:
        _check(trainer, rate=rate)
    assert type(raised.value) is kind


def _frozen() -> keras.Model:
    model = _model([layers.Dense(2, kernel_initializer="zeros")])
    model.layers[1].trainable = False
    return model


def _dead() -> keras.Model:
    return _model([layers.Dense(4, activation="relu", bias_initializer=_far_below)])


def _far_below(shape: Any, dtype: Any) -> Any:
    return keras.ops.full(shape, -1e6, dtype)


@pytest.mark.parametrize(
    ("model", "cause"),
    [(_frozen, "The network is frozen.*trainable = True"), (_dead, "dead activations")],
)
def test_what_no_rate_mends_is_named(model: Any, cause: str) -> None:
    with pytest.raises(MemorizationError, match=cause) as raised:
        _check(_trainer(model()))
    assert type(raised.value) is MemorizationError


def test_frequencies_of_the_labels_are_not_learning() -> None:
    images, labels = _batch()[0], (np.arange(12) % 4 == 0).astype(np.int32)
    with pytest.raises(MemorizationError, match="dead activations"):
        check_one_batch(_trainer(_dead()), images, {"label": labels}, 0.3, np.log(3))


def test_images_that_are_all_alike_are_named() -> None:
    images, targets = np.full((12, 4, 4, 1), 128, np.uint8), _batch()[1]
    with pytest.raises(ValueError, match="learn one batch by heart.*all alike"):
        check_one_batch(_trainer(), images, targets, 0.05, np.log(3))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "It does not fit into memory."),
        (MemoryError("Unable to allocate 3 GiB\nfor an array"), "Unable to allocate 3 GiB."),
        (
            tf.errors.ResourceExhaustedError(None, None, "Graph execution error:\n\nOOM"),
            "It does not fit into memory.",
        ),
        (DivergenceError("The loss is NaN. Lower `learning_rate`."), None),
        (DivergenceError(), "DivergenceError."),
    ],
)
def test_a_failure_is_told_in_a_sentence(error: Exception, said: str | None) -> None:
    assert failure_reason(error) == (said or str(error))


def test_a_frozen_network_that_helps_its_head_is_named_and_trained() -> None:
    model = _model([layers.Dense(8, activation="relu")])
    model.layers[1].trainable = False
    trainer = _trainer(model)
    assert any("frozen" in warning for warning in describe_check(trainer, _check(trainer)))


def test_a_model_that_is_nan_from_the_start_is_named() -> None:
    model = _model()
    model.trainable_weights[0].assign(np.full((16, 3), np.nan))
    with pytest.raises(NotFiniteError, match="untrained model must be finite"):
        _check(_trainer(model))
