"""Run-length codes of masks against pycocotools and Pillow."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from kfp_vision.components.shared.heads.mask_window import WINDOW, window_points
from kfp_vision.components.shared.tasks.objects import (
    BOX_CLASSES,
    BOXES,
    CROWD,
    SEGMENTS,
    read_objects,
)
from kfp_vision.components.shared.tasks.segments import (
    UNKNOWN,
    codes_of,
    encode_window,
    paste_masks,
    read_segments,
    run_lengths,
)


def _disc(height, width, x, y, radius):
    rows, columns = np.mgrid[:height, :width]
    return (columns - x) ** 2 + (rows - y) ** 2 <= radius**2


def _code(mask):
    return coco_mask.encode(np.asfortranarray(mask, np.uint8))


def _masks():
    random = np.random.default_rng(0)
    yield np.ones((3, 4), bool)
    yield np.zeros((3, 4), bool)
    # Columns that touch the border above and below are one run.
    yield np.arange(20).reshape(4, 5) % 5 < 2
    for _ in range(40):
        height, width = random.integers(1, 90, 2)
        yield random.random((height, width)) < random.random()
        yield _disc(height, width, random.integers(90), random.integers(90), random.integers(1, 40))


def test_codes_are_those_of_pycocotools():
    for mask in _masks():
        counts = _code(mask)["counts"]
        lengths = run_lengths(counts)
        pixels = np.repeat(np.arange(len(lengths)) % 2, lengths)
        np.testing.assert_array_equal(pixels.reshape(mask.shape[::-1]).T, mask)
        assert encode_window(mask, 0, 0, *mask.shape)["counts"] == counts
        around = np.pad(mask, [(3, 2), (1, 4)])
        assert encode_window(mask, 3, 1, *around.shape)["counts"] == _code(around)["counts"]


def _table(images):
    """Returns rows of the store of images, each a list of (mask, whether it is a crowd)."""
    names = "boxes", "box_classes", "crowd", "segments", "height", "width"
    columns: dict[str, list[Any]] = {name: [] for name in names}
    for objects in images:
        codes = [_code(mask) for mask, _ in objects]
        boxes = [[x, y, x + w, y + h] for x, y, w, h in map(coco_mask.toBbox, codes)]
        columns["boxes"].append(np.ravel(boxes).tolist())
        columns["box_classes"].append([0] * len(objects))
        columns["crowd"].append([crowd for _, crowd in objects])
        columns["segments"].append([code["counts"] for code in codes])
        columns["height"].append(60)
        columns["width"].append(90)
    fields = [BOXES, BOX_CLASSES, CROWD, SEGMENTS, ("height", pa.int32()), ("width", pa.int32())]
    return pa.table(columns, schema=pa.schema(fields))


_FIRST = [
    (_disc(60, 90, 20, 20, 9), False),
    (_disc(60, 90, 60, 30, 25), False),
    # Within the one before it, and cut by the border.
    (_disc(60, 90, 65, 35, 5), False),
    (_disc(60, 90, 5, 58, 8), True),
]


@pytest.fixture
def segments():
    table = _table([_FIRST, [], _FIRST[1::-1]])
    return read_segments(table, read_objects(table))


@pytest.mark.parametrize("size", [(60, 90), (30, 45), (40, 40), (120, 64)])
def test_maps_are_the_masks_at_the_size_of_the_images(size, segments):
    maps = segments.batch(np.arange(3), size)["instances"]
    expected = np.zeros(size, np.int16)
    # The largest first; of the smallest one nothing is covered.
    for number in (1, 0, 3, 2):
        resized = Image.fromarray(_FIRST[number][0]).resize(size[::-1], Image.Resampling.NEAREST)
        expected[np.asarray(resized)] = UNKNOWN if _FIRST[number][1] else number + 1
    np.testing.assert_array_equal(maps[0], expected)
    assert not maps[1].any()
    assert np.unique(maps[2]).tolist() == [0, 1, 2]


def test_codes_travel_with_the_images(segments):
    batch = segments.batch(np.array([[1, 0]]), (30, 45))
    assert batch["codes"].shape[:2] == batch["instances"].shape[:2] == (1, 2)
    size = np.array([60, 90])
    codes = codes_of(batch["codes"][0, 1], batch["code_bytes"][0, 1], size)
    for code, (mask, _) in zip(codes, _FIRST, strict=True):
        np.testing.assert_array_equal(coco_mask.decode(code), mask)
    background = codes_of(batch["codes"][0, 0], batch["code_bytes"][0, 0], size)
    assert coco_mask.area(background).tolist() == [0] * 4


def test_masks_are_pasted_at_the_size_of_the_image():
    # Circles that fill their boxes, in an input of half the size of the image.
    boxes = np.array([[5, 5, 15, 15], [-10, 20, 10, 40]], np.float32)
    x, y = window_points(np.array([-1.0, -1.0, 1.0, 1.0]), 28)
    masks = np.exp(-np.log(2.0) * (x**2 + y[:, None] ** 2))[None].repeat(2, 0)
    size = np.array([60, 90])
    codes = paste_masks(boxes, masks, size / 2, size)
    for code, (x, y, radius) in zip(codes, ((20, 20, 10), (0, 60, 20)), strict=True):
        pixels = coco_mask.decode(code).astype(bool)
        disc = _disc(60, 90, x - 0.5, y - 0.5, radius)
        assert (pixels & disc).sum() / (pixels | disc).sum() > 0.97
    assert WINDOW > 1.0
    nothing = paste_masks(boxes + 500, masks, size / 2, size)
    assert coco_mask.area(nothing).tolist() == [0, 0]
    assert paste_masks(boxes[:0], masks[:0], size / 2, size) == []
