"""Learning rates that fall towards the first layer."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kfp_vision.components.shared.recipe.hyperparameters import Hyperparameters
from kfp_vision.components.shared.training.optimizer import build_optimizer, layer_rates

SETTINGS = Hyperparameters(
    optimizer="adamw",
    batch_size=2,
    learning_rate=0.1,
    steps=4,
    warmup_steps=0,
    weight_decay=0.0,
    clip_norm=0.0,
    label_smoothing=0.0,
    ema_momentum=0.0,
    dropout=0.0,
    stochastic_depth=0.0,
    first_layer_rate=0.01,
    steps_per_call=1,
    jit_compile=False,
    precision="float32",
)


def three_layers() -> keras.Model:
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((4,)), *(keras.layers.Dense(4) for _ in range(3))])


def test_rates_are_geometric_and_the_weights_of_a_layer_share_one():
    rates = layer_rates(three_layers().trainable_weights, 0.01)
    np.testing.assert_allclose(rates, [0.01, 0.01, 0.1, 0.1, 1.0, 1.0])


def test_a_single_layer_learns_at_the_whole_rate():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4)])
    assert layer_rates(model.trainable_weights, 0.01) == [0.01, 0.01]


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "lamb"])
def test_every_layer_moves_by_its_rate(optimizer):
    """Gradients of ones move a layer as far as its rate says, whatever the optimizer."""

    def moved(first_layer_rate: float) -> list[np.ndarray]:
        model = three_layers()
        settings = {**vars(SETTINGS), "optimizer": optimizer, "first_layer_rate": first_layer_rate}
        built = build_optimizer(model, Hyperparameters(**settings))
        before = [np.array(weight) for weight in model.trainable_weights]
        built.learning_rate.assign(0.1)
        built.apply([tf.ones_like(weight) for weight in model.trainable_weights])
        after = [np.array(weight) for weight in model.trainable_weights]
        return [new - old for new, old in zip(after, before, strict=True)]

    rates = (0.01, 0.01, 0.1, 0.1, 1.0, 1.0)
    for scaled, plain, rate in zip(moved(0.01), moved(1.0), rates, strict=True):
        np.testing.assert_allclose(scaled, rate * plain, rtol=1e-3, atol=1e-9)
        assert np.abs(plain).max() > 0
