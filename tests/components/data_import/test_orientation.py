"""Annotations of photographs as their files hold them are turned upright together with these."""

import io
import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from kfp_vision.components.shared.datasets.store import open_split

_HEIGHT, _WIDTH = 20, 30
_SWAPPING = (5, 6, 7, 8)
_TURNED = "photographs are annotated as stored: turned with the image"
_UPRIGHT = "photographs are turned by EXIF, and no size tells"


def _save(pixels, path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, exif=exif)


def _polygon(left, top, right, bottom):
    return {"segmentation": [[left, top, right, top, right, bottom, left, bottom, left, top + 1]]}


def _run_lengths(left, top, right, bottom):
    pixels = np.zeros((_HEIGHT, _WIDTH), np.uint8)
    pixels[top:bottom, left:right] = 1
    counts = coco_mask.encode(np.asfortranarray(pixels))["counts"].decode()
    return {"segmentation": {"size": [_HEIGHT, _WIDTH], "counts": counts}}


def _keypoints(left, top, right, bottom):
    return {"keypoints": [left + 1.5, top + 2.5, 2, 0, 0, 0]}


def _write(root, orientation, describe, height=_HEIGHT, width=_WIDTH):
    """Writes photographs with a bright rectangle and COCO for them as they are stored."""
    images, objects = [], []
    for number in range(12):
        left, top = 2 + number, 1 + number % 5
        right, bottom = left + 7, top + 4
        pixels = np.random.default_rng(number).integers(0, 90, (height, width, 3), np.uint8)
        pixels[top:bottom, left:right] = 200
        pixels[top + 2, left + 1] = 255
        _save(pixels, root / f"{number}.png", orientation)
        images.append(
            {"id": number, "file_name": f"{number}.png", "height": height, "width": width}
        )
        box = [left, top, right - left, bottom - top]
        described = describe(left, top, right, bottom)
        objects.append({"id": number, "image_id": number, "category_id": 1, "bbox": box})
        objects[-1] |= described
    names = {"keypoints": ["eye", "tail"]} if "keypoints" in objects[0] else {}
    categories = [{"id": 1, "name": "cat", **names}]
    content = {"images": images, "annotations": objects, "categories": categories}
    (root / "boxes.json").write_text(json.dumps(content))


def _rows(folder, info):
    for split in info.splits:
        for row in open_split(folder, split).to_pylist():
            with Image.open(io.BytesIO(row["image"])) as image:
                yield row, np.asarray(image)[..., 0]


@pytest.mark.parametrize(
    "describe",
    [lambda *box: {}, _polygon, _run_lengths, _keypoints],
    ids=["boxes", "polygons", "run lengths", "keypoints"],
)
@pytest.mark.parametrize("orientation", _SWAPPING)
def test_what_is_annotated_stays_where_it_is_seen(tmp_path, import_into, orientation, describe):
    _write(tmp_path / "set", orientation, describe)
    info, folder = import_into(tmp_path / "set")
    assert info.rejected == {}
    assert f"12 {_TURNED}." in info.notes
    for row, pixels in _rows(folder, info):
        assert pixels.shape == (_WIDTH, _HEIGHT)
        shown = pixels > 100
        y, x = np.nonzero(shown)
        assert row["boxes"] == [x.min(), y.min(), x.max() + 1, y.max() + 1]
        if info.task == "instance_segmentation":
            code = {"size": list(pixels.shape), "counts": row["segments"][0]}
            np.testing.assert_array_equal(coco_mask.decode(code), shown)
        if info.task == "keypoints":
            ((y, x),) = np.argwhere(pixels == 255)
            assert row["keypoints"] == [x + 0.5, y + 0.5, 2, 0, 0, 0]


@pytest.mark.parametrize("orientation", [1, 2, 3, 4])
def test_sizes_do_not_tell_whether_a_photograph_was_mirrored_or_upside_down(
    tmp_path, import_into, orientation
):
    _write(tmp_path / "set", orientation, lambda *box: {})
    info, folder = import_into(tmp_path / "set")
    assert not any(_TURNED in note for note in info.notes)
    assert any(_UPRIGHT in note for note in info.notes) == (orientation > 1)
    for row, _ in _rows(folder, info):
        left, top = 2 + int(row["path"][:-4]), 1 + int(row["path"][:-4]) % 5
        assert row["boxes"] == [left, top, left + 7, top + 4]


@pytest.mark.parametrize("orientation", _SWAPPING)
def test_square_photographs_are_left_as_annotated(tmp_path, import_into, orientation):
    _write(tmp_path / "set", orientation, lambda *box: {}, height=_WIDTH)
    info, _ = import_into(tmp_path / "set")
    assert not any(_TURNED in note for note in info.notes)
    assert any(note.startswith(f"12 {_UPRIGHT}") for note in info.notes)


def test_annotations_of_upright_photographs_are_not_turned(tmp_path, import_into):
    _write(tmp_path / "set", 6, lambda *box: {})
    file = tmp_path / "set/boxes.json"
    content = json.loads(file.read_text())
    for each in content["images"]:
        each.update(height=_WIDTH, width=_HEIGHT)
    for each in content["annotations"]:
        each["bbox"] = [3, 5, 4, 7]
    file.write_text(json.dumps(content))
    info, folder = import_into(tmp_path / "set")
    assert not any(_TURNED in note or _UPRIGHT in note for note in info.notes)
    assert all(row["boxes"] == [3, 5, 7, 12] for row, _ in _rows(folder, info))


@pytest.mark.parametrize("orientation", _SWAPPING)
def test_masks_of_class_numbers_are_turned(tmp_path, import_into, orientation):
    root = tmp_path / "set"
    for number in range(12):
        noise = np.random.default_rng(number).integers(0, 256, (_HEIGHT, _WIDTH), np.uint8)
        _save(noise, root / f"images/{number}.png", orientation)
        (root / "masks").mkdir(exist_ok=True)
        Image.fromarray(noise // 128).save(root / f"masks/{number}.png")
    info, folder = import_into(root)
    assert (info.task, info.rejected) == ("semantic_segmentation", {})
    assert f"12 {_TURNED}." in info.notes
    for split in info.splits:
        for row in open_split(folder, split).to_pylist():
            with (
                Image.open(io.BytesIO(row["image"])) as image,
                Image.open(io.BytesIO(row["mask"])) as mask,
            ):
                np.testing.assert_array_equal(np.asarray(mask), np.asarray(image) // 128)
