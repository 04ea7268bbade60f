"""Objects of a profile: counts, sizes, suspects and pictures of a store whose objects are known."""

import base64
import hashlib
import io
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from kfp_vision.components.data_profiling.images import read_images
from kfp_vision.components.data_profiling.object_figures import (
    count_objects,
    describe_objects,
    size_shares,
)
from kfp_vision.components.data_profiling.object_rules import (
    no_objects,
    objects_of_two_classes,
    objects_twice,
    tiny_objects,
)
from kfp_vision.components.data_profiling.objects import Objects, overlapping_pairs, read_objects
from kfp_vision.components.data_profiling.profile import ProfileConfig, profile_images
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import write_json
from kfp_vision.components.shared.datasets.label_pictures import draw_labels
from kfp_vision.components.shared.datasets.near_duplicates import NEAR_DUPLICATES_FILE
from kfp_vision.components.shared.datasets.palette import class_colour
from kfp_vision.components.shared.datasets.store import SCHEMA, SplitWriter, encode_raw
from kfp_vision.components.shared.recipe.document import Recipe
from kfp_vision.components.shared.tasks import objects as columns

_FIELDS = (
    columns.BOXES,
    columns.BOX_CLASSES,
    columns.CROWD,
    columns.SEGMENTS,
    columns.KEYPOINTS,
)
_HEIGHT, _WIDTH = 80, 120
# Split -> the objects of each image: box, class, crowd.
_SCENE: dict[str, list[list[tuple[tuple[int, int, int, int], int, bool]]]] = {
    "train": [
        [((10, 10, 20, 30), 0, False), ((50, 20, 110, 60), 1, False)],
        [((0, 0, 100, 50), 1, False), ((0, 0, 100, 49), 0, False), ((0, 0, 99, 50), 1, True)],
        [],
    ],
    "test": [
        [((5, 5, 7, 7), 1, False), ((60, 20, 90, 40), 0, False), ((60, 20, 90, 41), 0, False)]
    ],
}


def _mask(box: tuple[int, int, int, int]) -> bytes:
    """Returns the upper half of a box."""
    pixels = np.zeros((_HEIGHT, _WIDTH), np.uint8)
    left, top, right, bottom = box
    pixels[top : (top + bottom) // 2, left:right] = 1
    counts: bytes = coco_mask.encode(np.asfortranarray(pixels))["counts"]
    return counts


def _store(folder: Path, num_fields: int) -> DatasetInfo:
    fields = _FIELDS[:num_fields]
    image = np.full((_HEIGHT, _WIDTH, 3), 128, np.uint8)
    scene: dict[str, list[Any]] = {**_SCENE, "unlabeled": [None]}
    for split, rows in scene.items():
        with SplitWriter(folder, split, pa.schema([*SCHEMA, *fields])) as writer:
            for number, row in enumerate(rows):
                held = row or []
                values = {
                    "boxes": [x for box, _, _ in held for x in box],
                    "box_classes": [label for _, label, _ in held],
                    "crowd": [crowd for _, _, crowd in held],
                    "segments": [_mask(box) for box, _, _ in held],
                    "keypoints": [x for box, _, _ in held for x in (box[0], box[1], 2, 0, 0, 0)],
                }
                writer.write(
                    {
                        "image": encode_raw(image),
                        "encoding": "raw",
                        "height": _HEIGHT,
                        "width": _WIDTH,
                        "channels": 3,
                        "labels": sorted(set(values["box_classes"])),
                        "path": f"{split}/{number}.png",
                        "sha256": hashlib.sha256(f"{split}{number}".encode()).digest(),
                        "source_sha256": bytes(32),
                        "signature": bytes(64),
                        # Images without labels have none of them.
                        **{x.name: None if row is None else values[x.name] for x in fields},
                    }
                )
    counts = {**{split: len(rows) for split, rows in _SCENE.items()}, "unlabeled": 1}
    return DatasetInfo(
        task="detection",
        classes=["cat", "dog"],
        splits=counts,
        channels=3,
        median_height=_HEIGHT,
        median_width=_WIDTH,
        fingerprint="",
        source_uri="",
        source_format="coco",
        split_origin={},
        rejected={},
        notes=[],
        keypoint_names=["nose", "tail"],
    )


def test_objects_are_counted_and_measured(tmp_path):
    info = _store(tmp_path, 3)
    images = read_images(tmp_path, info)
    objects = read_objects(images)
    assert objects is not None
    assert objects.image.tolist() == [0, 0, 1, 1, 1, 3, 3, 3]
    assert count_objects(objects, info) == {
        "train": {"cat": 2, "dog": 2},
        "test": {"cat": 2, "dog": 1},
    }
    figures, histograms, _ = describe_objects(images, objects, info)
    assert (figures["train_objects"], figures["train_crowds"]) == (4, 1)
    assert (figures["objects_per_image"], figures["images_without_objects"]) == (
        "0 to 2, median 2",
        1,
    )
    # 200 and 2400 pixels, 5000 and 4900.
    assert figures["object_sizes"] == "25% small, 75% medium, 0% large"
    assert figures["aspect_ratio"] == "0.5 to 2.04, median 1.75"
    assert sum(histograms["aspect_ratio"].counts) == 4
    # Two images with two objects, one without: a bin for every number.
    assert histograms["objects_per_image"].edges == [0, 1, 2, 3]
    assert histograms["objects_per_image"].counts == [1, 0, 2]


def test_masks_and_keypoints_are_measured(tmp_path):
    info = _store(tmp_path, 5)
    images = read_images(tmp_path, info)
    objects = read_objects(images)
    assert objects is not None
    assert objects.areas[:2].tolist() == [100, 1200]
    figures, histograms, _ = describe_objects(images, objects, info)
    assert str(figures["mask_share_of_box"]).endswith("median 0.5")
    assert "mask_area" in histograms
    assert figures["keypoints_labelled"] == "nose 100%, tail 0%"


def test_sizes_are_those_of_coco():
    areas = np.array([0, 32**2 - 1, 32**2, 96**2 - 1, 96**2, 1e6])
    assert size_shares(areas) == pytest.approx({"small": 1 / 3, "medium": 1 / 3, "large": 1 / 3})


def test_pairs_are_those_of_the_reference():
    generator = np.random.default_rng(0)
    corner, size = generator.uniform(0, 20, (60, 2)), generator.uniform(5, 30, (60, 2))
    boxes = np.concatenate([corner, corner + size], axis=1).astype(np.float32)
    image = np.sort(generator.integers(0, 5, 60))
    crowd = generator.random(60) < 0.1
    flat = np.zeros(60)
    objects = Objects(image, flat, boxes, flat.astype(int), crowd, flat, False, None)
    xywh = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).astype(np.float64)
    shares = coco_mask.iou(xywh, xywh, [0] * 60)
    expected = {
        (a, b)
        for a in range(60)
        for b in range(a + 1, 60)
        if image[a] == image[b] and not crowd[a] and not crowd[b] and shares[a, b] >= 0.5
    }
    assert {tuple(pair) for pair in overlapping_pairs(objects, 0.5).tolist()} == expected
    assert expected


def test_a_set_of_background_alone_has_no_objects(tmp_path, monkeypatch):
    for split, rows in _SCENE.items():
        monkeypatch.setitem(_SCENE, split, [[] for _ in rows])
    info = replace(_store(tmp_path, 3), split_origin={"train": "given", "test": "given"})
    write_json(info, tmp_path / "dataset.json")
    np.save(tmp_path / NEAR_DUPLICATES_FILE, np.arange(sum(info.splits.values())))
    profile = profile_images(tmp_path, Recipe(), tmp_path / "out", ProfileConfig())
    found = {each.code: each for each in profile.findings}
    assert (found["no_objects"].level, found["no_objects"].count) == ("fail", 4)
    assert not found.keys() & {"objects_twice", "objects_of_two_classes", "tiny_objects"}


@pytest.mark.parametrize(
    ("task", "num_fields", "drawn"),
    [
        ("detection", 3, {"cat": 0, "dog": 1}),
        ("keypoints", 5, {"cat": 0, "dog": 1, "nose": 1, "tail": 2}),
    ],
)
def test_the_page_names_the_colours_of_what_is_drawn(tmp_path, task, num_fields, drawn):
    origin = {"train": "given", "test": "given"}
    info = replace(_store(tmp_path, num_fields), task=task, split_origin=origin)
    write_json(info, tmp_path / "dataset.json")
    np.save(tmp_path / NEAR_DUPLICATES_FILE, np.arange(sum(info.splits.values())))
    profile_images(tmp_path, Recipe(), tmp_path / "out", ProfileConfig())
    page = (tmp_path / "out/profile.html").read_text()
    named = re.findall(r'style="background:(#\w{6})"></i>(\w+)<', page)
    assert {name: colour for colour, name in named} == {
        name: "#{:02x}{:02x}{:02x}".format(*class_colour(place)) for name, place in drawn.items()
    }


def _measured(objects: Objects | None) -> Any:
    """Returns what the rules look at."""
    return SimpleNamespace(classes=("cat", "dog"), objects=objects)


def test_suspects_are_found(tmp_path):
    objects = read_objects(read_images(tmp_path, _store(tmp_path, 3)))
    found = {
        rule.__name__: rule(_measured(objects))
        for rule in (objects_of_two_classes, objects_twice, tiny_objects)
    }
    rows = {name: (seen.count, seen.rows.tolist()) for name, seen in found.items() if seen}
    assert rows == {
        "objects_of_two_classes": (1, [1]),
        "objects_twice": (1, [3]),
        "tiny_objects": (1, [3]),
    }
    assert all(seen and seen.level == "warn" for seen in found.values())
    for rule in (objects_of_two_classes, objects_twice):
        seen = rule(_measured(objects))
        assert seen is not None
        assert re.search("1 pair of boxes overlaps by .* in 1 image: ", seen.message)
    for rule in (objects_of_two_classes, objects_twice, tiny_objects):
        assert rule(_measured(None)) is None


def test_a_split_of_crowds_alone_has_no_objects(tmp_path):
    images = read_images(tmp_path, _store(tmp_path, 3))
    objects = read_objects(images)
    assert objects is not None
    measured: Any = SimpleNamespace(counts=["train", "test"], split=images.split, objects=objects)
    assert no_objects(measured) is None
    without = np.zeros((len(objects.crowd), 2, 3))
    measured.objects = replace(objects, keypoints=without)
    seen = no_objects(measured)
    assert seen is not None
    assert seen.count == 4
    measured.objects = objects
    objects.crowd[objects.split == "test"] = True
    seen = no_objects(measured)
    assert seen is not None
    assert (seen.level, seen.rows.tolist(), seen.acceptable) == ("fail", [3], False)


def test_labels_are_drawn_where_they_are():
    pixels = np.full((160, 80, 1), 10, np.uint8)
    row = {"boxes": [20, 40, 60, 120], "box_classes": [1], "crowd": [False]}
    picture = np.asarray(draw_labels(pixels, row, side=80))
    assert picture.shape == (80, 40, 3)
    edge = (picture == class_colour(1)).all(axis=-1)
    rows, columns_of = np.nonzero(edge)
    assert (rows.min(), rows.max(), columns_of.min(), columns_of.max()) == (20, 60, 10, 30)
    assert not edge[30, 20]
    mask = np.zeros((160, 80), np.uint8)
    mask[40:120, 20:60] = 1
    counts = coco_mask.encode(np.asfortranarray(mask))["counts"]
    filled = np.asarray(draw_labels(pixels, {**row, "segments": [counts]}, side=80))
    assert (filled[30, 20] != 10).any()
    assert (filled[10, 20] == 10).all()
    file = io.BytesIO()
    Image.fromarray(np.where(mask, 2, 255).astype(np.uint8)).save(file, "PNG")
    classes = np.asarray(draw_labels(pixels, {"mask": file.getvalue()}, side=80))
    assert (classes[30, 20] != 10).any()
    assert (classes[10, 20] == 10).all()
    points = {**row, "keypoints": [20, 40, 2, 60, 120, 0]}
    dotted = np.asarray(draw_labels(pixels, points, side=80))
    assert (dotted[20, 10] == class_colour(1)).all()
    assert (dotted[60, 31] == 10).all()


def test_pictures_of_a_profile_show_the_labels(tmp_path):
    images = read_images(tmp_path, _store(tmp_path, 3))
    found = base64.b64decode(images.picture(0).partition(",")[2])
    with Image.open(io.BytesIO(found)) as picture:
        assert picture.size == (_WIDTH, _HEIGHT)
        assert len(picture.convert("RGB").getcolors() or []) > 1
