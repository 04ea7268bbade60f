"""The same objects come out of every format: boxes, masks and keypoints, splits and background."""

import json
import re
import tarfile
from pathlib import Path
from typing import Any

import annotated_sets as sets
import numpy as np
import pyarrow as pa
import pytest
from pycocotools import mask as coco_mask
from scenes import write_scenes

from kfp_vision.components.data_import.source_version import dataset_version
from kfp_vision.components.data_import.sources import list_source
from kfp_vision.components.shared.datasets.store import open_split
from kfp_vision.components.shared.runtime.storage import record_reads, upload

_SHARED = Path(__file__).parents[4] / "shared/data"
_SPLITS = {"train": "train", "val": "validation", "test": "test"}


def stored(folder: Path) -> dict[str, dict[str, Any]]:
    """Returns name of an image -> its row, with the split."""
    return {
        Path(row["path"]).stem: {**row, "split": split}
        for split in ("train", "validation", "test")
        for row in open_split(folder, split).drop(["image"]).to_pylist()
    }


@pytest.mark.parametrize("name", sets.FORMATS)
def test_every_format_gives_the_same_boxes(name, tmp_path, import_into):
    written = sets.FORMATS[name]
    written.write(tmp_path / "set")
    info, folder = import_into(tmp_path / "set")
    assert (info.task, info.source_format, info.rejected) == ("detection", written.name, {})
    assert info.classes == list(sets.CLASSES)
    assert info.splits == {"train": 4, "validation": 4, "test": 4}
    assert "3 images have no object: background." in info.notes
    found = stored(folder)
    for image, (split, objects) in sets.SCENE.items():
        row = found[image]
        assert row["split"] == _SPLITS[split]
        kinds = [sets.CLASSES.index(kind) for kind, _ in objects]
        assert row["box_classes"] == kinds
        assert row["labels"] == sorted(set(kinds))
        assert row["crowd"] == [False] * len(objects)
        expected = [value for _, box in objects for value in box]
        np.testing.assert_allclose(row["boxes"], expected, atol=1e-4)


def _without_objects(monkeypatch, split):
    """Makes all images of a split background."""
    for name, (where, _) in sets.SCENE.items():
        if where == split:
            monkeypatch.setitem(sets.SCENE, name, (where, []))


@pytest.mark.parametrize("split", ["val", "test"])
@pytest.mark.parametrize("name", ["COCO", "Pascal VOC", "YOLO", "CSV"])
def test_background_alone_judges_nothing(name, split, tmp_path, import_into, monkeypatch):
    _without_objects(monkeypatch, split)
    sets.FORMATS[name].write(tmp_path / "set")
    info, folder = import_into(tmp_path / "set")
    judging = _SPLITS[split]
    named = f"{split}.json" if name == "COCO" else f"The split {judging}"
    assert (
        f"{named} has 4 images and no object: it cannot judge a model and is not used. The "
        f"{judging} images are taken from the training images."
    ) in info.notes
    assert info.split_origin == {
        each: "made" if each == judging else "given" for each in ("train", "validation", "test")
    }
    # Neither there nor in another split.
    assert not any(each.startswith(split) for each in stored(folder))
    assert sum(info.splits.values()) == 8


@pytest.mark.parametrize("column", ["class_id", "labels", "category_id", "cls", "Label ID"])
def test_a_table_may_call_its_classes_otherwise(column, tmp_path, import_into):
    header = f"filename,xmin,ymin,xmax,ymax,{column}"
    sets.write_table(tmp_path / "set", header, sets.corners)
    assert import_into(tmp_path / "set")[0].classes == list(sets.CLASSES)


def test_names_of_classes_go_before_their_numbers(tmp_path, import_into):
    def line(name, box, kind):
        return f"{'' if not kind else sets.CLASSES.index(kind)},{sets.corners(name, box, kind)}"

    header = "class_id,filename,xmin,ymin,xmax,ymax,class_name"
    sets.write_table(tmp_path / "set", header, line)
    assert import_into(tmp_path / "set")[0].classes == list(sets.CLASSES)


def test_columns_of_a_table_of_boxes_that_are_not_used_are_told(tmp_path, import_into):
    sets.write_table(tmp_path / "set", "filename,xmin,ymin,xmax,ymax,what", sets.corners)
    info, _ = import_into(tmp_path / "set")
    assert info.classes == ["object"]
    words = "columns not used: what. If one holds the classes, rename it to `label`."
    assert f"train.csv: {words}" in info.notes


def _halves(name, box, kind):
    """Corners with a fraction, as the spreadsheets of many countries write them."""
    sides = [f"{side + 0.5:.1f}".replace(".", ",") for side in box or ()]
    return ";".join([f"{name}.png", *(sides or [""] * 4), kind])


@pytest.mark.parametrize("separator", [";", "\t"])
def test_numbers_between_semicolons_or_tabs_may_have_decimal_commas(
    separator, tmp_path, import_into
):
    def line(*given):
        return _halves(*given).replace(";", separator)

    header = separator.join(["filename", "xmin", "ymin", "xmax", "ymax", "class"])
    sets.write_table(tmp_path / "set", header, line)
    info, folder = import_into(tmp_path / "set")
    assert (info.classes, info.objects_left_out) == (list(sets.CLASSES), {})
    assert any(re.fullmatch(r"train.csv: '\d+,5' is read as a number .*", x) for x in info.notes)
    found = stored(folder)
    for image, (_, objects) in sets.SCENE.items():
        sides = np.reshape([box for _, box in objects], (-1, 4)) + 0.5
        expected = np.minimum(sides, [sets.WIDTH, sets.HEIGHT] * 2)
        np.testing.assert_allclose(found[image]["boxes"], expected.ravel(), atol=1e-4)


def test_between_commas_a_comma_is_no_decimal_one(tmp_path, import_into):
    def line(*given):
        path, *sides, kind = _halves(*given).split(";")
        return ",".join([path, *(f'"{side}"' for side in sides), kind])

    header = "filename,xmin,ymin,xmax,ymax,class"
    sets.write_table(tmp_path / "set", header, line)
    with pytest.raises(ValueError, match="box"):
        import_into(tmp_path / "set")


def _lists(root: Path) -> Path:
    return root / "ImageSets/Main"


def test_each_year_of_pascal_voc_has_its_own_lists(tmp_path, import_into):
    # The same names in both, as sets have them that are numbered from 1.
    for year in ("VOC2007", "VOC2012"):
        sets.write_voc(tmp_path / "set/VOCdevkit" / year)
    old, new = (_lists(tmp_path / "set/VOCdevkit" / year) for year in ("VOC2007", "VOC2012"))
    both = [(old / f"{name}.txt").read_text() for name in ("train", "val")]
    (old / "trainval.txt").write_text("".join(both))
    # In the other year, train and val are not told apart.
    (new / "trainval.txt").write_text("".join(both))
    for name in ("train", "val"):
        (new / f"{name}.txt").unlink()
    info, folder = import_into(tmp_path / "set")
    assert info.rejected == {}
    assert info.splits == {"train": 12, "validation": 4, "test": 8}
    for split in info.splits:
        for path in open_split(folder, split)["path"].to_pylist():
            given = _SPLITS[sets.SCENE[Path(path).stem][0]]
            together = "VOC2012" in path and given == "validation"
            assert split == ("train" if together else given)


def test_trainval_beside_val_alone_is_for_training(tmp_path, import_into):
    sets.write_voc(tmp_path / "set")
    lists = _lists(tmp_path / "set")
    (lists / "trainval.txt").write_text(
        (lists / "train.txt").read_text() + (lists / "val.txt").read_text()
    )
    (lists / "train.txt").unlink()
    info, _ = import_into(tmp_path / "set")
    assert (info.rejected, info.splits) == ({}, {"train": 4, "validation": 4, "test": 4})


@pytest.mark.parametrize(("first", "suffix"), [("my ", ""), ("my ", ".png"), ("my_", "  1")])
def test_a_line_of_a_list_is_a_name_or_begins_with_it(
    first, suffix, tmp_path, monkeypatch, import_into
):
    scene = {f"{first}{name}": held for name, held in sets.SCENE.items()}
    monkeypatch.setattr(sets, "SCENE", scene)
    sets.write_voc(tmp_path / "set")
    for path in _lists(tmp_path / "set").glob("*.txt"):
        path.write_text("".join(f"{line}{suffix}\n" for line in path.read_text().splitlines()))
    info, _ = import_into(tmp_path / "set")
    assert (info.rejected, info.splits) == ({}, {"train": 4, "validation": 4, "test": 4})


def _polygon(box):
    left, top, right, bottom = box
    return [[left, top, right, top, (left + right) / 2, bottom]]


def _mask_of(box):
    """Returns the lower right triangle of a box, bool [H, W]."""
    left, top, right, bottom = box
    rows, columns = np.mgrid[: sets.HEIGHT, : sets.WIDTH]
    inside = (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)
    return inside & (columns - left >= rows - top)


def _compressed(box):
    code = coco_mask.encode(np.asfortranarray(_mask_of(box), np.uint8))
    return {"size": code["size"], "counts": code["counts"].decode()}


def _uncompressed(box):
    flat = _mask_of(box).ravel(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    bounds = [0, *([0] if flat[0] else []), *edges.tolist(), len(flat)]
    return {"size": [sets.HEIGHT, sets.WIDTH], "counts": np.diff(bounds).tolist()}


@pytest.mark.parametrize("make", [_compressed, _uncompressed])
def test_run_lengths_are_the_masks_that_they_code(make, tmp_path, import_into):
    sets.write_coco(tmp_path / "set", segmentation=make, iscrowd=lambda box: int(box[0] == 8))
    info, folder = import_into(tmp_path / "set")
    assert info.task == "instance_segmentation"
    for image, (_, objects) in sets.SCENE.items():
        row = stored(folder)[image]
        assert row["crowd"] == [box[0] == 8 for _, box in objects]
        for (_, box), counts in zip(objects, row["segments"], strict=True):
            size = [sets.HEIGHT, sets.WIDTH]
            pixels = coco_mask.decode({"size": size, "counts": counts})
            np.testing.assert_array_equal(pixels, _mask_of(box))


def test_polygons_of_coco_and_yolo_are_the_same_masks(tmp_path, import_into):
    def corners(box):
        return _polygon(box)[0]

    def line(box):
        return [x / side for x, side in zip(corners(box), (40, 30) * 3, strict=True)]

    sets.write_coco(tmp_path / "coco", segmentation=_polygon)
    sets.images(tmp_path / "yolo", "images/{split}/{name}.png")
    for name, (split, objects) in sets.SCENE.items():
        path = tmp_path / f"yolo/labels/{split}/{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [" ".join(map(str, (sets.CLASSES.index(k), *line(box)))) for k, box in objects]
        path.write_text("\n".join(rows))
    (tmp_path / "yolo/data.yaml").write_text("names: [cat, dog]\n")
    first, second = (stored(import_into(tmp_path / name)[1]) for name in ("coco", "yolo"))
    assert first.keys() == second.keys()
    for name, row in first.items():
        assert row["segments"] == second[name]["segments"]
        np.testing.assert_allclose(row["boxes"], second[name]["boxes"])


def test_four_corners_of_each_box_are_no_masks(tmp_path, import_into):
    def rectangle(box):
        left, top, right, bottom = box
        return [[left, top, right, top, right, bottom, left, bottom]]

    sets.write_coco(tmp_path / "set", segmentation=rectangle)
    assert import_into(tmp_path / "set")[0].task == "detection"
    info, folder = import_into(tmp_path / "set", task="instance_segmentation")
    assert info.task == "instance_segmentation"
    assert all(len(row["segments"]) == len(row["crowd"]) for row in stored(folder).values())


def _points(box):
    left, top, right, bottom = box
    return [left + 1, top + 1, 2, left, bottom, 1, 0, 0, 0]


def test_keypoints_of_coco_and_yolo_are_the_same(tmp_path, import_into):
    sets.write_coco(tmp_path / "coco", keypoints=_points, segmentation=_polygon)
    for path in (tmp_path / "coco").glob("*.json"):
        content = json.loads(path.read_text())
        for category in content["categories"]:
            category["keypoints"] = list(sets.POINTS)
        path.write_text(json.dumps(content))

    def shares(box):
        points = np.array(_points(box), float).reshape(-1, 3) / [sets.WIDTH, sets.HEIGHT, 1]
        return points.ravel().tolist()

    sets.write_yolo(
        tmp_path / "yolo",
        yaml="names: [cat, dog]\nkpt_shape: [3, 3]\nflip_idx: [0, 2, 1]\n",
        extra=shares,
    )
    for name in ("coco", "yolo"):
        info, folder = import_into(tmp_path / name)
        assert (info.task, info.keypoint_swaps) == ("keypoints", [[1, 2]])
        assert len(info.keypoint_names) == 3
        for image, (_, objects) in sets.SCENE.items():
            expected = [value for _, box in objects for value in _points(box)]
            np.testing.assert_allclose(stored(folder)[image]["keypoints"], expected, atol=1e-4)
    assert import_into(tmp_path / "coco", task="instance_segmentation")[0].keypoint_names == []


def test_splits_are_made_by_class_where_there_are_none(tmp_path, import_into):
    sets.images(tmp_path / "set", "{name}.png")
    documents = [sets.coco(split) for split in ("train", "val", "test")]
    whole = {"images": [], "annotations": [], "categories": documents[0]["categories"]}
    for part, document in enumerate(documents):
        whole["images"] += [{**each, "id": each["id"] + 10 * part} for each in document["images"]]
        whole["annotations"] += [
            {**each, "image_id": each["image_id"] + 10 * part} for each in document["annotations"]
        ]
    (tmp_path / "set/labels.json").write_text(json.dumps(whole))
    info, folder = import_into(tmp_path / "set")
    assert set(info.split_origin.values()) == {"made"}
    assert sum(info.splits.values()) == len(sets.SCENE)
    assert stored(folder).keys() == sets.SCENE.keys()


def _one_coco(root: Path) -> None:
    """Writes all splits into one document, whose file names hold them; one file is missing."""
    whole = sets.coco("train")
    whole["annotations"].clear()
    whole["images"] = [{"id": 99, "file_name": "gone.png"}]
    for number, (name, (split, objects)) in enumerate(sets.SCENE.items()):
        whole["images"].append({"id": number, "file_name": f"{split}/{name}.png"})
        whole["annotations"] += [
            {
                "id": len(whole["annotations"]) + place,
                "image_id": number,
                "category_id": {"cat": 7, "dog": 90}[kind],
                "bbox": [left, top, right - left, bottom - top],
            }
            for place, (kind, (left, top, right, bottom)) in enumerate(objects)
        ]
    (root / "labels.json").write_text(json.dumps(whole))


def _one_table(root: Path) -> None:
    """The same as a table."""
    lines = [
        ",".join([f"{split}/{name}.png", *map(str, box or ("",) * 4), kind])
        for split, name, box, kind in sets.rows()
    ]
    header = "filename,xmin,ymin,xmax,ymax,class"
    (root / "boxes.csv").write_text("\n".join([header, *lines, "gone.png,1,1,9,9,cat"]))


@pytest.mark.parametrize("write", [_one_coco, _one_table])
def test_splits_in_the_paths_are_kept_where_a_file_is_missing(write, tmp_path, import_into):
    sets.images(tmp_path / "set", "{split}/{name}.png")
    write(tmp_path / "set")
    info, folder = import_into(tmp_path / "set")
    assert info.rejected == {"missing_file": 1}
    assert set(info.split_origin.values()) == {"given"}
    found = {name: row["split"] for name, row in stored(folder).items()}
    assert found == {name: _SPLITS[split] for name, (split, _) in sets.SCENE.items()}


def test_poses_beside_instances_are_used_where_they_are_asked_for(tmp_path, import_into):
    sets.write_coco(tmp_path / "set", file="annotations/instances_{split}2017.json")
    for split in ("train", "val", "test"):
        poses = sets.coco(split, keypoints=_points)
        (tmp_path / f"set/annotations/person_keypoints_{split}2017.json").write_text(
            json.dumps(poses)
        )
    info, _ = import_into(tmp_path / "set")
    assert info.task == "detection"
    assert any("Not used: annotations/person_keypoints_test2017.json" in x for x in info.notes)
    assert import_into(tmp_path / "set", task="keypoints")[0].task == "keypoints"


def test_the_training_images_alone_say_how_many_objects_one_shows(tmp_path, import_into):
    # Image n shows n objects, up to three.
    source = write_scenes(tmp_path / "scenes", {"train": 3, "val": 4, "test": 8})
    assert import_into(source)[0].most_objects == 2


def test_images_without_labels_have_no_objects(tmp_path, save_images, import_into):
    sets.write_coco(tmp_path / "set")
    save_images(tmp_path / "more", 3)
    info, folder = import_into(tmp_path / "set", unlabeled_uri=str(tmp_path / "more"))
    assert (info.task, info.splits["unlabeled"]) == ("detection", 3)
    assert open_split(folder, "unlabeled")["boxes"].null_count == 3


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("COCO", "val.json"),
        ("Pascal VOC", "Annotations/train1.xml"),
        ("Pascal VOC", "ImageSets/Main/train.txt"),
        ("YOLO", "labels/train/train1.txt"),
        ("YOLO", "labels/val/val3.txt"),  # Not there: its image is background.
        ("YOLO", "data.yaml"),
        ("CSV", "train.csv"),
    ],
)
def test_other_annotations_are_another_version(name, file, tmp_path):
    sets.FORMATS[name].write(tmp_path)
    before = dataset_version(str(tmp_path), "auto", False)
    assert dataset_version(str(tmp_path), "auto", False) == before
    with (tmp_path / file).open("a") as changed:
        changed.write("\n")
    assert dataset_version(str(tmp_path), "auto", False) != before


def test_annotations_in_a_bucket_are_those_of_a_disk(s3, tmp_path, import_into):
    sets.write_yolo(tmp_path / "set")
    upload(tmp_path / "set", f"{s3}/set")
    remote, _ = import_into(f"{s3}/set")
    assert remote.fingerprint == import_into(tmp_path / "set")[0].fingerprint
    with record_reads() as opened:
        list_source(f"{s3}/set", "auto", "", False)
    assert {"data.yaml", "labels/train/train1.txt"} <= opened


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "task", "splits", "objects"),
    [
        ("bccd-voc", "detection", {"train": 205, "validation": 87, "test": 72}, 4886),
        ("nuclei-coco", "instance_segmentation", {"train": 194, "test": 53}, 8148),
        ("mouse-keypoints-coco", "keypoints", {"train": 84, "test": 23}, 116),
    ],
)
def test_real_sets(name, task, splits, objects, tmp_path, import_into):
    if not (_SHARED / f"{name}.tar").exists():
        pytest.skip(f"{name}.tar is not beside the repository")
    with tarfile.open(_SHARED / f"{name}.tar") as archive:
        archive.extractall(tmp_path / "set", filter="data")
    (source,) = (tmp_path / "set").iterdir()
    info, folder = import_into(source)
    assert (info.task, info.rejected) == (task, {})
    assert splits.items() <= info.splits.items()
    tables = [open_split(folder, split) for split in info.splits]
    assert sum(len(row) for each in tables for row in each["crowd"].to_pylist()) == objects
    assert pa.types.is_list(tables[0].schema.field("boxes").type)
