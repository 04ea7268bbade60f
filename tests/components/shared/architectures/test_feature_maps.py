"""Maps of every size, from flat networks, networks within networks and whole classifiers."""

from typing import Any

import keras
import numpy as np
import pytest

from kfp_vision.components.shared.architectures.feature_maps import feature_maps
from kfp_vision.components.shared.architectures.zoo import ARCHITECTURES


def _network(name: str) -> keras.Model:
    pixels = keras.Input((64, 64, 3))
    return keras.Model(pixels, ARCHITECTURES[name].build_features(pixels, 0.0))


# The second has squeeze and excitation, the third is a network within the network.
@pytest.mark.parametrize("name", ["separable", "resnet_rs_18", "mobilenet_v2"])
def test_there_is_one_map_of_each_size_and_the_last_is_that_of_the_network(name: str) -> None:
    network = _network(name)
    maps = feature_maps(network)
    sides = [each.shape[1] for each in maps]
    assert sides == sorted(set(sides), reverse=True)
    assert len(sides) >= 3
    images = np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3)).astype(np.float32)
    model: Any = keras.Model(network.inputs, maps)
    np.testing.assert_allclose(model(images)[-1], network(images), rtol=1e-5, atol=1e-5)
    # What it computes on the way, it computes once.
    assert len(model.weights) == len(network.weights)


def test_the_maps_of_a_classifier_are_those_below_its_pooling() -> None:
    network = _network("separable")
    pooled = keras.layers.GlobalAveragePooling2D()(network.outputs[0])
    classifier = keras.Model(network.inputs, keras.layers.Dense(5)(pooled))
    assert feature_maps(classifier)[-1] is network.outputs[0]


def test_a_network_without_a_map_is_refused() -> None:
    pixels = keras.Input((1, 1, 3))
    with pytest.raises(ValueError, match="feature maps"):
        feature_maps(keras.Model(pixels, keras.layers.Flatten()(pixels)))
