"""Small models as people bring them: each a function of nothing, for three classes unless named."""

from collections.abc import Callable
from typing import Any

import keras
from keras import layers

SIDE = 32
IMAGE = (SIDE, SIDE, 3)
POOL = layers.GlobalAveragePooling2D


def _sequential(
    *end: layers.Layer, shape: tuple[int | None, ...] = IMAGE, start: tuple[Any, ...] = ()
) -> keras.Model:
    scale = start or (layers.Rescaling(1 / 255),)
    body = [layers.Conv2D(8, 3, strides=2, activation="relu"), layers.MaxPooling2D()]
    return keras.Sequential([keras.Input(shape), *scale, *body, *end])


def _skip() -> keras.Model:
    pixels = keras.Input(IMAGE, name="image")
    x = layers.Conv2D(8, 3, padding="same")(pixels / 127.5 - 1.0)
    x = layers.Add()([x, layers.Conv2D(8, 3, padding="same")(layers.ReLU()(x))])
    return keras.Model({"image": pixels}, layers.Dense(3, activation="softmax")(POOL()(x)))


def _nested(head: list[layers.Layer]) -> keras.Model:
    backbone = keras.Sequential([keras.Input(IMAGE), layers.Conv2D(8, 3, 2), layers.ReLU()])
    pixels = keras.Input(IMAGE)
    return keras.Model(pixels, keras.Sequential(head)(backbone(layers.Rescaling(1 / 255)(pixels))))


def _application(**arguments: Any) -> keras.Model:
    pixels = keras.Input(IMAGE)
    x = keras.applications.mobilenet_v2.preprocess_input(pixels)
    network = keras.applications.MobileNetV2(
        input_shape=IMAGE, alpha=0.35, weights=None, **arguments
    )
    return keras.Model(pixels, network(x))


def _frozen() -> keras.Model:
    backbone = keras.Sequential([keras.Input(IMAGE), layers.Conv2D(8, 3, 2), layers.ReLU()])
    backbone.trainable = False
    return keras.Sequential(
        [
            keras.Input(IMAGE),
            layers.Rescaling(1 / 255),
            backbone,
            POOL(),
            layers.Dense(3, activation="softmax"),
        ]
    )


def _transformer() -> keras.Model:
    pixels = keras.Input(IMAGE)
    x = layers.Conv2D(16, 8, strides=8)(layers.Rescaling(1 / 255)(pixels))
    x = layers.Reshape((16, 16))(x)
    y = layers.LayerNormalization()(x)
    x = layers.Add()([x, layers.MultiHeadAttention(2, 8)(y, y)])
    x = layers.Add()([x, layers.Dense(16, activation="gelu")(layers.LayerNormalization()(x))])
    return keras.Model(pixels, layers.Dense(3)(layers.GlobalAveragePooling1D()(x)))


def _class_maps() -> list[layers.Layer]:
    ends = [layers.Dropout(0.1), layers.Conv2D(7, 1), layers.Reshape((7,)), layers.Softmax()]
    return [layers.GlobalAveragePooling2D(keepdims=True), *ends]


def _separable() -> keras.Model:
    return _sequential(
        layers.SeparableConv2D(8, 3), layers.BatchNormalization(), layers.ReLU(), POOL()
    )


def _compiled() -> keras.Model:
    model = _sequential(POOL(), layers.Dense(3, activation="softmax"))

    def own_loss(truth: Any, answer: Any) -> Any:
        return keras.ops.mean(keras.ops.square(truth - answer))

    model.compile("adam", own_loss)
    model.optimizer.build(model.trainable_variables)
    return model


def _in_policy(policy: str) -> keras.Model:
    keras.config.set_dtype_policy(policy)
    try:
        return _sequential(
            layers.BatchNormalization(), POOL(), layers.Dense(3, activation="softmax")
        )
    finally:
        keras.config.set_dtype_policy("float32")


def _operation_softmax() -> keras.Model:
    pixels = keras.Input(IMAGE)
    x = POOL()(layers.Conv2D(8, 3, activation="relu")(layers.Rescaling(1 / 255)(pixels)))
    return keras.Model(pixels, keras.ops.softmax(layers.Dense(3)(x)))


def _exported() -> keras.Model:
    """As `kfp-vision` itself publishes one: a temperature before the softmax."""
    logits = [POOL(), layers.Dense(3), layers.Rescaling(1 / 1.7), layers.Activation("softmax")]
    return _sequential(*logits)


def _of_one_batch() -> keras.Model:
    pixels = keras.Input(batch_shape=(12, *IMAGE))
    x = POOL()(layers.Conv2D(8, 3, activation="relu")(layers.Rescaling(1 / 255)(pixels)))
    return keras.Model(pixels, layers.Dense(3)(x))


def _of_bytes() -> keras.Model:
    pixels = keras.Input(IMAGE, dtype="uint8")
    x = POOL()(layers.Conv2D(8, 3, activation="relu")(layers.Rescaling(1 / 255)(pixels)))
    return keras.Model(pixels, layers.Dense(3)(x))


def _by_name() -> keras.Model:
    pixels = keras.Input(IMAGE)
    x = POOL()(layers.Conv2D(8, 3, activation="relu")(layers.Rescaling(1 / 255)(pixels)))
    return keras.Model([pixels], {"answer": layers.Dense(3)(x)})


def _adapted() -> keras.Model:
    normalisation = layers.Normalization(mean=[120.0] * 3, variance=[3600.0] * 3)
    return _sequential(POOL(), layers.Dense(3), start=(normalisation,))


# What becomes an own head for three classes, less softmax or sigmoid.
WITH_HEAD: dict[str, Callable[[], keras.Model]] = {
    "softmax in the layer": lambda: _sequential(POOL(), layers.Dense(3, activation="softmax")),
    "softmax as an activation": lambda: _sequential(
        POOL(), layers.Dense(3), layers.Activation("softmax")
    ),
    "softmax as a layer": lambda: _sequential(POOL(), layers.Dense(3), layers.Softmax()),
    "softmax as an operation": _operation_softmax,
    "sigmoid, one a class": lambda: _sequential(POOL(), layers.Dense(3, activation="sigmoid")),
    "logits": lambda: _sequential(POOL(), layers.Dense(3, name="logits")),
    "flatten and dense": lambda: _sequential(
        layers.Flatten(), layers.Dense(16, activation="relu"), layers.Dense(3, activation="softmax")
    ),
    "dropout": lambda: _sequential(
        POOL(), layers.Dense(16, activation="relu"), layers.Dropout(0.5), layers.Dense(3)
    ),
    "batch normalisation": lambda: _sequential(
        layers.BatchNormalization(), POOL(), layers.Dense(3)
    ),
    "global maximum": lambda: _sequential(layers.GlobalMaxPooling2D(), layers.Dense(3)),
    "no scaling of its own": lambda: _sequential(
        POOL(), layers.Dense(3), start=(layers.BatchNormalization(),)
    ),
    "its own augmentation": lambda: _sequential(
        POOL(),
        layers.Dense(3),
        start=(
            layers.RandomFlip("horizontal"),
            layers.RandomRotation(0.1),
            layers.Rescaling(1 / 255),
        ),
    ),
    "its own mean and variance": _adapted,
    "an L2 penalty": lambda: _sequential(
        layers.Flatten(), layers.Dense(3, kernel_regularizer="l2")
    ),
    "no dense layer": lambda: _sequential(layers.Conv2D(3, 1), POOL(), layers.Softmax()),
    "a skip and an input by name": _skip,
    "a head that is a model": lambda: _nested(
        [POOL(), layers.Dense(16, activation="relu"), layers.Dense(3, activation="softmax")]
    ),
    "attention": _transformer,
    "an optimizer and a loss of its own": _compiled,
    "mixed float16": lambda: _in_policy("mixed_float16"),
    "float16": lambda: _in_policy("float16"),
    "bfloat16": lambda: _in_policy("mixed_bfloat16"),
    "float64": lambda: _in_policy("float64"),
    "a batch of its own": _of_one_batch,
    "pixels as bytes": _of_bytes,
    "answers by name": _by_name,
    "a published model": _exported,
    "a frozen backbone": _frozen,
    "keras.applications with classes": lambda: _application(classes=3),
    "any size": lambda: _sequential(POOL(), layers.Dense(3), shape=(None, None, 3)),
    "gray": lambda: _sequential(POOL(), layers.Dense(3), shape=(SIDE, SIDE, 1)),
}

# What gets a new head for three classes -> how many features it reads.
WITHOUT_HEAD: dict[str, tuple[Callable[[], keras.Model], int]] = {
    "feature map": (lambda: _sequential(), 8),
    "feature vector": (lambda: _sequential(POOL()), 8),
    "dense features": (lambda: _sequential(POOL(), layers.Dense(16, activation="relu")), 16),
    "separable": (_separable, 8),
    "a classifier of seven": (
        lambda: _sequential(POOL(), layers.Dense(7, activation="softmax")),
        8,
    ),
    "a nested classifier of seven": (
        lambda: _nested([POOL(), layers.Dense(7, activation="softmax")]),
        8,
    ),
    "a convolution to seven classes": (lambda: _sequential(*_class_maps()), 8),
    "a nested convolution to seven classes": (lambda: _nested(_class_maps()), 8),
    "a sigmoid of two": (lambda: _sequential(POOL(), layers.Dense(1, activation="sigmoid")), 8),
    "a logit of two": (lambda: _sequential(POOL(), layers.Dense(1)), 8),
    "keras.applications without classes": (lambda: _application(include_top=False), 1280),
}
