import zipfile

import keras
import numpy as np
import pytest
from keras import layers

from kfp_vision.components.shared.architectures.zoo import build_model, choose_input
from kfp_vision.components.shared.storage import StorageError
from kfp_vision.components.shared.tasks import get_task

TASK = get_task("multiclass")
IMAGE = (16, 16, 3)


def pixels(size: int = 4, shape: tuple[int, int, int] = IMAGE) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (size, *shape)).astype(np.float32)


def network(end: list[layers.Layer], shape=IMAGE) -> keras.Model:
    start = [keras.Input(shape), layers.Rescaling(1 / 255), layers.Conv2D(4, 3)]
    return keras.Sequential([*start, layers.BatchNormalization(), *end])


POOL = layers.GlobalAveragePooling2D
ENDS = {
    "dense with softmax": lambda: [POOL(), layers.Dense(5, activation="softmax")],
    "dense with sigmoid": lambda: [POOL(), layers.Dense(5, activation="sigmoid")],
    "softmax activation": lambda: [POOL(), layers.Dense(5), layers.Activation("softmax")],
    "softmax layer": lambda: [POOL(), layers.Dense(5), layers.Softmax()],
    "logits": lambda: [POOL(), layers.Dense(5, name="logits")],
}


@pytest.mark.parametrize("end", ENDS)
def test_own_classes_come_out_as_logits(end, tmp_path):
    own = network(ENDS[end]())
    own.save(tmp_path / "own.keras")
    model = build_model(str(tmp_path / "own.keras"), TASK, IMAGE, 5)
    logits = np.asarray(model(pixels()))
    activate = keras.ops.sigmoid if "sigmoid" in end else keras.ops.softmax
    expected = logits if end == "logits" else np.asarray(activate(logits))
    np.testing.assert_allclose(own(pixels()), expected, rtol=1e-5, atol=1e-6)
    assert end == "logits" or not np.allclose(logits.sum(axis=-1), 1)


HEADLESS = {
    "feature map": lambda: [layers.ReLU()],
    "feature vector": lambda: [POOL()],
    "classes of another problem": lambda: [POOL(), layers.Dense(7, activation="softmax")],
}


@pytest.mark.parametrize("end", HEADLESS)
def test_features_get_the_head_of_the_task(end, tmp_path):
    network(HEADLESS[end]()).save(tmp_path / "own.keras")
    model = build_model(str(tmp_path / "own.keras"), TASK, IMAGE, 5, dropout=0.1)
    # Four features below the head, whatever came after them in the file.
    assert model.get_layer("logits").kernel.shape == (4, 5)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(loaded(pixels()), model(pixels()))
    momenta = {
        layer.momentum
        for layer in model._flatten_layers()
        if isinstance(layer, layers.BatchNormalization)
    }
    assert momenta == {0.9}


def test_the_file_decides_the_size_where_it_is_fixed(tmp_path):
    fixed, free = str(tmp_path / "fixed.keras"), str(tmp_path / "free.keras")
    network([POOL()]).save(fixed)
    network([POOL()], (None, None, 3)).save(free)
    assert choose_input(fixed, 40, 50, 3) == (fixed, 16, 16)
    assert choose_input(free, 40, 50, 3) == (free, 40, 50)
    assert build_model(free, TASK, (40, 50, 3), 5)(pixels(2, (40, 50, 3))).shape == (2, 5)


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


REFUSED = {
    "a Lambda layer": (_write_lambda, {}, r"Lambda.*\['double'\].*layers of Keras"),
    "a foreign layer": (_write_foreign_layer, {}, "made of layers of Keras.*_Own"),
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
    arguments = {"image_shape": IMAGE, **kwargs}
    with pytest.raises(ValueError, match=f"(?s){message}"):
        build_model(str(tmp_path / "own.keras"), TASK, num_classes=5, **arguments)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(StorageError, match=r"absent\.keras"):
        build_model(str(tmp_path / "absent.keras"), TASK, IMAGE, 5)
