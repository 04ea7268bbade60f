"""An ensemble as one model: what it computes, what it takes, and the formats it is exported to."""

from pathlib import Path

import keras
import numpy as np
import pytest

from kfp_vision.components.evaluation.formats import FORMATS, ExportSource
from kfp_vision.components.shared.datasets.loader import fit_image
from kfp_vision.components.shared.tasks import get_task
from kfp_vision.components.teachers.ensemble import Average, Stack
from kfp_vision.components.teachers.ensemble_model import (
    build_ensemble,
    choose_size,
    resize_weights,
)

pytestmark = pytest.mark.long


def small_network(side: int, seed: int) -> keras.Model:
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input((side, side, 3)),
            keras.layers.Rescaling(1 / 128, offset=-1),
            keras.layers.Conv2D(8, 3, strides=2, activation="relu"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(4, kernel_initializer=keras.initializers.RandomNormal(stddev=5.0)),
        ]
    )


@pytest.fixture(scope="module")
def members() -> list[keras.Model]:
    return [small_network(side, seed) for seed, side in enumerate((24, 24, 12))]


@pytest.fixture(scope="module")
def photographs() -> np.ndarray:
    noise = np.random.default_rng(0).uniform(0, 255, (40, 6, 6, 3)).astype(np.uint8)
    return np.stack([fit_image(each, 24, 24, 3) for each in noise])


WEIGHTS, TEMPERATURES = np.array([0.5, 0.2, 0.3]), np.array([1.0, 0.7, 2.0])


@pytest.mark.parametrize("multilabel", [False, True])
def test_the_model_says_what_the_average_of_its_members_is(members, photographs, multilabel):
    combination = Average(WEIGHTS, TEMPERATURES, multilabel)
    model = build_ensemble(members, combination, (24, 24))
    matrix = resize_weights(24, 12)
    small = np.einsum("bhwc,hg,wv->bgvc", photographs.astype(np.float32), matrix, matrix)
    outputs = [
        each.predict(images.astype(np.float32), verbose=0)
        for each, images in zip(members, (photographs, photographs, small), strict=True)
    ]
    np.testing.assert_allclose(
        model.predict(photographs.astype(np.float32), verbose=0),
        combination(np.stack(outputs)),
        rtol=1e-4,
        atol=1e-4,
    )


def test_the_model_says_what_the_stack_of_its_members_is(members, photographs):
    generator = np.random.default_rng(1)
    kernel, bias = generator.normal(size=(8, 4)), generator.normal(size=4)
    combination = Stack(kernel, bias, multilabel=False)
    pixels = photographs.astype(np.float32)
    outputs = np.stack([each.predict(pixels, verbose=0) for each in members[:2]])
    model = build_ensemble(members[:2], combination, (24, 24))
    np.testing.assert_allclose(
        model.predict(pixels, verbose=0), combination(outputs), rtol=1e-4, atol=1e-4
    )


def test_a_member_without_weight_is_not_in_the_model(members):
    model = build_ensemble(members, Average(np.array([0.0, 1.0, 0.0]), np.ones(3), False), (24, 24))
    assert model.count_params() == members[1].count_params()


@pytest.mark.parametrize(("have", "want"), [(32, 96), (96, 32), (50, 33), (7, 7), (8, 1)])
def test_pixels_are_resized_as_the_loader_does_it(have, want):
    image = np.random.default_rng(0).integers(0, 256, (have, have, 3), dtype=np.uint8)
    matrix = resize_weights(have, want)
    resized = np.einsum("hwc,hg,wv->gvc", image.astype(float), matrix, matrix)
    # Pillow rounds after each of the two directions.
    assert np.abs(resized - fit_image(image, want, want, 3)).max() <= 1.01


@pytest.mark.parametrize(
    ("sizes", "median", "expected"),
    [
        ([(32, 32), (96, 96)], (32, 32), (32, 32)),
        ([(64, 64), (224, 224)], (500, 400), (224, 224)),
        ([(224, 224), (64, 64)], (60, 60), (64, 64)),
        ([(20, 80), (100, 100)], (40, 40), (20, 80)),
    ],
)
def test_nothing_that_a_member_sees_is_lost_before_it(sizes, median, expected):
    assert choose_size(sizes, *median) == expected


@pytest.mark.parametrize("multilabel", [False, True])
def test_every_format_takes_the_model(members, photographs, tmp_path: Path, multilabel):
    task = get_task("multilabel" if multilabel else "multiclass")
    path = tmp_path / "ensemble.keras"
    build_ensemble(members, Average(WEIGHTS, TEMPERATURES, multilabel), (24, 24)).save(path)
    model = task.decoding_model(keras.models.load_model(path, safe_mode=True), temperature=1.3)
    source = ExportSource(model, photographs, tmp_path / FORMATS["saved_model"].path)
    expected = model.predict(photographs.astype(np.float32), verbose=0)
    assert np.ptp(expected, axis=0).min() > 0.01
    for each in FORMATS.values():
        each.write(source, tmp_path / each.path)
        read = np.asarray(each.open(tmp_path / each.path)(photographs))
        np.testing.assert_allclose(read, expected, atol=1e-4 if each.is_exact else 0.03)
