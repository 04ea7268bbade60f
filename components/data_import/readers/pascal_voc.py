"""Pascal VOC: one XML file of boxes for each image; splits from ImageSets/Main or from folders."""

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree
from defusedxml import DefusedXmlException

from kfp_vision.components.data_import.classes import compare_names, sort_classes
from kfp_vision.components.data_import.folder_counts import name_of, parent_of
from kfp_vision.components.data_import.objects.annotations import (
    AnnotatedImage,
    Annotation,
    number_of,
)
from kfp_vision.components.data_import.objects.listing import ObjectSource, list_objects
from kfp_vision.components.data_import.readers.annotation_files import (
    ImagesBeside,
    folder_splits,
    nearness,
    read_all,
    unlisted_note,
)
from kfp_vision.components.data_import.readers.file_index import FileIndex, bare_key, path_key
from kfp_vision.components.data_import.samples import SPLIT_NAMES, Listing, Rejection
from kfp_vision.components.shared.datasets.image_files import escape_name, file_kind
from kfp_vision.components.shared.runtime.storage import Folder

__all__ = ["find_pascal_voc", "read_pascal_voc"]

_SIDES = ("xmin", "ymin", "xmax", "ymax")
# `trainval` is for training where train and val are not told apart.
_SPLITS = {**SPLIT_NAMES, "trainval": "train"}
_IMAGE_SET = re.compile(r"(?:.*/)?imagesets/main/([a-z]+)\.txt")
_LOOKED_AT = 20


@dataclasses.dataclass(frozen=True, slots=True)
class _Object:
    name: str
    box: tuple[float, float, float, float] | None
    is_difficult: bool


@dataclasses.dataclass(slots=True)
class _Page:
    """One XML file.

    Attributes:
        objects: In their order.
        size: Height and width, None where they are not given.
        problem: Why it cannot be read; empty where it can.
    """

    objects: list[_Object]
    size: tuple[float, float] | None
    problem: str = ""


def find_pascal_voc(folder: Folder, index: FileIndex) -> list[str]:
    """Returns the XML files that are called after images, where one of the first is of objects."""
    paths = list(_files(index))
    pages = map(_parse, read_all(folder, paths[:_LOOKED_AT]))
    return paths if any(not page.problem for page in pages) else []


def read_pascal_voc(folder: Folder, name: str = "") -> Listing:
    """Lists the images with an XML file, and those beside them without one as background.

    Raises:
        ValueError: No file is called after an image, or none holds an object.
    """
    index = FileIndex(folder)
    named = _files(index)
    image_of = _nearest(named)
    if not image_of:
        raise ValueError(
            "Pascal VOC must have XML files that are called after images. Received: "
            f"{len(index.images)} images in {folder.uri!r} and no such file."
        )
    pages = dict(zip(image_of.values(), map(_parse, read_all(folder, image_of)), strict=True))
    objects = [each for page in pages.values() for each in page.objects]
    classes = sort_classes(each.name for each in objects if each.name)
    position = {name: label for label, name in enumerate(classes)}
    boxes = [each.box for each in objects if each.box]
    # In Pascal VOC the first pixel is 1; tools that count from 0 are told by a 0.
    first = 0.0 if any(min(box[:2]) < 1 for box in boxes) else 1.0
    counted = "from 0" if not first else "from 1, as Pascal VOC does: left and top are one less"
    notes = [f"Boxes count pixels {counted}."] if boxes else []
    if unused := sorted(named.keys() - image_of.keys()):
        notes.append(
            f"{len(unused)} XML files are not used, because another one is nearer to their image: "
            f"{escape_name(unused[0])}, for instance."
        )
    beside = {parent_of(path) for path in pages}
    listed = [path for path in index.images if path in pages or parent_of(path) in beside]
    splits, rejections = _image_sets(folder, index, listed)
    places: dict[str, str | None] = {**splits} or dict.fromkeys(listed) | folder_splits(listed)
    images = []
    for path in listed:
        page = pages.get(path, _Page([], None))
        if path not in places:
            rejections.append(Rejection(path, "outside_splits", "It is in no list of ImageSets."))
            continue
        annotations = [_annotation(each, position, first) for each in page.objects]
        image = AnnotatedImage(path, places[path], annotations, page.size)
        image.problem = ("broken_annotation", page.problem) if page.problem else None
        images.append(image)
    notes += [*compare_names(classes), *unlisted_note(index.images, index.apart | set(listed))]
    return list_objects(folder, ObjectSource(images, classes, notes, rejections=rejections))


def _files(index: FileIndex) -> dict[str, str]:
    """Returns XML file -> the image that it is called after, sorted."""
    paths = sorted(
        path
        for path in index.files
        if path.lower().endswith(".xml") and file_kind(path) != "hidden"
    )
    beside = ImagesBeside(index)
    found = {path: beside.find(path) for path in paths}
    return {path: image for path, image in found.items() if image}


def _nearest(image_of: Mapping[str, str]) -> dict[str, str]:
    """Returns one XML file of each image: the nearest, of these the one in the fewest folders.

    Raises:
        ValueError: Two are the same in both.
    """
    files: dict[str, list[tuple[tuple[int, int, int], str]]] = {}
    for path, image in image_of.items():
        rank = (*nearness(path, image), -path.count("/"))
        files.setdefault(image, []).append((rank, path))
    used = {}
    for image, ranked in files.items():
        (rank, first), *others = sorted(ranked, reverse=True)
        if others and others[0][0] == rank:
            raise ValueError(
                f"An image must have one XML file. Received: {others[0][1]} and {first}, both for "
                f"{image}. Move one of them away."
            )
        used[first] = image
    return used


def _parse(content: bytes) -> _Page:
    """Returns what an XML file says; entities and references to other files are refused."""
    try:
        root = defusedxml.ElementTree.fromstring(content)
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:
        reason = str(error) or type(error).__name__
        return _Page([], None, f"Its XML file cannot be read: {reason}.")
    if root.tag != "annotation":
        return _Page([], None, f"Its XML file must hold an `annotation`, not `{root.tag[:80]}`.")
    height, width = (number_of(root.findtext(f"size/{side}")) for side in ("height", "width"))
    size = (height, width) if height > 0 and width > 0 else None
    return _Page([_read_object(each) for each in root.iterfind("object")], size)


def _read_object(element: Element) -> _Object:
    box = element.find("bndbox")
    sides = None
    if box is not None:
        left, top, right, bottom = (number_of(box.findtext(side)) for side in _SIDES)
        sides = left, top, right, bottom
    is_difficult = number_of(element.findtext("difficult")) == 1
    return _Object((element.findtext("name") or "").strip(), sides, is_difficult)


def _annotation(found: _Object, position: Mapping[str, int], first: float) -> Annotation:
    box = found.box
    # A box that ends where it starts is a slip of the hand, not one pixel.
    if box and box[0] < box[2] and box[1] < box[3]:
        box = box[0] - first, box[1] - first, *box[2:]
    return Annotation(position.get(found.name, -1), box, crowd=found.is_difficult)


def _image_sets(
    folder: Folder, index: FileIndex, images: Sequence[str]
) -> tuple[dict[str, str], list[Rejection]]:
    """Returns image -> split of the lists in ImageSets/Main, and names that no image has."""
    groups: dict[str, dict[str, str]] = {}
    for path in sorted(index.files):
        found = _IMAGE_SET.fullmatch(path.lower())
        if found and found[1] in _SPLITS:
            groups.setdefault(parent_of(path), {})[path] = found[1]
    splits: dict[str, str] = {}
    rejections = []
    for place, lists in groups.items():
        by_name = _by_name(place, groups, images)
        for path, name in _without_trainval(lists).items():
            lines = folder.read(path).decode("utf-8-sig", "replace").splitlines()
            for line in filter(None, map(str.strip, lines)):
                if image := _find_image(line, by_name):
                    splits.setdefault(image, _SPLITS[name])
                else:
                    message = f"{path} lists it, and there is no such image."
                    rejections.append(Rejection(line, "missing_file", message))
    return splits, rejections


def _without_trainval(lists: Mapping[str, str]) -> dict[str, str]:
    """Returns the lists of one folder, path -> name, without the one of train and val together."""
    others = {path: name for path, name in lists.items() if name != "trainval"}
    is_divided = {_SPLITS[name] for name in others.values()} >= {"train", "validation"}
    return others if is_divided else {**others, **lists}


def _by_name(place: str, places: Iterable[str], images: Sequence[str]) -> dict[str, str]:
    """Returns name without suffix -> image, for the lists of one folder of several.

    A devkit has a folder for each year, with lists of its own: an image is looked up in those that
    no other ones are nearer to, and of images of one name the nearest one is meant.
    """
    found: dict[str, str] = {}
    for image in images:
        rank = _shared_folders(place, image)
        if rank == max(_shared_folders(other, image) for other in places):
            known = found.setdefault(bare_key(name_of(image)), image)
            if rank > _shared_folders(place, known):
                found[bare_key(name_of(image))] = image
    return found


def _shared_folders(place: str, image: str) -> int:
    return nearness(f"{place}/", image)[0]


def _find_image(line: str, by_name: Mapping[str, str]) -> str | None:
    """Returns the image that a line names: all of it, as names hold blanks, or its first word.

    Folders before the name do not count.
    """
    line = name_of(line.replace("\\", "/")) or line
    for text in (line, line.split()[0]):
        if image := by_name.get(path_key(text)) or by_name.get(bare_key(text)):
            return image
    return None
