"""One file of COCO JSON, read one object at a time.

Memory holds what is kept of each object, see `objects/annotations.py`.
"""

import array
import collections
import dataclasses
import re
from collections.abc import Iterable
from typing import Any

from kfp_vision.components.data_import.classes import label_text
from kfp_vision.components.data_import.folder_counts import name_of, parent_of
from kfp_vision.components.data_import.objects.annotations import (
    Annotation,
    RunLengths,
    number_of,
)
from kfp_vision.components.data_import.objects.masks import pack_counts
from kfp_vision.components.data_import.readers.json_stream import JsonError, stream_object
from kfp_vision.components.data_import.split_names import split_of
from kfp_vision.components.shared.runtime.storage import Folder

__all__ = ["CocoDocument", "read_document", "split_of_file"]


@dataclasses.dataclass
class CocoDocument:
    """One JSON file.

    Attributes:
        name: Its path.
        split: By its name or folder; None where they say nothing.
        categories: Id -> name.
        keypoints: Id of a category -> names of its keypoints.
        images: Id -> (file name, height and width or None).
        annotations: Id of an image -> objects; their `label` is the position in `category_ids`.
        category_ids: Of the annotations, in the order of their appearance.
        notes: One sentence each.
    """

    name: str
    split: str | None
    categories: dict[str, str] = dataclasses.field(default_factory=dict)
    keypoints: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    images: dict[str, tuple[str, tuple[float, float] | None]] = dataclasses.field(
        default_factory=dict
    )
    annotations: dict[str, list[Annotation]] = dataclasses.field(
        default_factory=lambda: collections.defaultdict(list)
    )
    category_ids: dict[str, int] = dataclasses.field(default_factory=dict)
    notes: list[str] = dataclasses.field(default_factory=list)

    def class_names(self) -> list[str]:
        """Returns the names of the categories by their ids; some may have one name."""
        by_id = sorted(self.categories, key=lambda key: (number_of(key), key))
        return [self.categories[key] for key in by_id]


def read_document(folder: Folder, path: str, *, is_only: bool) -> CocoDocument | None:
    """Reads a file; None for another kind of JSON, unless it is the only one."""
    document = CocoDocument(path, split_of_file(path))
    lists: set[str] = set()
    counts: collections.Counter[str] = collections.Counter()
    seen: set[str] = set()
    readers = {"categories": _add_category, "images": _add_image, "annotations": _add_annotation}
    try:
        with folder.open(path) as file:
            for key, value in stream_object(file):
                if key not in readers:
                    continue
                lists.add(key)
                if not isinstance(value, dict):
                    raise ValueError(
                        f"`{key}` of a COCO file must be a list of objects. Received: "
                        f"{str(value)[:80]!r} in {path}."
                    )
                readers[key](document, value, counts, seen)
    except JsonError as error:
        raise ValueError(
            f"A COCO file must be a whole JSON object. Received: {path}: {error}."
        ) from error
    if not document.images:
        return None
    if not document.categories and (document.annotations or is_only):
        raise ValueError(
            "A COCO file must have `categories`, which name the classes. Received: "
            f"{path} with {len(document.images)} images and the lists {sorted(lists)}. Add "
            '"categories": [{"id": 1, "name": "cat"}, ...].'
        )
    strangers = sum(
        len(document.annotations[key])
        for key in document.annotations.keys() - document.images.keys()
    )
    counts["objects are of images that are not listed: left out"] += strangers
    unknown = sorted(document.category_ids.keys() - document.categories.keys())
    document.notes += [f"{path}: ids without a category: {unknown[:5]}."] if unknown else []
    document.notes += [f"{path}: {count:,} {what}." for what, count in counts.items() if count]
    return document


def split_of_file(path: str) -> str | None:
    """Returns the split of `instances_train2017.json` and `valid/_annotations.coco.json`."""
    names = (name_of(path).rpartition(".")[0], name_of(parent_of(path)))
    splits = (split_of(re.sub(r"\d+", " ", name)) for name in names)
    return next(filter(None, splits), None)


def _key(value: object) -> str:
    """Returns an id; the number 7 and the text "7" are one, as in files that programs convert."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # Tables of ids with gaps are written as 7.0.
    return label_text(value)


def _add_category(
    document: CocoDocument,
    value: dict[str, Any],
    counts: "collections.Counter[str]",
    seen: set[str],
) -> None:
    key, name = _key(value.get("id")), label_text(value.get("name"))
    if not key or not name:
        raise ValueError(
            f"A category must have `id` and `name`. Received: {str(value)[:80]} in {document.name}."
        )
    if document.categories.setdefault(key, name) != name:
        raise ValueError(
            f"Ids of categories must differ. Received: id {key} for {document.categories[key]!r} "
            f"and {name!r} in {document.name}. Give each its own."
        )
    names = value.get("keypoints")
    if isinstance(names, list) and names:
        document.keypoints[key] = tuple(map(label_text, names))


def _add_image(
    document: CocoDocument,
    value: dict[str, Any],
    counts: "collections.Counter[str]",
    seen: set[str],
) -> None:
    key, name = _key(value.get("id")), label_text(value.get("file_name"))
    if not key or not name:
        counts["images have no `id` or no `file_name`: left out"] += 1
        return
    known = document.images.get(key)
    if known is not None and known[0] != name:
        raise ValueError(
            f"Ids of images must differ. Received: id {key} for {known[0]!r} and {name!r} in "
            f"{document.name}: their objects cannot be told apart. Give each its own."
        )
    if known is not None:
        counts["images are listed twice: kept once"] += 1
    height, width = number_of(value.get("height")), number_of(value.get("width"))
    # Some tools write 0 where they do not know.
    document.images[key] = name, (height, width) if height > 0 and width > 0 else None


def _add_annotation(
    document: CocoDocument,
    value: dict[str, Any],
    counts: "collections.Counter[str]",
    seen: set[str],
) -> None:
    key = _key(value.get("id"))
    if key and key in seen:
        counts["ids of objects are used twice, which changes nothing"] += 1
    seen.add(key)
    category = _key(value.get("category_id"))
    ids = document.category_ids
    document.annotations[_key(value.get("image_id"))].append(
        Annotation(
            ids.setdefault(category, len(ids)),
            _box(value.get("bbox")),
            _outline(value.get("segmentation")),
            _keypoints(value.get("keypoints")),
            number_of(value.get("iscrowd")) > 0,
        )
    )


def _box(value: object) -> tuple[float, float, float, float] | None:
    if not isinstance(value, list) or len(value) != 4:
        return None
    left, top, width, height = map(number_of, value)
    return left, top, left + width, top + height


def _outline(value: object) -> tuple[bytes, ...] | RunLengths | None:
    if isinstance(value, dict):
        size = value.get("size")
        if not (isinstance(size, list) and len(size) == 2 and all(type(x) is int for x in size)):
            return RunLengths(1, 1, b"")
        return pack_counts(value.get("counts"), *size)
    if not isinstance(value, list) or not value:
        return None
    # One polygon without the list around it, as some tools write.
    polygons = value if isinstance(value[0], list) else [value]
    if not any(polygons):
        return None
    # Two corners span nothing, and an odd number is no list of corners.
    corners = [each for each in polygons if isinstance(each, list)]
    return tuple(_floats(each) for each in corners if len(each) >= 6 and len(each) % 2 == 0) or (
        RunLengths(1, 1, b"")
    )


def _keypoints(value: object) -> bytes | None:
    return _floats(value) if isinstance(value, list) and value else None


def _floats(values: Iterable[object]) -> bytes:
    return array.array("f", map(number_of, values)).tobytes()
