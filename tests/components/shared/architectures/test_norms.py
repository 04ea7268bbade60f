"""The fused BatchNorm is that of Keras: outputs, gradients, statistics and files."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from kfp_vision.components.shared.architectures.norms import fuse_norms, set_norm_momentum

SHAPE = (6, 5, 4, 7)


def make(shape=SHAPE[1:], dtype="float32", **options):
    """A model of one BatchNorm with weights and statistics drawn at random."""
    norm = layers.BatchNormalization(dtype=dtype, name="norm", **options)
    pixels = keras.Input(shape)
    model = keras.Model(pixels, norm(pixels))
    generator = np.random.default_rng(0)
    norm.set_weights([generator.uniform(0.5, 2, each.shape) for each in norm.get_weights()])
    return model


def images(shape=SHAPE):
    return np.random.default_rng(1).normal(3, 2, shape).astype(np.float32)


def step(model, values, how="eager", training=True):
    """Outputs and gradients of their weighted sum; the statistics change in the model."""
    weights = np.random.default_rng(2).normal(size=values.shape).astype(np.float32)

    def compute(inputs):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = model(inputs, training=training)
            total = tf.reduce_sum(tf.cast(outputs, tf.float32) * weights)
        return [outputs, *tape.gradient(total, [inputs, *model.trainable_weights])]

    ways = {"eager": compute, "graph": tf.function(compute)}
    ways["xla"] = tf.function(compute, jit_compile=True)
    return [np.asarray(each, np.float32) for each in ways[how](tf.constant(values))]


def assert_same(options, how="eager", shape=SHAPE, **tolerances):
    tolerances = {"rtol": 1e-4, "atol": 1e-4, **tolerances}
    expected_model, fused_model = make(shape[1:], **options), make(shape[1:], **options)
    fuse_norms(fused_model)
    expected, found = step(expected_model, images(shape)), step(fused_model, images(shape), how)
    for left, right in itertools.zip_longest(found, expected):
        np.testing.assert_allclose(left, right, **tolerances)
    weights = fused_model.get_weights(), expected_model.get_weights()
    for left, right in zip(*weights, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("how", ["eager", "graph", "xla"])
def test_outputs_gradients_and_statistics_are_those_of_keras(how):
    assert_same({}, how)


@pytest.mark.parametrize(
    "options",
    [
        {"scale": False},
        {"center": False},
        {"momentum": 0.5, "epsilon": 1e-5},
        {"epsilon": 1e-7},
        {"axis": 1},
        {"trainable": False},
    ],
    ids=str,
)
def test_whatever_the_options(options):
    assert_same(options)


@pytest.mark.parametrize("shape", [(1, 1, 1, 3), (2, 1, 1, 3), (6, 7)])
def test_whatever_the_shape(shape):
    assert_same({"epsilon": 1e-2}, shape=shape)


def test_in_bfloat16_the_statistics_are_as_exact():
    model = make(dtype="mixed_bfloat16")
    expected = model(images(), training=True)
    assert expected.dtype == tf.bfloat16
    assert_same({"dtype": "mixed_bfloat16"}, rtol=0.03, atol=0.3)


def test_inference_uses_the_statistics():
    model, expected = make(), make()
    fuse_norms(model)
    for training in (False, None):
        np.testing.assert_array_equal(
            model(images(), training=training), expected(images(), training=training)
        )


def test_it_is_done_in_models_within_models_and_twice_is_once():
    inner = make()
    outer = keras.Sequential([keras.Input(SHAPE[1:]), inner])
    expected = step(make(), images())[0]
    for _ in range(2):
        fuse_norms(outer)
    graph = tf.function(outer).get_concrete_function(tf.TensorSpec(SHAPE), training=True).graph
    assert [each.type for each in graph.get_operations()].count("FusedBatchNormV3") == 1
    np.testing.assert_allclose(outer(images(), training=True), expected, rtol=1e-4, atol=1e-4)


def test_the_file_is_that_of_keras(tmp_path):
    model = make()
    fuse_norms(model)
    set_norm_momentum(model)
    model(images(), training=True)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    assert type(loaded.get_layer("norm")) is layers.BatchNormalization
    assert "call" not in vars(loaded.get_layer("norm"))
    np.testing.assert_array_equal(loaded(images()), model(images()))
