"""Layers that a converter is known to stumble over, through every format and back."""

import keras
import numpy as np
import pytest

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
