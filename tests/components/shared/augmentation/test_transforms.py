"""Every transform against PIL, SciPy or a closed form; eagerly and under XLA."""

from collections.abc import Mapping

import numpy as np
import pytest
import scipy.ndimage
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps

from kfp_vision.components.shared.augmentation.augment import apply_transforms
from kfp_vision.components.shared.augmentation.draw import Drawn
from kfp_vision.components.shared.augmentation.geometry import matrices
from kfp_vision.components.shared.augmentation.transforms import (
    PIXEL_TRANSFORMS,
    TRANSFORMS,
    parameters,
)

HEIGHT, WIDTH = 20, 30
# Compiled once for each shape, for seconds: what is applied is data, and the tests share shapes.
RUNS = {
    "eager": apply_transforms,
    "graph": tf.function(apply_transforms, autograph=False),
    "xla": tf.function(apply_transforms, jit_compile=True, autograph=False),
}


def smooth_images(batch: int = 3, channels: int = 3, height: int = HEIGHT) -> np.ndarray:
    """Blurred noise over the whole range: no resampling error to speak of, real histograms."""
    noise = np.random.default_rng(0).normal(size=(batch, height, WIDTH, channels))
    smooth = scipy.ndimage.gaussian_filter(noise, (0, 2, 2, 0), mode="wrap")
    low, high = smooth.min((1, 2), keepdims=True), smooth.max((1, 2), keepdims=True)
    return np.round((smooth - low) / (high - low) * 230 + 10).astype(np.uint8)


def drawn(batch: int, magnitudes: Mapping[str, float], sign: float = 1.0) -> Drawn:
    """What `draw_transforms` returns when every image gets these magnitudes."""
    table = np.zeros((batch, len(PIXEL_TRANSFORMS)), np.float32)
    for name, magnitude in magnitudes.items():
        table[:, PIXEL_TRANSFORMS.index(name)] = magnitude
    return Drawn(tf.constant(table), tf.fill(table.shape, sign), tf.zeros([batch, 4], tf.int32))


def transformed(
    images: np.ndarray, magnitudes: Mapping[str, float], sign: float = 1.0, run: str = "xla"
):
    return RUNS[run](tf.constant(images), drawn(len(images), magnitudes, sign)).numpy()


def pil(images: np.ndarray, function) -> np.ndarray:
    return np.stack([np.asarray(function(Image.fromarray(image))) for image in images])


@pytest.mark.parametrize("dtype", [tf.uint8, tf.float32, tf.bfloat16])
@pytest.mark.parametrize("channels", [1, 3])
def test_magnitude_zero_is_the_identity_bit_by_bit(channels, dtype):
    images = tf.cast(smooth_images(channels=channels), dtype)
    for run in RUNS.values():
        same = run(images, drawn(3, {}))
        assert same.dtype == (tf.float32 if dtype == tf.uint8 else dtype)
        np.testing.assert_array_equal(tf.cast(same, tf.float32), tf.cast(images, tf.float32))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", [name for name in PIXEL_TRANSFORMS if name != "erase"])
def test_xla_graph_and_eager_agree_and_pixels_stay_in_range(name, channels):
    images = smooth_images(channels=channels)
    magnitude = 1.0 if TRANSFORMS[name].chance else 0.6
    eager = transformed(images, {name: magnitude}, run="eager")
    assert eager.min() >= 0.0
    assert eager.max() <= 255.0
    for run in ("graph", "xla"):
        np.testing.assert_allclose(
            transformed(images, {name: magnitude}, run=run), eager, atol=2e-2
        )
    has_colour = channels == 3 or name not in ("saturation", "hue")
    assert (np.abs(eager - images).max() > 1.0) == has_colour


@pytest.mark.parametrize("name", PIXEL_TRANSFORMS)
def test_a_vanishing_magnitude_changes_next_to_nothing(name):
    if TRANSFORMS[name].chance:
        pytest.skip("on or off")
    images = smooth_images()
    np.testing.assert_allclose(transformed(images, {name: 1e-4}), images, atol=1.0)


@pytest.mark.parametrize("sign", [-1.0, 1.0])
@pytest.mark.parametrize(
    ("name", "enhancer"),
    [
        ("brightness", ImageEnhance.Brightness),
        ("contrast", ImageEnhance.Contrast),
        ("saturation", ImageEnhance.Color),
        ("sharpness", ImageEnhance.Sharpness),
    ],
)
def test_enhancers_are_those_of_pil(name, enhancer, sign):
    images = smooth_images()
    expected = pil(images, lambda image: enhancer(image).enhance(1.0 + sign * 0.99 * 0.5))
    actual = transformed(images, {name: 0.5}, sign)
    # PIL rounds twice, and leaves a border of one pixel as it is when it filters.
    np.testing.assert_allclose(actual[:, 1:-1, 1:-1], expected[:, 1:-1, 1:-1], atol=2.0)


@pytest.mark.parametrize(
    ("magnitudes", "function"),
    [
        ({"auto_contrast": 1.0}, ImageOps.autocontrast),
        ({"equalize": 1.0}, ImageOps.equalize),
        ({"solarize": 0.5}, lambda image: ImageOps.solarize(image, 128)),
        ({"posterize": 0.5}, lambda image: ImageOps.posterize(image, 5)),
        ({"invert": 1.0}, ImageOps.invert),
        ({"horizontal_flip": 1.0}, ImageOps.mirror),
        ({"vertical_flip": 1.0}, ImageOps.flip),
    ],
)
def test_operations_are_those_of_pil(magnitudes, function):
    images = smooth_images()
    # Auto-contrast: PIL truncates where we round.
    tolerance = 1.0 if "auto_contrast" in magnitudes else 0.0
    np.testing.assert_allclose(
        transformed(images, magnitudes), pil(images, function), atol=tolerance
    )


def test_a_quarter_turn_is_numpys():
    square = smooth_images()[:, :, :HEIGHT]
    for sign, times in ((1.0, -1), (-1.0, 1)):
        np.testing.assert_array_equal(
            transformed(square, {"rot90": 1.0}, sign), np.rot90(square, times, (1, 2))
        )


@pytest.mark.parametrize(
    "magnitudes",
    [
        {"rotate": 0.1},
        {"shear_x": 0.4},
        {"shear_y": 0.3},
        {"rotate": 0.05, "translate_x": 0.2, "translate_y": 0.1},
        {"zoom_in": 0.7},
        {"zoom_out": 0.5},
        {"horizontal_flip": 1.0, "rotate": 0.2, "shear_x": 0.2, "zoom_in": 0.3, "translate_y": 0.3},
    ],
)
def test_one_resampling_is_that_of_scipy(magnitudes):
    images = smooth_images()
    given = drawn(3, magnitudes)
    values = parameters(given.magnitudes, given.signs)
    inverse = np.linalg.inv(matrices(values, HEIGHT, WIDTH)[0].numpy().astype(float))
    rows_first = inverse[:2, :2][::-1, ::-1]
    expected = np.stack(
        [
            scipy.ndimage.affine_transform(
                images[0, ..., channel].astype(float),
                rows_first,
                inverse[:2, 2][::-1],
                order=1,
                mode="nearest",
            )
            for channel in range(3)
        ],
        -1,
    )
    np.testing.assert_allclose(transformed(images, magnitudes)[0], expected, atol=0.05)


@pytest.mark.parametrize(
    "magnitudes", [{}, {"horizontal_flip": 1.0}, {"vertical_flip": 1.0, "horizontal_flip": 1.0}]
)
def test_a_shift_alone_is_by_whole_pixels(magnitudes):
    images = smooth_images()
    shifted = transformed(images, {"translate_x": 0.2, "translate_y": 0.1, **magnitudes})
    whole = round(0.1 * WIDTH), round(0.05 * HEIGHT)
    expected = np.pad(
        transformed(images, magnitudes),
        ((0, 0), whole[1:] + (0,), whole[:1] + (0,), (0, 0)),
        "edge",
    )
    np.testing.assert_array_equal(shifted, expected[:, :HEIGHT, :WIDTH])


def test_the_hue_goes_around_the_colour_circle_at_constant_luma():
    images = np.full((3, HEIGHT, WIDTH, 3), (120, 100, 110), np.uint8)
    luma = np.array([0.299, 0.587, 0.114])
    for magnitude in (0.3, 0.7, 1.0):
        turned = transformed(images, {"hue": magnitude})
        np.testing.assert_allclose(turned @ luma, images @ luma, atol=1e-3)
    there = transformed(images, {"hue": 0.4})
    back = transformed(there, {"hue": 0.4}, -1.0)
    np.testing.assert_allclose(back, images, atol=1e-3)
    gray = (images @ luma)[..., None]
    np.testing.assert_allclose(transformed(images, {"hue": 1.0}) - gray, gray - images, atol=1e-3)


def test_blur_keeps_the_mean_and_has_the_variance_of_its_gaussian():
    images = np.zeros((3, HEIGHT, WIDTH, 1), np.float32)
    images[0, 10, 15] = 255.0
    blurred = transformed(images, {"blur": 1.0})[0, ..., 0] / 255.0
    assert blurred.sum() == pytest.approx(1.0, abs=1e-4)
    places = np.arange(WIDTH) - 15
    assert (blurred.sum(0) * places**2).sum() == pytest.approx(1.0, rel=0.02)


@pytest.mark.parametrize(
    "pair",
    [
        ("zoom_in", "zoom_out"),
        ("solarize", "invert"),
        ("sharpness", "blur"),
        ("horizontal_flip", "rot90"),
        ("auto_contrast", "contrast"),
        ("equalize", "brightness"),
    ],
)
def test_two_transforms_do_not_cancel_out(pair):
    images = smooth_images()
    changes = [
        np.abs(transformed(images, dict.fromkeys(names, 1.0), -1.0) - images).mean()
        for names in (pair, pair[:1], pair[1:])
    ]
    assert changes[0] > 0.3 * min(changes[1:])
