import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from brought_models import SIDE, WITH_HEAD, WITHOUT_HEAD
from keras import layers

from kfp_vision.components.shared.architectures.check import check_architecture
from kfp_vision.components.shared.architectures.user_head import new_head_input
from kfp_vision.components.shared.architectures.user_model import check_outputs, load_user_model
from kfp_vision.components.shared.architectures.zoo import build_model, choose_input
from kfp_vision.components.shared.recipe import hyperparameters
from kfp_vision.components.shared.recipe.document import Recipe
from kfp_vision.components.shared.runtime.storage import StorageError
from kfp_vision.components.shared.tasks import get_task
from kfp_vision.components.shared.training.trainer import Trainer

TASK = get_task("multiclass")
IMAGE = (16, 16, 3)
# Nobody looks at an average of the weights.
SETTINGS = hyperparameters.from_recipe(
    hyperparameters.resolve(Recipe(), {"ema_momentum": 0.0}, 1000)
)


def pixels(size: int = 4, shape: tuple[int, int, int] = IMAGE) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (size, *shape)).astype(np.float32)


def network(end: list[layers.Layer], shape=IMAGE) -> keras.Model:
    start = [keras.Input(shape), layers.Rescaling(1 / 255), layers.Conv2D(4, 3)]
    return keras.Sequential([*start, layers.BatchNormalization(), *end])


POOL = layers.GlobalAveragePooling2D


def build(own: keras.Model, folder: Path, num_classes: int = 3, **kwargs) -> keras.Model:
    own.save(folder / "own.keras")
    channels = kwargs.pop("channels", 3)
    task = get_task("binary" if num_classes == 2 else "multiclass")
    shape = (SIDE, SIDE, channels)
    return build_model(str(folder / "own.keras"), task, shape, num_classes, **kwargs)


def tinted(channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Twelve images in three shades and their classes."""
    labels = np.arange(12) % 3
    noise = np.random.default_rng(0).integers(0, 40, (12, SIDE, SIDE, channels))
    return (100 * labels[:, None, None, None] % 220 + noise).astype(np.uint8), labels


# Building one takes seconds.
LARGE = [name for name in (*WITH_HEAD, *WITHOUT_HEAD) if "applications" in name]


def names(*tables):
    return [
        pytest.param(name, marks=pytest.mark.slow if name in LARGE else ())
        for table in tables
        for name in table
    ]


@pytest.mark.parametrize("name", names(WITH_HEAD))
def test_own_classes_come_out_as_logits(name, tmp_path):
    own = WITH_HEAD[name]()
    channels = own.inputs[0].shape[-1]
    model = build(own, tmp_path, channels=channels)
    images = tinted(channels)[0].astype(np.float32)
    logits = np.asarray(model(images, training=False))
    (expected,) = keras.tree.flatten(own(images, training=False))
    expected = np.asarray(expected, np.float32)
    is_classifier = "sigmoid" in name or np.allclose(expected.sum(axis=-1), 1, atol=0.01)
    activate = keras.ops.sigmoid if "sigmoid" in name else keras.ops.softmax
    answer = np.asarray(activate(logits)) if is_classifier else logits
    tolerance = 0.02 if "float" in name else 1e-5
    np.testing.assert_allclose(answer, expected, rtol=tolerance, atol=tolerance)
    assert not np.allclose(logits.sum(axis=-1), 1)
    assert {weight.dtype for weight in model.trainable_weights} == {"float32"}


@pytest.mark.parametrize("name", names(WITHOUT_HEAD))
def test_features_get_the_head_of_the_task(name, tmp_path):
    make, num_features = WITHOUT_HEAD[name]
    model = build(make(), tmp_path, dropout=0.1)
    assert model.get_layer("logits").kernel.shape == (num_features, 3)


# Pixels a side and features of networks with their 1,000 classes.
APPLICATIONS = {
    "MobileNet": (32, 1024),
    "MobileNetV3Small": (32, 1024),
    "MobileNetV2": (32, 1280),
    "EfficientNetB0": (32, 1280),
    "ResNet50": (32, 2048),
    "ConvNeXtTiny": (32, 768),
    "DenseNet121": (32, 1024),
    "Xception": (71, 2048),
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name == "MobileNet" else pytest.mark.long)
        for name in APPLICATIONS
    ],
)
def test_a_new_head_reads_what_is_below_a_thousand_classes(name):
    side, num_features = APPLICATIONS[name]
    own = getattr(keras.applications, name)(weights=None, input_shape=(side, side, 3))
    read = new_head_input(own)
    assert read.shape in ((None, num_features), (None, 1, 1, num_features))


def test_names_that_graphs_refuse_are_replaced_and_said(tmp_path, capsys):
    """Keras calls such a model eagerly only."""
    block = keras.Sequential([keras.Input((14, 14, 4)), layers.Conv2D(4, 3, name="é")], name="a b")
    ends = [block, layers.BatchNormalization(name="tête"), layers.ReLU(name="layer_t_te"), POOL()]
    own = keras.Sequential(
        [keras.Input(IMAGE), layers.Conv2D(4, 3, name="conv 1"), *ends, layers.Dense(3)]
    )
    own.save(tmp_path / "own.keras")
    model = load_user_model(str(tmp_path / "own.keras"))
    images = pixels()
    expected = np.asarray(own(images))
    np.testing.assert_allclose(tf.function(model)(images), expected, rtol=1e-5)
    model.export(tmp_path / "saved", verbose=False)
    model.save(tmp_path / "again.keras")
    again = keras.models.load_model(tmp_path / "again.keras", safe_mode=True)
    np.testing.assert_allclose(again(images), expected, rtol=1e-5)
    assert [layer.name for layer in again.layers][:4] == [
        *("layer_conv_1", "layer_a_b", "layer_t_te_", "layer_t_te")
    ]
    assert capsys.readouterr().out.count("graphs refuse it") == 4


@pytest.mark.parametrize("end", ["sigmoid", None])
def test_one_value_is_that_of_the_second_class(end, tmp_path):
    own = keras.Sequential(
        [
            *(keras.Input((SIDE, SIDE, 3)), layers.Rescaling(1 / 255), layers.Conv2D(4, 3), POOL()),
            layers.Dense(1, activation=end, bias_initializer="ones"),
        ]
    )
    images = tinted(3)[0].astype(np.float32)
    logits = np.asarray(build(own, tmp_path, num_classes=2)(images))
    value = np.asarray(own(images))[:, 0]
    if end:
        np.testing.assert_allclose(keras.ops.softmax(logits)[:, 1], value, rtol=1e-5)
    else:
        np.testing.assert_allclose(logits[:, 1] - logits[:, 0], value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", names(WITH_HEAD, WITHOUT_HEAD))
def test_a_model_that_people_bring_trains_and_is_saved_without_our_code(name, tmp_path):
    own = WITH_HEAD[name]() if name in WITH_HEAD else WITHOUT_HEAD[name][0]()
    check_outputs(own, name)
    images, labels = tinted(own.inputs[0].shape[-1])
    targets = {"label": labels.astype(np.int32)}
    model = build(own, tmp_path, channels=images.shape[-1])
    trainer = Trainer(model, TASK, SETTINGS)
    images, targets = images[:11], {"label": targets["label"][:11]}
    # Eagerly: a graph of each would take minutes.
    tf.config.run_functions_eagerly(True)
    try:
        steps = 12
        repeated = {"label": np.stack([targets["label"]] * steps)}
        rates = np.full(steps, 3e-4 if name in LARGE else 0.01, np.float32)
        losses = trainer.run_steps(np.stack([images] * steps), repeated, rates).losses
    finally:
        tf.config.run_functions_eagerly(False)
    # A step alone says little: dropout and mixed images move its loss by a tenth, and eleven images
    # in dozens of batch norms by more.
    assert np.mean(losses[-3:]) < losses[0] < 20
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    pixels = images[:2].astype(np.float32)
    np.testing.assert_array_equal(loaded(pixels, training=False), model(pixels, training=False))


def test_batch_norms_within_forget_as_fast_as_those_of_the_zoo(tmp_path):
    model = build(WITH_HEAD["batch normalisation"](), tmp_path)
    norms = [
        each for each in model._flatten_layers() if isinstance(each, layers.BatchNormalization)
    ]
    assert {norm.momentum for norm in norms} == {0.9}


def test_the_file_decides_the_size_where_it_is_fixed(tmp_path):
    fixed, free = str(tmp_path / "fixed.keras"), str(tmp_path / "free.keras")
    network([POOL()]).save(fixed)
    network([POOL()], (None, None, 3)).save(free)
    assert choose_input(fixed, 40, 50, 3) == (fixed, 16, 16)
    assert choose_input(free, 40, 50, 3) == (free, 40, 50)
    assert choose_input(free, 3000, 4000, 3) == (free, 194, 259)
    assert build_model(free, TASK, (40, 50, 3), 5)(pixels(2, (40, 50, 3))).shape == (2, 5)


def test_a_file_is_loaded_once_for_its_size_and_a_changed_one_anew(tmp_path, monkeypatch):
    path, other = str(tmp_path / "own.keras"), tmp_path / "other.keras"
    for side in (16, 20):
        network([POOL()], (side, side, 3)).save(path)
        assert choose_input(path, 40, 50, 3) == (path, side, side)
    shutil.copy(path, other)
    monkeypatch.delattr("keras.models.load_model")
    assert choose_input(str(other), 40, 50, 3) == (str(other), 20, 20)


def test_gray_images_fit_a_model_of_color(tmp_path):
    network([POOL()]).save(tmp_path / "own.keras")
    model = build_model(str(tmp_path / "own.keras"), TASK, (16, 16, 1), 5)
    assert model(pixels(2, (16, 16, 1))).shape == (2, 5)


@keras.saving.register_keras_serializable("theirs")
class _Own(layers.Layer):
    def call(self, inputs):
        return inputs


def _write_lambda(path):
    network([layers.Lambda(lambda x: x * 2, name="double"), POOL()]).save(path)


def _write_text(path):
    path.write_text("not a model")


def _write_zip(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "not a model")


def _write_two_inputs(path):
    ends = [keras.Input(IMAGE), keras.Input(IMAGE)]
    keras.Model(ends, layers.Add()(ends)).save(path)


def _write_two_outputs(path):
    start = keras.Input(IMAGE)
    keras.Model(start, [layers.ReLU()(start), POOL()(start)]).save(path)


def _write_vector(path):
    keras.Sequential([keras.Input((8,)), layers.Dense(5)]).save(path)


def _write_sequence(path):
    keras.Sequential([keras.Input(IMAGE), layers.Reshape((256, 3))]).save(path)


def _write_gray(path):
    network([POOL()], (16, 16, 1)).save(path)


def _write_unbuilt(path):
    keras.Sequential([layers.Conv2D(4, 3), POOL()]).save(path)


def _write_classes(path):
    network([POOL(), layers.Dense(5)]).save(path)


def _write_foreign_layer(path):
    network([_Own(), POOL()]).save(path)
    # As in a process that has never seen the class.
    del keras.saving.get_custom_objects()["theirs>_Own"]


def _write_own_activation(path):
    network([POOL(), layers.Dense(5, activation=tf.nn.softmax)]).save(path)


def _write_lambda_activation(path):
    network([POOL(), layers.Dense(5, activation=lambda x: x * 2)]).save(path)


def _write_own_model(path):
    class TheirModel(keras.Model):
        def call(self, inputs):
            return inputs

    model = TheirModel()
    model(np.zeros((1, *IMAGE)))
    model.save(path)


def _write_quantised(path):
    model = network([POOL(), layers.Dense(5, name="last")])
    model.get_layer("last").quantize("int8")
    model.save(path)


def _write_nan(path):
    model = network([POOL(), layers.Dense(5, name="last")])
    model.get_layer("last").kernel.assign(np.full((4, 5), np.nan))
    model.save(path)


def _write_constant(path):
    network([layers.Rescaling(0.0), POOL(), layers.Dense(5)]).save(path)


def _write_infinite(path):
    network([layers.Rescaling(1e38), layers.Rescaling(1e38), POOL(), layers.Dense(5)]).save(path)


def _write_frozen(path):
    model = network([POOL(), layers.Dense(5)])
    model.trainable = False
    model.save(path)


def _write_hdf5(path):
    network([POOL()]).save(path.with_suffix(".h5"))
    path.with_suffix(".h5").rename(path)


def _write_weights(path):
    network([POOL()]).save_weights(path.with_suffix(".weights.h5"))
    path.with_suffix(".weights.h5").rename(path)


def _write_saved_model(path):
    network([POOL()]).export(path, verbose=False)


def _write_truncated(path):
    network([POOL()]).save(path)
    path.write_bytes(path.read_bytes()[:3000])


def _write_damaged(path):
    network([POOL()]).save(path)
    content = bytearray(path.read_bytes())
    content[content.index(b"config.json") + 40] ^= 255
    path.write_bytes(content)


def _write_pytorch(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/data.pkl", b"")


def _write_tall(path):
    keras.Sequential([keras.Input((None, None, 3)), layers.Conv2D(4, 33), POOL()]).save(path)


def _write_channels_first(path):
    keras.Sequential([keras.Input((3, 16, 16)), layers.Flatten(), layers.Dense(5)]).save(path)


REFUSED: dict[str, tuple[Callable[[Path], object], dict[str, Any], str]] = {
    "a Lambda layer": (_write_lambda, {}, r"Lambda.*\['double'\].*layers of Keras"),
    "a lambda as activation": (_write_lambda_activation, {}, r"Lambda.*\['dense.*layers of Keras"),
    "an activation of TensorFlow": (_write_own_activation, {}, "Keras.*softmax.* in dense"),
    "a foreign layer": (_write_foreign_layer, {}, "made of layers of Keras.*_Own"),
    "a class of their own": (_write_own_model, {}, "made of layers of Keras.*TheirModel"),
    "quantised": (_write_quantised, {}, r"can be trained.*quantised layers \['last'\]"),
    "all frozen": (_write_frozen, {}, "weights that can train.*frozen.*trainable = True"),
    "HDF5": (_write_hdf5, {}, "HDF5 format of older versions.*load_model"),
    "weights alone": (_write_weights, {}, "weights without their network.*load_weights"),
    "a SavedModel": (_write_saved_model, {}, "a SavedModel, not a file"),
    "empty": (lambda path: path.write_bytes(b""), {}, "an empty file"),
    "truncated": (_write_truncated, {}, "damaged zip archive"),
    "damaged": (_write_damaged, {}, "damaged"),
    "PyTorch": (_write_pytorch, {}, "must hold config.json.*of PyTorch"),
    "LiteRT": (lambda path: path.write_bytes(b"\x1c\0\0\0TFL3\0"), {}, "LiteRT"),
    "larger kernel than image": (_write_tall, {}, r"images of the size of the data.*\(16, 16, 3\)"),
    "channels first": (_write_channels_first, {}, "the last axis.*3, 16, 16"),
    "not an archive": (_write_text, {}, "not a Keras archive"),
    "another archive": (_write_zip, {}, "must hold config.json.*readme.txt"),
    "two inputs": (_write_two_inputs, {}, "one batch of pixels"),
    "two outputs": (_write_two_outputs, {}, "one tensor"),
    "not an image": (_write_vector, {}, "one batch of pixels.*8"),
    "a sequence out": (_write_sequence, {}, "one tensor.*256"),
    "gray model, color data": (_write_gray, {}, r"takes 1 channel.*Received: 3"),
    "no input": (_write_unbuilt, {}, "keras.Input"),
    "another size": (_write_gray, {"image_shape": (20, 20, 1)}, "must be what.*16, 16.*20, 20"),
    "dropout of its own head": (_write_classes, {"dropout": 0.1}, "`dropout` must be 0"),
    "stochastic depth": (_write_gray, {"stochastic_depth": 0.1}, "`stochastic_depth` must be 0"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_file_that_cannot_be_trained_says_why(case, tmp_path):
    write, kwargs, message = REFUSED[case]
    write(tmp_path / "own.keras")
    arguments: dict[str, Any] = {"image_shape": IMAGE, **kwargs}
    with pytest.raises(ValueError, match=f"(?s){message}"):
        build_model(str(tmp_path / "own.keras"), TASK, num_classes=5, **arguments)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(StorageError, match=r"absent\.keras"):
        build_model(str(tmp_path / "absent.keras"), TASK, IMAGE, 5)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (_write_constant, "must depend on the image.*own.keras"),
        (_write_infinite, "finite numbers for pixels"),
        (_write_nan, "must be finite.*NaN.*kernel"),
        (_write_text, "Keras archive but text"),
    ],
)
def test_what_a_file_computes_is_tried_before_there_are_images(write, message, tmp_path):
    write(tmp_path / "own.keras")
    with pytest.raises(ValueError, match=f"(?s){message}"):
        check_architecture(str(tmp_path / "own.keras"), 0)


@pytest.mark.parametrize(
    ("architecture", "size", "message"),
    [
        ("resnet2", 0, "Did you mean: .*resnet20"),
        ("ResNet20", 0, "Did you mean: .*resnet20"),
        ("mobilenet_v2", 20, "`image_size` must be at least 32"),
        ("own.keras", 20, "`image_size` must be what.*16, 16.*20, 20"),
    ],
)
def test_what_is_known_without_images_is_refused_without_them(
    architecture, size, message, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    _write_classes(tmp_path / "own.keras")
    with pytest.raises(ValueError, match=f"(?s){message}"):
        check_architecture(architecture, size)


@pytest.mark.parametrize("write", [_write_classes, _write_gray, _write_frozen])
def test_what_the_data_decide_is_not_refused_without_them(write, tmp_path):
    write(tmp_path / "own.keras")
    check_architecture(str(tmp_path / "own.keras"), 0)
    check_architecture("resnet20", 0)


def test_no_module_that_a_file_names_is_imported(tmp_path, monkeypatch):
    (tmp_path / "hostile.py").write_text("from pathlib import Path\nPath('ran').touch()\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    network([POOL()]).save("good.keras")
    with zipfile.ZipFile("good.keras") as good, zipfile.ZipFile("own.keras", "w") as own:
        for name in good.namelist():
            content = good.read(name)
            if name == "config.json":
                config = json.loads(content)
                config["config"]["layers"][1]["module"] = "hostile"
                content = json.dumps(config).encode()
            own.writestr(name, content)
    with pytest.raises(ValueError, match="made of layers of Keras.*rescaling"):
        build_model("own.keras", TASK, IMAGE, 5)
    assert not (tmp_path / "ran").exists()
