"""Layers that a converter is known to stumble over, through every format and back."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from kfp_vision.components.evaluation.formats import FORMATS, ExportSource

LAYERS = {
    # In EfficientNetV2; its constants are no variables.
    "normalization": lambda: keras.layers.Normalization(mean=[1.0] * 3, variance=[4.0] * 3),
    # In ConvNeXt; TensorFlow computes it by erfc, which tf2onnx does not know.
    "gelu": lambda: keras.layers.Activation("gelu"),
    # In ConvNeXt; a function of its own in the graph.
    "grouped": lambda: keras.layers.Conv2D(6, 3, groups=3),
    # A shape that a converter can freeze at one image.
    "reshape": lambda: keras.layers.Reshape((4, 16, 3)),
    "hard_swish": lambda: keras.layers.Activation("hard_swish"),
    "depthwise": lambda: keras.layers.DepthwiseConv2D(3),
    # Unlike Dropout they change images whenever nobody says that it is inference.
    "random_flip": lambda: keras.layers.RandomFlip(),
    "random_rotation": lambda: keras.layers.RandomRotation(0.2),
    "random_contrast": lambda: keras.layers.RandomContrast(0.5),
    "group_normalization": lambda: keras.layers.GroupNormalization(3),
    "layer_normalization": lambda: keras.layers.LayerNormalization(),
    "resizing": lambda: keras.layers.Resizing(12, 12),
}


@pytest.mark.parametrize("layer", LAYERS)
def test_every_float_format_computes_the_layer(layer, tmp_path):
    keras.utils.set_random_seed(0)
    pixels = keras.Input((8, 8, 3))
    x = keras.layers.Rescaling(1 / 64, offset=-2.0)(pixels)
    x = keras.layers.Flatten()(LAYERS[layer]()(x))
    model = keras.Model(pixels, keras.layers.Dense(3, activation="softmax")(x))
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3)).astype(np.uint8)
    expected = model.predict(images.astype(np.float32), verbose=0)

    source = ExportSource(model, images, tmp_path / FORMATS["saved_model"].path)
    for name in ("keras", "saved_model", "onnx", "tflite"):
        path = tmp_path / FORMATS[name].path
        FORMATS[name].write(source, path)
        infer = FORMATS[name].open(path)
        for batch in (images, images[:1]):
            np.testing.assert_allclose(
                infer(batch), expected[: len(batch)], atol=1e-5, err_msg=f"{layer} in {name}"
            )


def test_a_byte_is_its_pixel_in_int8_though_calibration_images_are_dark(tmp_path):
    pixels = keras.Input((8, 8, 1))
    bright = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(pixels))
    probabilities = keras.layers.Concatenate(name="probabilities")([bright, 1 - bright])
    model = keras.Model(pixels, probabilities)
    calibration = np.random.default_rng(0).integers(0, 100, (20, 8, 8, 1)).astype(np.uint8)
    source = ExportSource(model, calibration, tmp_path / FORMATS["saved_model"].path)
    for name in ("saved_model", "tflite_int8"):
        FORMATS[name].write(source, tmp_path / FORMATS[name].path)
    file = tmp_path / FORMATS["tflite_int8"].path
    (details,) = Interpreter(str(file)).get_input_details()
    assert details["dtype"] == np.uint8
    assert details["quantization"] == (1.0, 0)
    said = FORMATS["tflite_int8"].open(file)(np.full((1, 8, 8, 1), 60, np.uint8))
    np.testing.assert_allclose(said[0], [60 / 255, 1 - 60 / 255], atol=0.01)


def test_files_name_their_only_output(tmp_path):
    pixels = keras.Input((4, 4, 3))
    flat = keras.layers.Flatten()(pixels)
    model = keras.Model(pixels, keras.layers.Dense(2, name="probabilities")(flat))
    calibration = np.zeros((1, 4, 4, 3), np.uint8)
    source = ExportSource(model, calibration, tmp_path / FORMATS["saved_model"].path)
    for name in ("saved_model", "tflite"):
        FORMATS[name].write(source, tmp_path / FORMATS[name].path)
    loaded = tf.saved_model.load(str(source.saved_model))
    signature = loaded.signatures["serving_default"]
    assert list(signature.structured_outputs) == ["probabilities"]
    assert list(loaded.serve(np.zeros((1, 4, 4, 3), np.float32))) == ["probabilities"]
    runner = Interpreter(str(tmp_path / FORMATS["tflite"].path)).get_signature_runner()
    assert list(runner.get_output_details()) == ["probabilities"]


def test_features_that_are_almost_the_same_are_told_apart_in_int8(tmp_path):
    generator = np.random.default_rng(0)
    images = generator.integers(180, 220, (200, 16, 16, 1)).astype(np.uint8)
    weights = generator.normal(size=(256, 2)).astype(np.float32)
    weights[0] = 60
    pixels = keras.Input((16, 16, 1))
    flat = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(pixels))
    logits = keras.layers.Dense(2, name="logits")
    model = keras.Model(pixels, keras.layers.Activation("softmax")(logits(flat)))
    logits.set_weights([weights, -(200 / 255) * weights.sum(0)])
    source = ExportSource(model, images[:50], tmp_path / FORMATS["saved_model"].path)
    for name in ("saved_model", "tflite_int8"):
        FORMATS[name].write(source, tmp_path / FORMATS[name].path)
    said = FORMATS["tflite_int8"].open(tmp_path / FORMATS["tflite_int8"].path)(images)
    expected = model.predict(images.astype(np.float32), verbose=0)
    assert np.mean(said.argmax(1) == expected.argmax(1)) > 0.95
