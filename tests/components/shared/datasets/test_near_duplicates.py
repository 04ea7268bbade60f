"""Signatures and groups against closed forms, brute force, and re-encoded copies of photos."""

import hashlib
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kfp_vision.components.shared.datasets.near_duplicates import (
    SIGNATURE_BYTES,
    image_signature,
    join_copies,
    near_duplicate_groups,
    without_copies,
)

PHOTOS = Path(__file__).parents[5] / "shared/data/camvid-masks.tar"


def signatures(images: list[np.ndarray]) -> np.ndarray:
    joined = b"".join(image_signature(image) for image in images)
    return np.frombuffer(joined, np.uint8).reshape(-1, SIGNATURE_BYTES)


def noise(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, SIGNATURE_BYTES), np.uint8)


def smooth_image(seed: int, side: int = 64) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("shape", [(8, 8, 1), (16, 24, 1), (28, 28, 1), (5, 3, 1), (300, 7, 3)])
def test_a_signature_is_the_area_average(shape: tuple[int, int, int]) -> None:
    # Every pixel repeated 8 times along both axes divides into 8x8 equal blocks exactly.
    pixels = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    gray = pixels @ np.array([0.299, 0.587, 0.114]) if shape[2] == 3 else pixels[..., 0]
    repeated = gray.repeat(8, axis=0).repeat(8, axis=1).astype(np.float64)
    blocks = repeated.reshape(8, shape[0], 8, shape[1]).mean(axis=(1, 3))
    got = np.frombuffer(image_signature(pixels), np.uint8).reshape(8, 8)
    assert np.abs(got - blocks).max() <= 0.51


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda i: i, id="same"),
        pytest.param(lambda i: i.resize((96, 96), Image.Resampling.BICUBIC), id="larger"),
        pytest.param(lambda i: i.resize((32, 32), Image.Resampling.BOX), id="smaller"),
        pytest.param(lambda i: i.point(lambda v: v * 0.9 + 5), id="darker"),
        pytest.param(lambda i: i.convert("L"), id="gray"),
    ],
)
def test_a_changed_copy_is_found_among_others(change) -> None:
    images = [smooth_image(seed) for seed in range(50)]
    copy = np.asarray(change(Image.fromarray(images[7])))
    copy = copy.reshape(*copy.shape[:2], -1)
    groups = near_duplicate_groups(signatures([*images, copy]))
    assert groups.tolist() == [*range(50), 7]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda i: np.flip(i, axis=1), id="mirrored"),
        pytest.param(lambda i: 255 - i, id="negative"),
        pytest.param(lambda i: i // 2, id="much darker"),
    ],
)
def test_another_picture_is_not_a_copy(change) -> None:
    images = [smooth_image(seed) for seed in range(50)]
    groups = near_duplicate_groups(signatures([*images, change(images[7])]))
    assert groups.tolist() == list(range(51))


def test_flat_images_are_alone() -> None:
    flat = [np.full((20, 20, 1), level, np.uint8) for level in (0, 0, 128, 255)]
    assert near_duplicate_groups(signatures(flat)).tolist() == [0, 1, 2, 3]


def test_exact_copies_are_joined_flat_ones_too() -> None:
    flat = [np.full((20, 20, 1), level, np.uint8) for level in (0, 0, 128, 0)]
    groups = near_duplicate_groups(signatures(flat))
    digests = np.array([hashlib.sha256(image.tobytes()).digest() for image in flat], "V32")
    assert join_copies(groups, digests).tolist() == [0, 0, 2, 0]
    # Near duplicates of one copy are near those of the other.
    digests = np.array([b"a", b"b", b"c", b"b", b"d"], "V32")
    assert join_copies(np.array([0, 0, 2, 3, 3]), digests).tolist() == [0, 0, 2, 0, 0]
    assert join_copies(np.zeros(0, int), digests[:0]).tolist() == []


def test_groups_are_transitive_and_named_by_their_smallest_row() -> None:
    rows = noise(6)
    rows[[3, 5]] = rows[1]
    assert near_duplicate_groups(rows).tolist() == [0, 1, 2, 1, 4, 1]


def test_groups_do_not_depend_on_the_order() -> None:
    rows = np.concatenate([noise(300), noise(100)])
    order = np.random.default_rng(3).permutation(len(rows))

    def members(groups: np.ndarray, names: np.ndarray) -> set[frozenset[int]]:
        return {frozenset(names[groups == group].tolist()) for group in np.unique(groups)}

    plain = members(near_duplicate_groups(rows), np.arange(len(rows)))
    assert members(near_duplicate_groups(rows[order]), order) == plain
    assert sorted(map(len, plain)) == [1] * 200 + [2] * 100


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_tiny_sets(count: int) -> None:
    assert near_duplicate_groups(noise(count)).tolist() == list(range(count))


def test_a_bucket_full_of_copies_stays_one_group() -> None:
    rows = np.repeat(noise(1), 5000, axis=0)
    assert (near_duplicate_groups(rows) == 0).all()


def test_wrong_width_is_refused() -> None:
    with pytest.raises(ValueError, match=r"uint8 \[N, 64\]. Received: \(3, 32\)"):
        near_duplicate_groups(np.zeros((3, 32), np.uint8))


@pytest.mark.skipif(not PHOTOS.exists(), reason="needs ../shared/data/camvid-masks.tar")
def test_recall_on_reencoded_and_resized_photos() -> None:
    photos = []
    with tarfile.open(PHOTOS) as archive:
        for member in archive:
            file = archive.extractfile(member) if "/images/" in member.name else None
            if file is not None:
                photos.append(Image.open(io.BytesIO(file.read())).convert("RGB"))
            if len(photos) == 200:
                break
    random = np.random.default_rng(0)
    copies = []
    for photo in photos:
        scale = random.uniform(0.5, 1.5)
        smaller = photo.resize((int(photo.width * scale), int(photo.height * scale)))
        file = io.BytesIO()
        smaller.save(file, "JPEG", quality=int(random.integers(60, 95)))
        copies.append(np.asarray(Image.open(file)))
    groups = near_duplicate_groups(signatures([*map(np.asarray, photos), *copies]))
    assert (groups[len(photos) :] == groups[: len(photos)]).mean() >= 0.95


def test_training_images_that_judge_have_no_copy_among_those_that_are_learned():
    # Validation comes first. Training images 1 and 4 are copies; 2 is one of a validation image.
    groups, splits = np.array([0, 1, 2, 3, 1, 5, 3]), {"validation": 2, "train": 5}
    kept = without_copies(groups, splits, np.array([0, 1]), np.array([2, 3, 4]))
    np.testing.assert_array_equal(kept, [2, 3])
