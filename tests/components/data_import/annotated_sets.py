"""The same small annotated set in every format; COCO is the one that tests spoil."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 30, 40
CLASSES = ("cat", "dog")
# Name of an image -> its split and its objects: class and box. The last of each split is empty.
SCENE: dict[str, tuple[str, list[tuple[str, tuple[int, int, int, int]]]]] = {
    f"{split}{number}": (
        split,
        []
        if number == 3
        else [
            (CLASSES[(number + place) % 2], (3 + 5 * place, 4 + number, 13 + 6 * place, 14))
            for place in range(number % 3 + 1)
        ],
    )
    for split in ("train", "val", "test")
    for number in range(4)
}
POINTS = ("nose", "left ear", "right ear")


@dataclasses.dataclass(frozen=True)
class Format:
    """How to write the scene, and what the import calls it."""

    write: Callable[[Path], object]
    name: str


def images(root: Path, place: str) -> None:
    """Writes the images; `place` holds `{split}` and `{name}`."""
    for seed, (name, (split, _)) in enumerate(SCENE.items()):
        path = root / place.format(split=split, name=name)
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
        Image.fromarray(pixels).save(path)


def coco(split: str, **extra: Callable[[tuple[int, ...]], Any]) -> dict[str, Any]:
    """Returns the document of a split; `extra` makes further keys of an object from its box."""
    document: dict[str, Any] = {
        "images": [],
        "annotations": [],
        # Ids with gaps, in another order than the names.
        "categories": [{"id": 90, "name": "dog"}, {"id": 7, "name": "cat"}],
    }
    for name, (where, objects) in SCENE.items():
        if where != split:
            continue
        number = len(document["images"]) + 1
        document["images"].append(
            {"id": number, "file_name": f"{name}.png", "height": HEIGHT, "width": WIDTH}
        )
        for kind, box in objects:
            left, top, right, bottom = box
            document["annotations"].append(
                {
                    "id": len(document["annotations"]) + 1,
                    "image_id": number,
                    "category_id": {"cat": 7, "dog": 90}[kind],
                    "bbox": [left, top, right - left, bottom - top],
                    **{key: make(box) for key, make in extra.items()},
                }
            )
    return document


def write_coco(
    root: Path,
    place: str = "{split}/{name}.png",
    file: str = "{split}.json",
    **extra: Callable[[tuple[int, ...]], Any],
) -> None:
    images(root, place)
    for split in ("train", "val", "test"):
        path = root / file.format(split=split)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(coco(split, **extra)))


def _xml(objects: Sequence[tuple[str, tuple[int, ...]]]) -> str:
    parts = []
    for kind, (left, top, right, bottom) in objects:
        sides = zip(
            ("xmin", "ymin", "xmax", "ymax"), (left + 1, top + 1, right, bottom), strict=True
        )
        box = "".join(f"<{side}>{value}</{side}>" for side, value in sides)
        parts.append(f"<object><name>{kind}</name><bndbox>{box}</bndbox></object>")
    size = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height><depth>3</depth></size>"
    return f"<annotation>{size}{''.join(parts)}</annotation>"


def write_voc(root: Path) -> None:
    images(root, "JPEGImages/{name}.png")
    lists: dict[str, list[str]] = {}
    (root / "Annotations").mkdir()
    for name, (split, objects) in SCENE.items():
        lists.setdefault(split, []).append(name)
        (root / f"Annotations/{name}.xml").write_text(_xml(objects))
    (root / "ImageSets/Main").mkdir(parents=True)
    lists["cat_train"] = [f"{name} -1" for name in lists["train"]]
    for split, names in lists.items():
        (root / f"ImageSets/Main/{split}.txt").write_text("\r\n".join(names) + "\r\n")


def write_flat_voc(root: Path) -> None:
    images(root, "{split}/{name}.png")
    for name, (split, objects) in SCENE.items():
        if objects:  # An image without a file is background.
            (root / f"{split}/{name}.xml").write_text(_xml(objects))


def _share(box: tuple[int, ...]) -> tuple[float, ...]:
    left, top, right, bottom = box
    return (
        (left + right) / 2 / WIDTH,
        (top + bottom) / 2 / HEIGHT,
        (right - left) / WIDTH,
        (bottom - top) / HEIGHT,
    )


def write_yolo(
    root: Path,
    place: str = "images/{split}/{name}.png",
    yaml: str = "names:\n  0: cat\n  1: dog\ntrain: images/train\nval: images/val\n"
    "test: images/test\n",
    extra: Callable[[tuple[int, ...]], Sequence[float]] = lambda box: (),
) -> None:
    """Writes lines of `class x y width height` and what `extra` returns."""
    images(root, place)
    for name, (split, objects) in SCENE.items():
        path = root / place.format(split=split, name=name).replace("images", "labels")
        path = path.with_suffix(".txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [
            " ".join(map(str, (CLASSES.index(kind), *_share(box), *extra(box))))
            for kind, box in objects
        ]
        if objects or split == "train":  # Both an empty file and none are background.
            path.write_bytes("\r\n".join(lines).encode())
    if yaml:
        (root / "data.yaml").write_text(yaml)


def rows() -> list[tuple[str, str, tuple[int, int, int, int] | None, str]]:
    """Returns split, name, box and class of each object; a row of None for background."""
    found: list[tuple[str, str, tuple[int, int, int, int] | None, str]] = []
    for name, (split, objects) in SCENE.items():
        found += [(split, name, box, kind) for kind, box in objects] or [(split, name, None, "")]
    return found


def write_table(root: Path, header: str, line: Callable[..., str]) -> None:
    """Writes `<split>.csv`; `line` makes a row of name, box and class."""
    images(root, "{split}/{name}.png")
    for split in ("train", "val", "test"):
        lines = [line(name, box, kind) for where, name, box, kind in rows() if where == split]
        (root / f"{split}.csv").write_text("\n".join([header, *lines] if header else lines))


def corners(name: str, box: tuple[int, ...] | None, kind: str) -> str:
    return ",".join([f"{name}.png", *map(str, box or ("",) * 4), kind])


def _sizes(name: str, box: tuple[int, ...] | None, kind: str) -> str:
    if box is None:
        return f"{name}.png,{WIDTH},{HEIGHT},,"
    left, top, right, bottom = box
    return f'{name}.png,{WIDTH},{HEIGHT},{kind},"[{left}, {top}, {right - left}, {bottom - top}]"'


FORMATS = {
    "COCO": Format(write_coco, "coco"),
    "COCO in annotations": Format(
        lambda root: write_coco(
            root, "{split}2017/{name}.png", "annotations/instances_{split}2017.json"
        ),
        "coco",
    ),
    "COCO of Roboflow": Format(
        lambda root: write_coco(root, file="{split}/_annotations.coco.json"), "coco"
    ),
    "Pascal VOC": Format(write_voc, "pascal_voc"),
    "Pascal VOC in flat folders": Format(write_flat_voc, "pascal_voc"),
    "YOLO": Format(write_yolo, "yolo"),
    "YOLO of Roboflow": Format(
        lambda root: write_yolo(
            root,
            "{split}/images/{name}.png",
            "train: ../train/images\nval: ../val/images\ntest: ../test/images\nnc: 2\n"
            "names: ['cat', 'dog']\n",
        ),
        "yolo",
    ),
    "CSV": Format(
        lambda root: write_table(root, "filename,xmin,ymin,xmax,ymax,class", corners), "box_table"
    ),
    "CSV without a header": Format(lambda root: write_table(root, "", corners), "box_table"),
    "CSV of bbox": Format(
        lambda root: write_table(root, "image_id,width,height,label,bbox", _sizes), "box_table"
    ),
}
