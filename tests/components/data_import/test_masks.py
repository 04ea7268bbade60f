"""Masks of outlines: run-length codes as pycocotools has them, and none that it cannot hold."""

import array

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from kfp_vision.components.data_import.objects.annotations import RunLengths
from kfp_vision.components.data_import.objects.keypoints import swapped_pairs
from kfp_vision.components.data_import.objects.masks import (
    encode_outline,
    mask_extent,
    pack_counts,
)


def test_codes_are_those_of_the_reference():
    generator = np.random.default_rng(0)
    for density in (0.0, 0.01, 0.5, 1.0):
        pixels = (generator.random((31, 47)) < density).astype(np.uint8)
        counts = coco_mask.encode(np.asfortranarray(pixels))["counts"]
        flat = pixels.ravel(order="F")
        bounds = [0, *(np.flatnonzero(np.diff(flat)) + 1).tolist(), flat.size]
        expected = [*([0] if flat[0] else []), *np.diff(bounds).tolist()]
        assert pack_counts(expected, 31, 47) == RunLengths(31, 47, counts)
        assert pack_counts(counts.decode(), 31, 47) == RunLengths(31, 47, counts)


@pytest.mark.parametrize(
    "counts",
    [
        "zzzzzz",
        "P",
        "é",
        "~",
        "",
        "o" * 40 + "0",
        "0L",
        [-1, 1458],
        [1, 2],
        [],
        ["x"],
        None,
        7,
        {"a": 1},
        [1e400],
    ],
)
def test_codes_that_do_not_fit_are_none(counts):
    assert pack_counts(counts, 31, 47).counts == b""


def test_masks_larger_than_any_image_are_none():
    assert pack_counts([10**12], 10**6, 10**6).counts == b""
    assert pack_counts([100], -10, -10).counts == b""


def test_polygons_are_scaled_and_joined():
    square = array.array("f", [1, 1, 3, 1, 3, 3, 1, 3]).tobytes()
    other = array.array("f", [6, 1, 8, 1, 8, 3, 6, 3]).tobytes()
    counts = encode_outline((square, other), (2.0, 1.0), 8, 10)
    assert counts is not None
    pixels = coco_mask.decode({"size": [8, 10], "counts": counts})
    expected = np.zeros((8, 10), np.uint8)
    expected[2:6, 1:3] = expected[2:6, 6:8] = 1
    np.testing.assert_array_equal(pixels, expected)
    assert mask_extent(counts, 8, 10) == (1.0, 2.0, 8.0, 6.0)


def test_masks_grow_with_their_image():
    pixels = np.zeros((4, 6), np.uint8)
    pixels[1:3, 2:5] = 1
    mask = RunLengths(4, 6, coco_mask.encode(np.asfortranarray(pixels))["counts"])
    counts = encode_outline(mask, (2.0, 2.0), 8, 12)
    assert counts is not None
    assert mask_extent(counts, 8, 12) == (4.0, 2.0, 10.0, 6.0)
    assert encode_outline(mask, (1.0, 1.0), 8, 20) is None


@pytest.mark.parametrize(
    ("names", "pairs"),
    [
        (["snout", "leftear", "rightear", "tail"], [(1, 2)]),
        (["nose", "left_eye", "right_eye", "left_ear", "right_ear"], [(1, 2), (3, 4)]),
        (["L_hip", "R_hip", "head", "knee.l", "knee.r"], [(0, 1), (3, 4)]),
        (["LeftHand", "RightHand"], [(0, 1)]),
        (["left eye", "nose"], []),
        (["tail", "collar", "rear"], []),
    ],
)
def test_pairs_are_found_by_their_names(names, pairs):
    assert swapped_pairs(names) == pairs
