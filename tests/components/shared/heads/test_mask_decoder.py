"""A decoder on the maps of any network gives logits of the size of the image."""

import keras
import pytest

from kfp_vision.components.shared.architectures.feature_maps import feature_maps
from kfp_vision.components.shared.architectures.zoo import build_model
from kfp_vision.components.shared.heads.mask_decoder import mask_decoder
from kfp_vision.components.shared.tasks import get_task


@pytest.mark.parametrize("size", [(64, 64), (45, 71)])
def test_sizes_that_are_no_powers_of_two(size):
    model = build_model("separable", get_task("semantic_segmentation"), (*size, 3), 5)
    assert model.output_shape == (None, *size, 5)


@pytest.mark.parametrize(("size", "part"), [((128, 160), 4), ((96, 160), 2)])
def test_the_finest_maps_are_quarters_and_halves_of_small_images(size, part):
    x = pixels = keras.Input((*size, 3))
    for _ in range(3):
        x = keras.layers.Conv2D(4, 3, strides=2, padding="same")(x)
    model = keras.Model(pixels, mask_decoder(feature_maps(keras.Model(pixels, x)), 5, 0.0))
    assert model.get_layer("logits").output.shape[1:3] == (size[0] // part, size[1] // part)
    assert model.output_shape == (None, *size, 5)


def test_a_network_that_never_makes_maps_smaller():
    pixels = keras.Input((20, 30, 1))
    maps = feature_maps(keras.Model(pixels, keras.layers.Conv2D(4, 3, padding="same")(pixels)))
    assert mask_decoder(maps, 2, 0.1).shape == (None, 20, 30, 2)


def test_the_norms_of_a_new_head_learn_where_those_of_the_network_are_kept():
    task = get_task("semantic_segmentation")
    model = build_model("separable", task, (32, 32, 3), 2, frozen_norms=True)
    norms = [each for each in model.layers if isinstance(each, keras.layers.BatchNormalization)]
    assert {each.trainable for each in norms} == {True, False}
    assert norms[-1].trainable


@pytest.mark.parametrize("side", [None, 48])
def test_a_users_network_of_any_size_within_another(tmp_path, side):
    inner = keras.Sequential(
        [keras.Input((side, side, 3)), keras.layers.Conv2D(8, 3, strides=2, padding="same")]
    )
    pixels = keras.Input((side, side, 3))
    deep = keras.layers.Conv2D(16, 3, strides=2, padding="same", name="deep")(inner(pixels))
    keras.Model(pixels, deep).save(tmp_path / "mine.keras")
    task = get_task("semantic_segmentation")
    model = build_model(str(tmp_path / "mine.keras"), task, (48, 48, 3), 4)
    assert model.output_shape == (None, 48, 48, 4)
    assert [each.shape[1] for each in feature_maps(model)][:3] == [48, 24, 12]
    model.save(tmp_path / "whole.keras")
    keras.models.load_model(tmp_path / "whole.keras", safe_mode=True)
