"""Image entropies on images whose entropy is known."""

import numpy as np
import pytest

from kfp_vision.components.data_profiling.entropy import (
    GrayStatistics,
    compressed_bits,
    thumbnail_label_bits,
)

SIDE = 256


def image(kind: str, channels: int = 1) -> np.ndarray:
    random = np.random.default_rng(0)
    pixels = {
        "noise": random.integers(0, 256, (SIDE, SIDE), np.uint8),
        "flat": np.full((SIDE, SIDE), 9, np.uint8),
        "stripes": np.tile(np.array([0, 255], np.uint8), (SIDE, SIDE // 2)),
        "gradient": np.tile(np.arange(SIDE, dtype=np.uint8), (SIDE, 1)),
    }[kind]
    return np.repeat(pixels[..., None], channels, axis=2)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("kind", "intensity", "patch", "redundancy"),
    # A column of the gradient tells 4 of its 4 bits once for the 4 pixels of a patch, and the
    # 15 columns of 255 in which the level steps make it a little more.
    [
        ("noise", 8.0, 4.0, 0.0),
        ("flat", 0.0, 0.0, 1.0),
        ("stripes", 1.0, 0.25, 0.75),
        ("gradient", 8.0, 1.08, 0.73),
    ],
)
def test_entropies(
    kind: str, channels: int, intensity: float, patch: float, redundancy: float
) -> None:
    gray = GrayStatistics()
    for _ in range(4):
        gray.add(image(kind, channels))
    assert gray.intensity_bits == pytest.approx(intensity, abs=0.01)
    # 65025 patches cannot fill 65536 cells evenly: the estimate of noise is low by up to 0.2 bits.
    assert gray.patch_bits == pytest.approx(patch, abs=0.25 if kind == "noise" else 0.01)
    assert gray.redundancy == pytest.approx(redundancy, abs=0.06)


def test_noise_does_not_compress_and_flat_images_do() -> None:
    assert compressed_bits(image("noise")) / SIDE**2 == pytest.approx(8.0, rel=0.02)
    assert compressed_bits(image("flat")) / SIDE**2 < 0.1


def test_thumbnail_tells_all_of_a_label_that_it_shows_and_nothing_of_a_random_one() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 4, 4000)
    signatures = random.integers(0, 128, (4000, 64), np.uint8)
    assert thumbnail_label_bits(signatures, labels, seed=0) < 0.05
    signatures[np.arange(4000), labels] = 255
    assert thumbnail_label_bits(signatures, labels, seed=0) == pytest.approx(2.0, abs=0.1)


def test_one_class_has_nothing_to_tell() -> None:
    with pytest.raises(ValueError, match="Two classes must have 8 images"):
        thumbnail_label_bits(np.zeros((20, 64), np.uint8), np.zeros(20, int), seed=0)
