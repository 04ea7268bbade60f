"""Bad annotations: refused with what is wrong, or left out, counted and told; nothing is silent."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import annotated_sets as sets
import pyarrow.parquet as pq
import pytest

from kfp_vision.components.data_import.importer import ImportConfig, import_dataset

Edit = Callable[[Path], object]


def _edit(change: Callable[[dict[str, Any]], object], splits: tuple[str, ...] = ("train",)) -> Edit:
    """Returns what changes the files of splits."""

    def edit(root: Path) -> None:
        for path in (root / f"{split}.json" for split in splits):
            content = json.loads(path.read_text())
            change(content)
            path.write_text(json.dumps(content))

    return edit


def _edit_all(change: Callable[[dict[str, Any]], object], **values: Any) -> Edit:
    """Returns what changes the files of all splits, and then the second object of one."""

    def edit(root: Path) -> None:
        _edit(change, ("train", "val", "test"))(root)
        _first(**values)(root)

    return edit


def _each(**values: Any) -> Edit:
    """Returns what sets keys of every object of `train.json`."""
    return _edit(lambda content: [each.update(values) for each in content["annotations"]])


def _first(**values: Any) -> Edit:
    """Returns what sets keys of the second object, whose image has another one."""
    return _edit(lambda content: content["annotations"][1].update(values))


def _to_corners(content: dict[str, Any]) -> None:
    for each in content["annotations"]:
        left, top, width, height = each["bbox"]
        each["bbox"] = [left + 8, top + 8, left + width + 12, top + height + 14]


def _scaled(factor: float, height: int) -> Edit:
    def change(content: dict[str, Any]) -> None:
        for each in content["images"]:
            each.update(width=int(sets.WIDTH * factor), height=height)
        for each in content["annotations"]:
            each["bbox"] = [value * factor for value in each["bbox"]]

    return _edit(change)


def _masked(**values: Any) -> Edit:
    """Returns what gives every object a triangle, and the second one other values."""

    def change(content: dict[str, Any]) -> None:
        for each in content["annotations"]:
            left, top, width, height = each["bbox"]
            each["segmentation"] = [[left, top, left + width, top, left, top + height]]

    return _edit_all(change, **values)


def _posed(**values: Any) -> Edit:
    def change(content: dict[str, Any]) -> None:
        for each in content["categories"]:
            each["keypoints"] = list(sets.POINTS)
        for each in content["annotations"]:
            each["keypoints"] = [5, 5, 2, 6, 6, 1, 0, 0, 0]

    return _edit_all(change, **values)


def _all(**values: Any) -> Edit:
    """Returns what sets keys of every object of all splits."""
    return _edit(
        lambda content: [each.update(values) for each in content["annotations"]],
        ("train", "val", "test"),
    )


def _posed_all(names: list[str | None], keypoints: list[float]) -> Edit:
    """Returns what names the keypoints of every category, and sets those of every object."""

    def edit(root: Path) -> None:
        _all(keypoints=keypoints)(root)
        _edit(
            lambda content: [each.update(keypoints=names) for each in content["categories"]],
            ("train", "val", "test"),
        )(root)

    return edit


# What is done to a COCO set -> words of the error.
REFUSED: dict[str, tuple[Edit, str]] = {
    "no categories": (
        _edit(lambda c: c.pop("categories")),
        r"must have `categories`.*train.json with 4 images",
    ),
    "empty categories": (_edit(lambda c: c.update(categories=[])), "must have `categories`"),
    "a category without a name": (
        _edit(lambda c: c["categories"][0].pop("name")),
        r"must have `id` and `name`.*train.json",
    ),
    "ids of categories repeat": (
        _edit(lambda c: c["categories"].append({"id": 7, "name": "emu"})),
        r"Ids of categories must differ.*'cat' and 'emu'",
    ),
    "ids of images repeat": (
        _edit(lambda c: c["images"].append({"id": 1, "file_name": "train1.png"})),
        r"Ids of images must differ.*'train0.png' and 'train1.png'",
    ),
    "categories with other keypoints": (
        _edit(
            lambda c: [each.update(keypoints=[each["name"]]) for each in c["categories"]],
        ),
        "must have the same ones",
    ),
    "corners": (_edit(_to_corners), r"\[left, top, width, height\].*Subtract left and top"),
    "corners, and no sizes of images": (
        lambda root: (
            _edit(_to_corners)(root),
            _edit(lambda c: [each.pop("width") for each in c["images"]])(root),
        ),
        r"\[left, top, width, height\].*Subtract left and top",
    ),
    "no image is there": (
        _edit(lambda c: [each.update(file_name=f"x{each['id']}.jpg") for each in c["images"]]),
        "none of which is there, for instance 'x1.jpg'",
    ),
    "a list that is none": (_edit(lambda c: c.update(images="train0.png")), "a list of objects"),
    "half a file": (
        lambda root: (root / "train.json").write_text((root / "train.json").read_text()[:-99]),
        r"whole JSON object.*train.json.*after \d+ characters",
    ),
    "UTF-16": (
        lambda root: (root / "train.json").write_bytes(
            b'{"images": ' + "[]}".encode("utf-16-le") + b"\xff"
        ),
        "train.json",
    ),
    "nothing in it": (
        lambda root: [
            (root / f"{split}.json").write_text('{"images": [], "annotations": []}')
            for split in ("train", "val", "test")
        ],
        "must be a JSON object with the lists",
    ),
    "no object": (
        lambda root: [
            (root / f"{split}.json").write_text(json.dumps({**sets.coco(split), "annotations": []}))
            for split in ("train", "val", "test")
        ],
        r"must hold objects\. Received: none .*; 12 images\..* Label objects in some of them, or",
    ),
    "crowds alone": (
        _edit(
            lambda c: [each.update(iscrowd=1) for each in c["annotations"]],
            ("train", "val", "test"),
        ),
        r"must hold objects\. Received: 18 crowds or difficult ones, which are not learned",
    ),
    "no object has a box": (
        _all(bbox=None),
        r"must have a box.*18 objects.*18 without any, 0 with boxes of NaN",
    ),
    "no box has an area": (_all(bbox=[9, 9, -4, 5]), r"18 objects.*0 without any, 18 with boxes"),
    "boxes in shares of the image": (
        _all(bbox=[0.1, 0.2, 0.3, 0.3]),
        r"must be in pixels.*all 6 boxes end at 1 at most",
    ),
    "names for ids of categories": (
        _all(category_id="cat"),
        r"none of a class that is listed, 18 of others.*ids without a category: \['cat'\]",
    ),
    "names of files for ids of images": (
        _all(image_id="train0.png"),
        "6 objects are of images that are not listed",
    ),
    "keypoints of another number than their names": (
        _posed_all(names=["a", "b", "c"], keypoints=[1, 2, 2, 3, 4, 2]),
        r"3 names, \['a', 'b', 'c'\], and objects of \[2\] keypoints",
    ),
    "keypoints of one name": (
        _posed_all(names=["a", "a"], keypoints=[1, 2, 2, 3, 4, 2]),
        r"must have names that differ.*\['a', 'a'\]",
    ),
    "keypoints without names": (
        _posed_all(names=["a", None], keypoints=[1, 2, 2, 3, 4, 2]),
        r"must have names that differ.*\['a', ''\]",
    ),
    "training images without annotations": (
        _edit(lambda c: c.update(annotations=[])),
        r"must have `annotations`\. Received: train.json without",
    ),
    "two files for one split": (
        lambda root: (root / "train_b.json").write_text((root / "train.json").read_text()),
        "called after different splits",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_coco_is_refused(name, tmp_path):
    spoil, words = REFUSED[name]
    sets.write_coco(tmp_path / "set")
    spoil(tmp_path / "set")
    with pytest.raises(ValueError, match=words) as caught:
        import_dataset(str(tmp_path / "set"), tmp_path / "out/dataset", ImportConfig())
    assert "Received: " in str(caught.value)
    assert list((tmp_path / "out").iterdir()) == []


# What is done to a COCO set -> words of a note, and codes of rejections.
TOLD: dict[str, tuple[Edit, str, dict[str, int]]] = {
    "an image is absent": (
        lambda root: (root / "train/train1.png").unlink(),
        "Left out: 1 x missing_file",
        {"missing_file": 1},
    ),
    "images are not listed": (
        _edit(lambda c: c["images"].pop()),
        r"1 images are in no annotation and not used: 1 in train/; for instance train/train3.png",
        {},
    ),
    "ids of objects repeat": (_each(id=1), "5 ids of objects are used twice", {}),
    "an image is listed twice": (
        _edit(lambda c: c["images"].append(c["images"][0])),
        "1 images are listed twice: kept once",
        {},
    ),
    "a file under two ids": (
        _edit(lambda c: c["images"].append({**c["images"][0], "id": 50})),
        "1 images are listed twice in one split",
        {},
    ),
    "objects of no image": (
        _edit(lambda c: c["annotations"].append({**c["annotations"][0], "image_id": 99})),
        "1 objects are of images that are not listed",
        {},
    ),
    "a class id out of range": (_first(category_id=4), "1 objects are of a class that is not", {}),
    "two ids of one name": (
        _edit(lambda c: c["categories"].append({"id": 8, "name": "cat"})),
        r"categories of one name are one class: \['cat'\]",
        {},
    ),
    "a class without objects": (
        _edit(lambda c: c["categories"].append({"id": 1, "name": "emu"})),
        r"Classes without an object, left out: 1 \(emu\)",
        {},
    ),
    "NaN": (_first(bbox=[float("nan"), 1, 5, 5]), "1 boxes hold NaN or infinity", {}),
    "text for a number": (_first(bbox=["left", 1, 5, 5]), "1 boxes hold NaN or infinity", {}),
    "infinity": (_first(bbox=[1, 1, float("inf"), 5]), "1 boxes hold NaN or infinity", {}),
    "three numbers": (_first(bbox=[1, 1, 5]), "1 objects have no box", {}),
    "no area": (_first(bbox=[5, 5, 0, 9]), "1 boxes have no area", {}),
    "beyond the image": (_first(bbox=[30, 20, 30, 30]), "1 boxes reach out of their image", {}),
    "outside of the image": (_first(bbox=[50, 20, 30, 30]), "1 objects lie outside", {}),
    "written twice": (
        _edit(lambda c: c["annotations"].append({**c["annotations"][0], "id": 99})),
        "1 objects are written twice",
        {},
    ),
    "all objects of an image": (
        _edit(lambda c: c["annotations"][0].update(bbox=[5, 5, 0, 9])),
        "Left out: 1 x no_usable_object",
        {"no_usable_object": 1},
    ),
    "all objects of all images": (
        _each(bbox=[1, 1, -4, 5]),
        "Left out: 3 x no_usable_object",
        {"no_usable_object": 3},
    ),
    "images of half the size": (_scaled(2, 2 * sets.HEIGHT), "4 images are larger or smaller", {}),
    "images of another shape": (
        _edit(lambda c: c["images"][1].update(width=30, height=40)),
        "Left out: 1 x annotation_size",
        {"annotation_size": 1},
    ),
    "sizes that are not known": (
        _edit(lambda c: [each.update(width=0, height=None) for each in c["images"]]),
        "The annotations are for detection",
        {},
    ),
    "absolute path": (
        _edit(lambda c: c["images"][1].update(file_name="/etc/passwd")),
        "Left out: 1 x absolute_path",
        {"absolute_path": 1},
    ),
    "a path out of the root": (
        _edit(lambda c: c["images"][1].update(file_name="../../secret.png")),
        "Left out: 1 x outside_root",
        {"outside_root": 1},
    ),
    "ids of categories as 7.0": (
        _edit(lambda c: [a.update(category_id=float(a["category_id"])) for a in c["annotations"]]),
        "18 objects of 2 classes in 12 images: 18 with boxes",
        {},
    ),
    "crowds as text": (_all(iscrowd="0"), "18 with boxes.$", {}),
    "no outline in a list": (
        _all(segmentation=[[]]),
        "18 with boxes.$",
        {},
    ),
    "outlines of points": (
        _all(segmentation=[[[3, 4], [10, 4], [10, 12]]]),
        "18 outlines cannot be read, and are not used",
        {},
    ),
    "no mask": (_masked(segmentation=None), "1 objects have no mask", {}),
    "a mask of another size": (
        _masked(segmentation={"size": [9, 9], "counts": [81]}),
        "1 masks cannot be read",
        {},
    ),
    "counts that do not fit": (
        _masked(segmentation={"size": [30, 40], "counts": [10, 10]}),
        "1 masks cannot be read",
        {},
    ),
    "counts that would be written beyond the image": (
        _masked(segmentation={"size": [30, 40], "counts": "zzzzzz"}),
        "1 masks cannot be read",
        {},
    ),
    "a mask of a size that is none": (
        _masked(segmentation={"size": [1e400, "x"], "counts": [1]}),
        "1 masks cannot be read",
        {},
    ),
    "an empty mask": (
        _masked(segmentation={"size": [30, 40], "counts": [1200]}),
        "1 masks are empty",
        {},
    ),
    "a polygon beside nothing": (
        _masked(segmentation=[None, [1, 1, 5]]),
        "1 masks cannot be",
        {},
    ),
    "a polygon of two corners": (_masked(segmentation=[[1, 1, 5, 5]]), "1 masks cannot be", {}),
    "a polygon far outside": (
        _masked(segmentation=[[1e9, 1e9, 2e9, 1e9, 1e9, 2e9]]),
        "1 masks are empty",
        {},
    ),
    "keypoints of another length": (_posed(keypoints=[1, 1, 2]), "1 objects have another", {}),
    "no keypoints": (_posed(keypoints=[0] * 9), "1 objects have no labelled keypoint", {}),
    "no keypoints at all": (
        lambda root: (
            _posed()(root),
            _edit_all(lambda c: [a.update(keypoints=[0] * 9) for a in c["annotations"]])(root),
        ),
        "3 keypoints are named, and none is labelled",
        {},
    ),
    "keypoints outside": (
        _posed(keypoints=[5, 5, 2, 90, 5, 2, 0, 0, 0]),
        "1 keypoints lie outside",
        {},
    ),
}


@pytest.mark.parametrize("name", TOLD)
def test_coco_is_used_and_what_is_wrong_is_told(name, tmp_path, import_into):
    spoil, words, codes = TOLD[name]
    sets.write_coco(tmp_path / "set")
    spoil(tmp_path / "set")
    info, folder = import_into(tmp_path / "set")
    assert any(re.search(words, note) for note in info.notes), info.notes
    assert info.rejected == codes
    rows = pq.read_table(folder / "rejected.parquet").to_pylist()
    assert len(rows) == sum(codes.values())


def test_objects_that_are_missing_in_their_image_are_counted(tmp_path, import_into):
    sets.write_coco(tmp_path / "set")
    _first(bbox=[5, 5, 0, 9])(tmp_path / "set")
    assert import_into(tmp_path / "set")[0].objects_left_out == {"no_area": 1}


def test_boxes_are_scaled_with_their_image(tmp_path, import_into):
    for name, factor in (("small", 1), ("large", 2)):
        sets.write_coco(tmp_path / name)
        _scaled(factor, factor * sets.HEIGHT)(tmp_path / name)
    prints = [import_into(tmp_path / name)[0].fingerprint for name in ("small", "large")]
    assert prints[0] == prints[1]


def _voc(change: Callable[[str], str], path: str = "Annotations/train1.xml") -> Edit:
    def edit(root: Path) -> None:
        (root / path).write_text(change((root / path).read_text()))

    return edit


def _copied(path: str) -> Edit:
    """Returns what copies an XML file and says something else in the copy."""

    def edit(root: Path) -> None:
        (root / path).parent.mkdir(parents=True)
        text = (root / "Annotations/train1.xml").read_text()
        (root / path).write_text(re.sub(r"<name>\w+", "<name>other", text))

    return edit


_BOMB = """<!DOCTYPE annotation [<!ENTITY a "xxxxxxxxxx">
<!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>
<annotation><object><name>&b;</name></object></annotation>"""
_FILE = """<!DOCTYPE annotation [<!ENTITY a SYSTEM "file:///etc/passwd">]>
<annotation><object><name>&a;</name></object></annotation>"""


def _each_label(change: Callable[[int, str], str]) -> Edit:
    """Returns what changes every line of YOLO, given its class and the rest."""

    def edit(root: Path) -> None:
        for path in (root / "labels").rglob("*.txt"):
            lines = [line.partition(" ") for line in path.read_text().splitlines()]
            path.write_text("\n".join(change(int(number), rest) for number, _, rest in lines))

    return edit


def _in_capitals(root: Path) -> None:
    (root / "data.yaml").write_text("names: [cat, dog]\n")
    for path in (root / "labels").rglob("*.txt"):
        path.rename(path.with_suffix(".TXT"))
    (root / "labels").rename(root / "Labels")
    (root / "images").rename(root / "Images")


def _decomposed(root: Path) -> None:
    for path in [*root.rglob("*.png"), *(root / "labels").rglob("*.txt")]:
        accent = "\u00fc" if path.suffix == ".png" else "u\u0308"
        path.rename(path.with_name(accent + path.name))


# Writer of a set, what is done to it -> words of a note, and codes of rejections.
OTHERS: dict[str, tuple[Edit, Edit, str, dict[str, int]]] = {
    "an XML bomb": (
        sets.write_voc,
        _voc(lambda _: _BOMB),
        "Left out: 1 x broken_annotation",
        {"broken_annotation": 1},
    ),
    "an external entity": (
        sets.write_voc,
        _voc(lambda _: _FILE),
        "Left out: 1 x broken_annotation",
        {"broken_annotation": 1},
    ),
    "an empty XML file": (
        sets.write_voc,
        _voc(lambda _: ""),
        "Left out: 1 x broken_annotation",
        {"broken_annotation": 1},
    ),
    "XML that is not": (
        sets.write_voc,
        _voc(lambda _: "a,b,c"),
        "Left out: 1 x broken_annotation",
        {"broken_annotation": 1},
    ),
    "a list of images with their folder": (
        sets.write_voc,
        _voc(lambda text: re.sub("(?m)^t", r".\\JPEGImages\\t", text), "ImageSets/Main/train.txt"),
        "Task: detection, 2 classes",
        {},
    ),
    "Label Studio's notes beside YOLO": (
        sets.write_yolo,
        lambda root: (root / "notes.json").write_text(
            '{"categories": [{"id": 0, "name": "cat"}], "info": {"year": 2026}}'
        ),
        "18 objects of 2 classes in 12 images",
        {},
    ),
    "suffixes and folders of YOLO in capitals": (
        sets.write_yolo,
        _in_capitals,
        "18 objects of 2 classes in 12 images",
        {},
    ),
    "accents that are composed in another way": (
        sets.write_yolo,
        _decomposed,
        "18 objects of 2 classes in 12 images",
        {},
    ),
    "a number of classes that is text": (
        sets.write_yolo,
        lambda root: (root / "data.yaml").write_text("nc: '2'\nnames: [cat, dog]\n"),
        "18 objects of 2 classes in 12 images",
        {},
    ),
    "a list of an image that is not there": (
        sets.write_voc,
        _voc(lambda text: f"{text}gone\n", "ImageSets/Main/train.txt"),
        "Left out: 1 x missing_file",
        {"missing_file": 1},
    ),
    "an image in no list": (
        sets.write_voc,
        _voc(lambda text: text.replace("train1", ""), "ImageSets/Main/train.txt"),
        "Left out: 1 x outside_splits",
        {"outside_splits": 1},
    ),
    "a copy of an XML file further away": (
        sets.write_voc,
        _copied("old/Annotations/train1.xml"),
        "1 XML files are not used, because another one .*: old/Annotations/train1.xml",
        {},
    ),
    "difficult objects": (
        sets.write_voc,
        _voc(lambda text: text.replace("<name>", "<difficult>1</difficult><name>")),
        "2 are crowds or difficult",
        {},
    ),
    "boxes that count from 0": (
        sets.write_voc,
        _voc(lambda text: re.sub(r"<xmin>\d+", "<xmin>0", text)),
        "Boxes count pixels from 0",
        {},
    ),
    "a class out of range": (
        sets.write_yolo,
        lambda root: _append(root / "labels/train/train1.txt", "7 0.5 0.5 0.1 0.1"),
        "1 objects are of a class that is not listed",
        {},
    ),
    "a class without a name": (
        sets.write_yolo,
        lambda root: _append(root / "labels/train/train1.txt", "7 0.5 0.5 0.1 0.1"),
        r"Numbers of classes without a name: \[7\]",
        {},
    ),
    "a YAML file that is not": (
        lambda root: sets.write_yolo(root, yaml="names: [cat, dog\n"),
        lambda root: None,
        r"Not used: data.yaml must be a YAML file\. Received: while parsing",
        {},
    ),
    "validation images that are for training": (
        lambda root: sets.write_yolo(
            root, yaml="names: [cat, dog]\ntrain: images\nval: images/val\n"
        ),
        lambda root: None,
        "4 images of `val` in data.yaml are in a split before it, too",
        {},
    ),
    "a class far out of range": (
        lambda root: sets.write_yolo(root, yaml=""),
        lambda root: _append(root / "labels/train/train1.txt", "1e12 0.5 0.5 0.1 0.1"),
        "1 objects are of a class that is not listed",
        {},
    ),
    "words in a label file": (
        sets.write_yolo,
        lambda root: _append(root / "labels/train/train1.txt", "cat 0.5 0.5 0.1 0.1"),
        "Left out: 1 x broken_annotation",
        {"broken_annotation": 1},
    ),
    "a number too many": (
        sets.write_yolo,
        lambda root: _append(root / "labels/train/train1.txt", "0 0.5 0.5 0.1 0.1 0.9"),
        "Left out: 1 x broken_annotation",
        {"broken_annotation": 1},
    ),
    "a label file without an image": (
        sets.write_yolo,
        lambda root: (root / "labels/train/gone.txt").write_text("0 0.5 0.5 0.1 0.1"),
        "1 label files have no image",
        {},
    ),
    "paths of a YAML file that lead nowhere": (
        lambda root: sets.write_yolo(root, yaml="names: [cat, dog]\ntrain: ../../x/photos\n"),
        lambda root: None,
        "Paths of data.yaml lead to no image, folders are used",
        {},
    ),
    "no names": (
        lambda root: sets.write_yolo(root, yaml=""),
        lambda root: None,
        "they are called after their numbers",
        {},
    ),
    "a table of shares": (
        lambda root: sets.write_table(root, "path,x1,y1,x2,y2,label", _shares),
        lambda root: None,
        "Boxes are shares of their image",
        {},
    ),
    "a box without a class in a table": (
        lambda root: sets.write_table(root, "path,x1,y1,x2,y2,label", _shares),
        lambda root: _append(root / "train.csv", "train1.png,0.1,0.1,0.2,0.2,"),
        "1 objects are of a class that is not listed",
        {},
    ),
}


def _append(path: Path, line: str) -> None:
    path.write_text(f"{path.read_text()}\n{line}")


def _shares(name: str, box: tuple[int, ...] | None, kind: str) -> str:
    sides = (sets.WIDTH, sets.HEIGHT) * 2
    cells = [x / side for x, side in zip(box, sides, strict=True)] if box else [""] * 4
    return ",".join([f"{name}.png", *map(str, cells), kind])


def _moved(name: str, box: tuple[int, ...] | None, kind: str) -> tuple[Any, ...]:
    """Returns a row whose box is further to the lower right."""
    return name, box and (box[0] + 8, box[1] + 8, box[2] + 12, box[3] + 14), kind


def _large(*row: Any) -> str:
    name, box, kind = _moved(*row)
    return ",".join([f"{name}.png", *map(str, box or ("",) * 4), kind])


def _large_list(*row: Any) -> str:
    name, box, kind = _moved(*row)
    return f'{name}.png,"{[*box] if box else ""}",{kind}'


@pytest.mark.parametrize("name", OTHERS)
def test_other_formats_are_used_and_what_is_wrong_is_told(name, tmp_path, import_into):
    write, spoil, words, codes = OTHERS[name]
    write(tmp_path / "set")
    spoil(tmp_path / "set")
    info, _ = import_into(tmp_path / "set")
    assert any(re.search(words, note) for note in info.notes), info.notes
    assert info.rejected == codes


def _yaml(text: str) -> Edit:
    return lambda root: sets.write_yolo(root, yaml=text)


REFUSED_OTHERS: dict[str, tuple[Edit, str]] = {
    "numbers of names with a gap": (_yaml("names: {0: cat, 2: dog}\n"), "0, 1, 2"),
    "another number of names": (_yaml("names: [cat, dog]\nnc: 3\n"), "nc=3 and 2 names"),
    "a name twice": (_yaml("names: [cat, cat]\n"), "must differ"),
    "a shape of keypoints": (_yaml("names: [cat, dog]\nkpt_shape: [3]\n"), "2 or 3"),
    "a table of mirrors": (
        _yaml("names: [cat, dog]\nkpt_shape: [3, 3]\nflip_idx: [1, 2, 0]\n"),
        "in pairs",
    ),
    "a table of mirrors in words": (
        _yaml('names: [cat, dog]\nkpt_shape: [2, 3]\nflip_idx: ["1", "0"]\n'),
        "in pairs",
    ),
    "two XML files equally near": (
        lambda root: (sets.write_voc(root), _copied("Labels/train1.xml")(root)),
        "one XML file. Received: Annotations/train1.xml and Labels/train1.xml",
    ),
    "pixels": (
        lambda root: (
            sets.write_yolo(root),
            [
                path.write_text("0 20 15 10 8\n")
                for path in (root / "labels").rglob("*.txt")
                if path.read_text()
            ],
        ),
        "from 0 to 1. Received: pixels",
    ),
    "a table whose sizes are corners": (
        lambda root: sets.write_table(root, "path,x,y,w,h,label", _large),
        r"columns x, y, w, h .* must hold left, top, width and height\. Received: test.csv, "
        r"train.csv, val.csv, where \d+ of 18 boxes reach out of their image, and all are right as "
        r"left, top, right, bottom\. Write them in columns called xmin",
    ),
    "a table of lists that are corners": (
        lambda root: sets.write_table(root, "path,bbox,label", _large_list),
        r"The columns bbox of .* all are right as left, top, right, bottom",
    ),
    "a table of shares whose sizes are corners": (
        lambda root: sets.write_table(
            root, "path,x,y,width,height,label", lambda *row: _shares(*_moved(*row))
        ),
        r"columns x, y, width, height .* all are right as left, top, right, bottom",
    ),
    "YOLO with classes that count from 1": (
        lambda root: (sets.write_yolo(root), _each_label(lambda n, rest: f"{n + 1} {rest}")(root)),
        r"from 0 to 1, .*Received: from 1 to 2, and no 0\. Subtract one",
    ),
    "YOLO with keypoints in pixels": (
        lambda root: (
            sets.write_yolo(root, yaml="names: [cat, dog]\nkpt_shape: [1, 2]\n"),
            _each_label(lambda n, rest: f"{n} {rest} 20 15")(root),
        ),
        "from 0 to 1. Received: pixels",
    ),
    "YOLO with scores of predictions": (
        lambda root: (sets.write_yolo(root), _each_label(lambda n, rest: f"{n} {rest} 0.9")(root)),
        r"broken annotation \(9\).*6 numbers\. The sixth is the score of a prediction",
    ),
    "YOLO with commas, without a YAML file": (
        lambda root: (
            sets.write_yolo(root, yaml=""),
            _each_label(lambda n, rest: f"{n},{rest.replace(' ', ',')}")(root),
        ),
        "numbers with spaces between them: '0,",
    ),
    "no number in a box": (
        lambda root: sets.write_table(
            root, "path,bbox,label", lambda name, box, kind: f"{name}.png,[1 2 3],{kind}"
        ),
        "Received",
    ),
}


@pytest.mark.parametrize("name", REFUSED_OTHERS)
def test_other_formats_are_refused(name, tmp_path):
    write, words = REFUSED_OTHERS[name]
    write(tmp_path / "set")
    with pytest.raises(ValueError, match=words):
        import_dataset(str(tmp_path / "set"), tmp_path / "out/dataset", ImportConfig())


def test_a_task_that_the_annotations_are_not_for(tmp_path, import_into):
    sets.write_coco(tmp_path / "set")
    with pytest.raises(ValueError, match="for those of detection. Leave `task` at auto"):
        import_into(tmp_path / "set", task="keypoints")
