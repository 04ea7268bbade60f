"""The order of the images, and the images at their places."""

import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from kfp_vision.components.shared.datasets.loader import (
    BatchOrder,
    ImageSource,
    fit_image,
    images_per_batch,
    prefetch,
)


@pytest.mark.parametrize(("num_images", "batch_size"), [(10, 4), (10, 10), (3, 7), (1, 2), (97, 8)])
def test_every_epoch_is_a_permutation_of_the_whole_set(num_images: int, batch_size: int) -> None:
    epochs = 5
    num_steps = -(-epochs * num_images // batch_size)
    stream = BatchOrder(num_images, batch_size, seed=1).indices(0, num_steps).ravel()
    for epoch in range(epochs):
        part = stream[epoch * num_images : (epoch + 1) * num_images]
        assert sorted(part) == list(range(num_images))


def test_order_is_a_function_of_seed_and_step_alone() -> None:
    whole = BatchOrder(100, 8, seed=5).indices(0, 60)
    order = BatchOrder(100, 8, seed=5)
    for step in (59, 3, 12, 13, 0):
        np.testing.assert_array_equal(order.indices(step)[0], whole[step])
    assert (BatchOrder(100, 8, seed=6).indices(0, 60) != whole).any()


def test_order_is_uniform_over_positions() -> None:
    """A shuffle buffer would leave the first images near the start: the mean rank shows it."""
    firsts = [BatchOrder(1000, 1, seed).indices(0)[0, 0] for seed in range(2000)]
    # Mean of 2000 uniform draws from 0..999: 499.5 +- 6.5 (one standard error).
    assert abs(np.mean(firsts) - 499.5) < 4 * 6.5


@pytest.mark.parametrize(("num_images", "batch_size"), [(0, 4), (4, 0)])
def test_an_empty_set_or_batch_is_refused(num_images: int, batch_size: int) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        BatchOrder(num_images, batch_size, seed=0)


@pytest.mark.parametrize("memory_budget_bytes", [None, 0])
def test_source_returns_the_pixels_that_were_stored(
    digits_dir: Path, memory_budget_bytes: int | None
) -> None:
    source = ImageSource(digits_dir, "train", (16, 16), 1, memory_budget_bytes)
    assert source.in_memory == (memory_budget_bytes is None)
    indices = np.array([[5, 999, 0], [5, 17, 600]])
    images = source.take(indices)
    assert images.shape == (2, 3, 16, 16, 1)
    assert images.dtype == np.uint8
    rows = [int(Path(source.paths[index]).stem) for index in indices.ravel()]
    expected = load_digits().images[rows] * 15
    np.testing.assert_array_equal(images[..., ::2, ::2, 0].reshape(6, 8, 8), expected)
    labels = source.table["labels"].to_pylist()
    assert [labels[index] for index in indices.ravel()] == [
        [load_digits().target[row]] for row in rows
    ]


def test_only_what_is_taken_is_decoded_and_once_where_it_is_kept(digits_dir: Path) -> None:
    rows = np.array([[5, 999], [5, 17]])
    kept = ImageSource(digits_dir, "train", (16, 16), 1)
    first, again = kept.take(rows), kept.take(rows[::-1])
    assert kept.num_decoded == 3
    np.testing.assert_array_equal(first, again[::-1])
    kept.load_all()
    assert kept.num_decoded == len(kept)
    forgetful = ImageSource(digits_dir, "train", (16, 16), 1, memory_budget_bytes=0)
    np.testing.assert_array_equal(forgetful.take(rows), first)
    forgetful.load_all()
    assert forgetful.num_decoded == 4


def test_fit_image_averages_when_it_shrinks_and_converts_colour() -> None:
    checkers = np.indices((64, 64)).sum(axis=0) % 2 * 255
    small = fit_image(checkers[..., None].astype(np.uint8), 8, 8, 1)
    np.testing.assert_allclose(small, 127.5, atol=2)
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 255
    gray = fit_image(red, 4, 4, 1)
    # ITU-R 601: 0.299 of red.
    assert np.all(gray == Image.new("RGB", (1, 1), (255, 0, 0)).convert("L").getpixel((0, 0)))
    np.testing.assert_array_equal(fit_image(gray, 4, 4, 3), np.repeat(gray, 3, axis=2))


def test_prefetch_keeps_order_and_raises_where_the_caller_sees_it() -> None:
    assert list(prefetch(lambda value: value * 2, iter(range(7)))) == list(range(0, 14, 2))
    results = prefetch(lambda value: 1 // value, iter([1, 0]))
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_prefetch_makes_the_next_one_while_the_caller_works() -> None:
    begun = [threading.Event() for _ in range(3)]

    def make(value: int) -> int:
        begun[value].set()
        return value

    results = prefetch(make, iter(range(3)))
    for value in (0, 1):
        assert next(results) == value
        assert begun[value + 1].wait(timeout=60)


def test_a_batch_that_is_only_looked_at_has_bounded_pixels() -> None:
    assert images_per_batch(8, 8) == images_per_batch(45, 45) == 512
    for side in (65, 224, 1000):
        assert images_per_batch(side, side) * side**2 <= 2**20
    assert images_per_batch(4096, 4096) == 1
