import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from kfp_vision.components.shared.architectures.separable import choose_strides
from kfp_vision.components.shared.architectures.zoo import (
    ARCHITECTURES,
    build_model,
    choose_input,
)
from kfp_vision.components.shared.recipe import hyperparameters
from kfp_vision.components.shared.recipe.document import Recipe
from kfp_vision.components.shared.tasks import get_task
from kfp_vision.components.shared.training.trainer import Trainer

# Those with weights of ImageNet are the same networks; their weights are tested elsewhere.
NETWORKS = sorted(name for name in ARCHITECTURES if not name.endswith("_imagenet"))
# The same code as a smaller one of their family.
LARGER = ("efficientnet_lite1", "efficientnet_lite2", "mobilenet_v3_large")
EACH = [pytest.param(name, marks=pytest.mark.slow if name in LARGER else ()) for name in NETWORKS]
TASK = get_task("multiclass")
SHAPE = (33, 60, 1)


@functools.cache
def network(name: str) -> keras.Model:
    keras.utils.set_random_seed(0)
    return build_model(name, TASK, SHAPE, 10)


def batch(shape: tuple[int, ...], size: int = 8) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (size, *shape)).astype(np.float32)
    return pixels, generator.integers(0, 10, size)


@pytest.mark.parametrize("name", EACH)
def test_an_untrained_network_knows_nothing(name):
    pixels, labels = batch(SHAPE)
    logits = network(name)(pixels, training=True)
    loss = float(np.mean(TASK.loss({"label": labels}, logits)))
    assert logits.shape == (8, 10)
    assert loss == pytest.approx(np.log(10), abs=1.5)


@pytest.mark.parametrize("name", EACH)
def test_the_gradient_reaches_every_weight(name):
    pixels, labels = batch(SHAPE)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(TASK.loss({"label": labels}, network(name)(pixels, training=True)))
    weights = network(name).trainable_variables
    gradients = tape.gradient(loss, [weight.value for weight in weights])
    dead = [
        weight.path
        for weight, gradient in zip(weights, gradients, strict=True)
        if gradient is None or not np.any(gradient.numpy())
    ]
    assert dead == []


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_trains_in_the_compiled_step(name):
    settings = hyperparameters.from_recipe(hyperparameters.resolve(Recipe(), {}, 1000))
    trainer = Trainer(build_model(name, TASK, (32, 32, 3), 10), TASK, settings)
    pixels, labels = batch((32, 32, 3))
    images, targets = np.stack([pixels.astype(np.uint8)] * 8), np.stack([labels] * 8)
    losses = trainer.run_steps(images, {"label": targets}, np.full(8, 1e-3, np.float32)).losses
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", EACH)
def test_a_saved_network_loads_in_safe_mode_and_is_the_same(name, tmp_path):
    pixels, _ = batch(SHAPE, 2)
    network(name).save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(loaded(pixels), network(name)(pixels))


@pytest.mark.parametrize("name", EACH)
def test_every_batch_norm_has_the_short_memory(name):
    norms = [
        layer
        for layer in network(name)._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    assert {layer.momentum for layer in norms} <= {0.9}


@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (33, 33, 3), (60, 60, 3), (128, 96, 3)])
@pytest.mark.parametrize("name", ["separable", "resnet20", "resnet_rs_18"])
def test_the_feature_map_is_neither_a_point_nor_the_image(name, shape):
    features = build_model(name, TASK, shape, 2).get_layer("pool").input
    height, width = features.shape[1:3]
    assert min(height, width) >= min(4, shape[0] // 8)
    assert height <= max(8, -(-shape[0] // 4))
    assert width <= max(8, -(-shape[1] // 4))


@pytest.mark.parametrize("short_side", [8, 9, 16, 28, 32, 33, 64, 65, 128, 224, 300, 1024])
def test_strides_end_between_four_and_eight(short_side):
    remaining = short_side
    for stride in choose_strides(short_side):
        remaining = -(-remaining // stride)
    assert 4 <= remaining <= 8


@pytest.mark.parametrize(
    ("architecture", "median", "expected"),
    [
        ("auto", (28, 28, 1), ("separable", 28, 28)),
        ("auto", (300, 300, 1), ("separable", 128, 128)),
        ("auto", (240, 320, 3), ("separable", 111, 148)),
        ("auto", (4, 4, 3), ("separable", 8, 8)),
        ("resnet20", (300, 300, 3), ("resnet20", 64, 64)),
        ("mobilenet_v2", (28, 28, 1), ("mobilenet_v2", 32, 32)),
        ("efficientnet_lite0_imagenet", (500, 500, 3), ("efficientnet_lite0_imagenet", 224, 224)),
    ],
)
def test_the_size_follows_the_data(architecture, median, expected):
    assert choose_input(architecture, *median) == expected


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "efficientnet_lite0"])
def test_gray_is_the_rgb_image_with_equal_channels(name):
    gray, _ = batch((33, 60, 1), 2)
    in_color = build_model(name, TASK, (33, 60, 3), 10)
    in_color.set_weights(network(name).get_weights())
    np.testing.assert_allclose(
        network(name)(gray), in_color(np.repeat(gray, 3, axis=-1)), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"architecture": "resnet2"}, "Did you mean: .*resnet20"),
        ({"architecture": "vgg"}, "Did you mean: .*separable"),
        ({"architecture": "mobilenet_v2", "image_shape": (28, 28, 1)}, "at least 32.*28, 28"),
        ({"architecture": "mobilenet_v2", "stochastic_depth": 0.1}, "It works with: .*resnet20"),
    ],
)
def test_what_cannot_be_built_says_what_can(kwargs, message):
    arguments = {"architecture": "separable", "image_shape": (32, 32, 1), **kwargs}
    with pytest.raises(ValueError, match=message):
        build_model(task=TASK, num_classes=10, **arguments)
