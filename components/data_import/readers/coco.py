"""COCO JSON: boxes, polygons, run-length masks, crowds and keypoints, one file a split.

Objects are read one at a time; memory holds what is kept of each, see `objects/annotations.py`.
"""

import collections
import dataclasses
import re
from collections.abc import Sequence

from kfp_vision.components.data_import.classes import compare_names
from kfp_vision.components.data_import.folder_counts import name_of, parent_of
from kfp_vision.components.data_import.objects.annotations import AnnotatedImage
from kfp_vision.components.data_import.objects.corners import suspect_corners
from kfp_vision.components.data_import.objects.keypoints import swapped_pairs
from kfp_vision.components.data_import.objects.listing import (
    ObjectSource,
    list_objects,
    without_objects,
)
from kfp_vision.components.data_import.readers.annotation_files import unlisted_note
from kfp_vision.components.data_import.readers.coco_document import (
    CocoDocument,
    read_document,
    split_of_file,
)
from kfp_vision.components.data_import.readers.file_index import FileIndex
from kfp_vision.components.data_import.readers.table_paths import Row, resolve_paths
from kfp_vision.components.data_import.readers.table_splits import splits_of_folders
from kfp_vision.components.data_import.samples import Listing
from kfp_vision.components.shared.datasets.image_files import escape_name, file_kind
from kfp_vision.components.shared.runtime.storage import Folder

__all__ = ["find_coco", "read_coco", "starts_like_coco"]

# One object of these lists is the annotation of all images; the other keys come in any order.
_LISTS = ("images", "annotations", "categories")
_START = re.compile(
    rb'\s*\{\s*"(?:info|licen[cs]es?|type|contributor|description|'
    + b"|".join(name.encode() for name in _LISTS)
    + rb')"'
)
_HEAD_BYTES = 2**16
# More of them in a folder are annotations of single images.
_MAX_FILES = 50


def find_coco(folder: Folder, index: FileIndex) -> list[str]:
    """Returns the JSON files that may hold the annotations of all images, sorted.

    Beside the images, in a folder called after a split, or in one for annotations.
    """
    found = collections.defaultdict(list)
    for path in index.files:
        if not path.lower().endswith(".json") or file_kind(path) == "hidden":
            continue
        # One that is called after an image, as those of LabelMe are, is of this one alone.
        if path.count("/") < 3 and not index.find_without_suffix(path.rpartition(".")[0]):
            found[parent_of(path)].append(path)
    candidates = [path for paths in found.values() if len(paths) <= _MAX_FILES for path in paths]
    return sorted(path for path in candidates if starts_like_coco(folder, path))


def read_coco(folder: Folder, name: str = "") -> Listing:
    """Lists the images of COCO files.

    Args:
        folder: The data root.
        name: Of the one file to use; empty for those that are found.

    Raises:
        ValueError: There is no such file, or it is no COCO file; it has no categories or two of one
            id, its images are not there, or its boxes are corners.
    """
    index = FileIndex(folder)
    names = [name] if name else find_coco(folder, index)
    chosen, poses = _choose(names)
    notes = [f"Not used: {', '.join(others)}."] if (others := sorted({*names} - {*chosen})) else []
    listing = _list(folder, index, chosen, notes)
    if not poses:
        return listing
    tasks = {**listing.other_tasks, "keypoints": lambda: _list(folder, index, poses, [])}
    return dataclasses.replace(listing, other_tasks=tasks)


def _list(folder: Folder, index: FileIndex, names: Sequence[str], notes: list[str]) -> Listing:
    documents = [
        each for path in names if (each := read_document(folder, path, is_only=len(names) == 1))
    ]
    if not documents:
        raise ValueError(
            "A COCO file must be a JSON object with the lists `images`, `annotations` and "
            f"`categories`. Received: {list(names) or 'no such file'} in {folder.uri!r}."
        )
    used = [each for each in documents if each.annotations] or documents
    empty = [each.name for each in documents if each.split == "train" and each not in used]
    if empty:
        raise ValueError(
            "The COCO file of the training images must have `annotations`. Received: "
            f"{', '.join(empty)} without."
        )
    judging = {
        each.name: without_objects(each.name, len(each.images), each.split)
        for each in documents
        if each not in used and each.split in ("validation", "test")
    }
    unused = sorted({*names} - {each.name for each in used} - judging.keys())
    notes += judging.values()
    notes += [f"Not used, without annotations: {', '.join(unused)}."] if unused else []
    return list_objects(folder, _join(folder, used, index, notes))


def starts_like_coco(folder: Folder, path: str) -> bool:
    """Returns whether a JSON file begins with one of the lists of COCO, and may hold `images`.

    Label Studio's `notes.json` of YOLO has categories alone.
    """
    with folder.open(path) as file:
        head = file.read(_HEAD_BYTES).removeprefix(b"\xef\xbb\xbf")
    return bool(_START.match(head)) and (b'"images"' in head or len(head) > _HEAD_BYTES // 2)


def _choose(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Returns the files to use, one a split, and those of poses beside them, as COCO has both.

    Raises:
        ValueError: There are several for one split, and no name says which is meant.
    """
    if len({split_of_file(name) for name in names}) == len(names):
        return list(names), []
    kinds: dict[str, list[str]] = collections.defaultdict(list)
    for name in names:
        words = set(re.findall(r"[a-z]+", name_of(name).lower()))
        kinds[next((kind for kind in ("instances", "keypoints") if kind in words), "")].append(name)
    instances, poses = kinds["instances"], kinds["keypoints"]
    if not instances or len(set(map(split_of_file, instances))) < len(instances):
        raise ValueError(
            "Several COCO files must be called after different splits (train, val, test), or lie "
            f"in folders that are. Received: {list(names)[:8]}. Move the others away, or give the "
            "URI of the one to use where it lies beside or above its images."
        )
    return instances, poses


def _join(
    folder: Folder, documents: Sequence[CocoDocument], index: FileIndex, notes: list[str]
) -> ObjectSource:
    """Returns the images of all files, with the classes of all, by name."""
    position: dict[str, int] = {}
    for each in documents:
        for name in each.class_names():
            position.setdefault(name, len(position))
    notes = [*notes, *compare_names(position)]
    keypoint_names, keypoint_notes = _keypoint_names(documents)
    images: list[AnnotatedImage] = []
    for each in documents:
        notes += each.notes
        merged = [
            name
            for name, count in collections.Counter(each.categories.values()).items()
            if count > 1
        ]
        notes += [f"{each.name}: categories of one name are one class: {merged}."] if merged else []
        images += _images(folder, each, position, index, notes)
    listed = {index.listed(image.path) for image in images}
    notes += [*keypoint_notes, *unlisted_note(index.images, index.apart | listed)]
    return ObjectSource(
        images, list(position), notes, keypoint_names, swapped_pairs(keypoint_names)
    )


def _images(
    folder: Folder,
    document: CocoDocument,
    position: dict[str, int],
    index: FileIndex,
    notes: list[str],
) -> list[AnnotatedImage]:
    label_of = {
        label: position[document.categories[key]] if key in document.categories else -1
        for key, label in document.category_ids.items()
    }
    rows = [
        Row(number, name, (), document.split)
        for number, (name, _) in enumerate(document.images.values(), start=1)
    ]
    resolved = resolve_paths(document.name, rows, index)
    if not resolved.found:
        some = escape_name(", ".join(index.images[:3])) or "none"
        raise ValueError(
            "`file_name` of a COCO file must lead to images below its folder or the data root. "
            f"Received: {document.name} with {len(rows)} images, none of which is there, for "
            f"instance {rows[0].path!r}; images that are there: {some}{resolved.hint}."
        )
    splits, split_notes = splits_of_folders(document.name, rows, resolved)
    splits = splits or [document.split] * len(rows)
    notes += [*resolved.notes, *split_notes]
    images = [
        AnnotatedImage(
            path,
            split,
            [
                dataclasses.replace(each, label=label_of[each.label])
                for each in document.annotations.get(key, [])
            ],
            size,
        )
        for path, split, (key, (_, size)) in zip(
            resolved.paths, splits, document.images.items(), strict=True
        )
    ]
    if suspicion := suspect_corners(folder, images):
        raise ValueError(
            "Boxes of a COCO file must be [left, top, width, height]. Received: "
            f"{document.name}, where {suspicion}. Subtract left and top from the last two."
        )
    boxes = [each.box for image in images for each in image.annotations if each.box]
    if boxes and all(right <= 1 and bottom <= 1 for _, _, right, bottom in boxes):
        raise ValueError(
            "Boxes of a COCO file must be in pixels. Received: shares of the image in "
            f"{document.name}, where all {len(boxes):,} boxes end at 1 at most. Multiply by width "
            "and height."
        )
    return images


def _keypoint_names(documents: Sequence[CocoDocument]) -> tuple[tuple[str, ...], list[str]]:
    """Returns the names of the keypoints of every object, and notes.

    Raises:
        ValueError: Categories have different ones.
    """
    named = {names for each in documents for names in each.keypoints.values()}
    if len(named) > 1:
        first, second = sorted(named)[:2]
        raise ValueError(
            "All categories with keypoints must have the same ones. Received: "
            f"{list(first)[:20]} and {list(second)[:20]}. Keep the categories of one kind."
        )
    if named:
        return named.pop(), []
    lengths = collections.Counter(
        len(each.keypoints) // 12
        for document in documents
        for objects in document.annotations.values()
        for each in objects
        if each.keypoints and len(each.keypoints) % 12 == 0
    )
    if not lengths:
        return (), []
    count = lengths.most_common(1)[0][0]
    note = "The categories do not name their keypoints: they are numbered, and no pair is known."
    return tuple(f"keypoint {number}" for number in range(1, count + 1)), [note]
