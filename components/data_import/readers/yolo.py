"""YOLO: a text file for each image, a line an object: class, then shares of the image.

`class x y width height`, the corners of a polygon, or a box and its keypoints (`kpt_shape`).
"""

import array
import dataclasses
import math
from collections.abc import Mapping, Sequence, Set

from kfp_vision.components.data_import.classes import compare_names
from kfp_vision.components.data_import.folder_counts import name_of, parent_of
from kfp_vision.components.data_import.objects.annotations import AnnotatedImage, Annotation
from kfp_vision.components.data_import.objects.listing import ObjectSource, list_objects
from kfp_vision.components.data_import.readers.annotation_files import (
    folder_splits,
    read_all,
    unlisted_note,
)
from kfp_vision.components.data_import.readers.file_index import FileIndex
from kfp_vision.components.data_import.readers.yolo_settings import YoloSettings, read_settings
from kfp_vision.components.data_import.samples import Listing
from kfp_vision.components.shared.datasets.image_files import file_kind
from kfp_vision.components.shared.runtime.storage import Folder

__all__ = ["find_yolo", "read_yolo"]

_LOOKED_AT = 20
# Numbers of a line: class and box; class and a triangle at least.
_BOX, _TRIANGLE = 5, 7
# Of classes without names; a higher number is a slip.
_MOST_CLASSES = 9999
# Shares above it are pixels.
_LARGEST_SHARE = 2.0


@dataclasses.dataclass(slots=True)
class _Page:
    """One text file: objects with the class numbers of the file, or why it cannot be read."""

    annotations: list[Annotation]
    problem: str = ""


def find_yolo(folder: Folder, index: FileIndex) -> dict[str, str]:
    """Returns image -> text file, where the first files that are not empty hold objects.

    Where a YAML file or a folder `labels` says that it is YOLO, files that cannot be read are too.
    """
    found = _label_files(index)
    settings = read_settings(folder, index)
    pages = [
        _parse(content, settings.point_size)
        for content in read_all(folder, list(found.values())[:_LOOKED_AT])
    ]
    is_said = bool(settings.name) or any(map(_is_in_labels, found.values()))
    is_yolo = is_said or any(page.annotations and not page.problem for page in pages)
    return found if is_yolo else {}


def read_yolo(folder: Folder, name: str = "") -> Listing:
    """Lists images with their text files; an image without one is background.

    Args:
        folder: The data root.
        name: Of the YAML file; empty to find it.

    Raises:
        ValueError: The YAML file cannot be understood, the files hold pixels, or no object.
    """
    index = FileIndex(folder)
    settings = read_settings(folder, index, name)
    found = _label_files(index)
    contents = read_all(folder, found.values())
    pages = dict(zip(found, (_parse(each, settings.point_size) for each in contents), strict=True))
    _refuse_pixels(pages, found)
    beside = {parent_of(path) for path in pages}
    listed = [path for path in index.images if path in pages or parent_of(path) in beside]
    listed += sorted(settings.splits.keys() - set(listed))
    splits: Mapping[str, str | None] = settings.splits or folder_splits(listed)
    used = [path for path in listed if path in splits] if splits else listed
    numbers = {each.label for page in pages.values() for each in page.annotations}
    _refuse_counts_from_one(numbers, settings)
    highest = min(max(numbers, default=-1), _MOST_CLASSES)
    classes = settings.names or [str(number) for number in range(highest + 1)]
    notes = list(settings.notes)
    if not settings.names:
        notes.append("No `names` of classes were found: they are called after their numbers.")
    elif strange := sorted(number for number in numbers if not 0 <= number < len(classes)):
        notes.append(f"Numbers of classes without a name: {strange[:5]}.")
    images = []
    for path in used:
        page = pages.get(path, _Page([]))
        annotations = [_known(each, len(classes)) for each in page.annotations]
        image = AnnotatedImage(path, splits.get(path), annotations, is_relative=True)
        image.problem = ("broken_annotation", page.problem) if page.problem else None
        images.append(image)
    lonely = len(_text_files(index)) - len(found)
    notes += [f"{lonely} label files have no image."] if lonely > 0 else []
    notes += [*compare_names(classes), *unlisted_note(index.images, index.apart | set(used))]
    keypoint_names = settings.keypoint_names if settings.num_keypoints else ()
    return list_objects(
        folder,
        ObjectSource(images, classes, notes, keypoint_names, settings.keypoint_swaps),
    )


def _known(annotation: Annotation, num_classes: int) -> Annotation:
    if 0 <= annotation.label < num_classes:
        return annotation
    return dataclasses.replace(annotation, label=-1)


def _is_in_labels(path: str) -> bool:
    return "labels" in path.lower().split("/")[:-1]


def _text_files(index: FileIndex) -> set[str]:
    """Returns the text files in folders called `labels`."""
    return {
        path
        for path in index.files
        if path.lower().endswith(".txt")
        and _is_in_labels(path)
        and name_of(path) != "classes.txt"
        and file_kind(path) != "hidden"
    }


def _label_files(index: FileIndex) -> dict[str, str]:
    """Returns image -> its text file: beside it, or in `labels` where the image is in `images`."""
    found = {}
    for path in index.images:
        stem = path.rpartition(".")[0]
        parts = stem.split("/")
        places = [number for number, part in enumerate(parts[:-1]) if part.lower() == "images"]
        swapped = [
            "/".join([*parts[:place], "labels", *parts[place + 1 :]]) for place in places[::-1]
        ]
        folder = parent_of(stem)
        below = f"{folder}/labels/{parts[-1]}" if folder else f"labels/{parts[-1]}"
        for each in (*swapped, stem, below):
            if text := index.find(f"{each}.txt"):
                found[path] = text
                break
    return found


def _parse(content: bytes, point_size: int) -> _Page:
    """Returns the objects of a text file.

    Args:
        content: Of the file.
        point_size: Numbers of a keypoint, 2 or 3; 0 where lines of more numbers are polygons.
    """
    annotations = []
    lines = content.decode("utf-8-sig", "replace").splitlines()
    for number, line in enumerate(lines, start=1):
        if not (words := line.split()):
            continue
        try:
            label, *values = map(float, words)
        except ValueError:
            return _Page(
                [],
                f"Line {number} of its label file must be numbers with spaces between them: "
                f"{line[:80]!r}.",
            )
        count = len(words)
        is_polygon = not point_size and count >= _TRIANGLE and count % 2 == 1
        if not label.is_integer() or not (
            count == _BOX or is_polygon or (point_size and count > _BOX)
        ):
            return _Page(
                [],
                f"Line {number} of its label file must be a class, then 4 numbers, a polygon, or "
                f"the keypoints of `kpt_shape`: {count} numbers."
                + " The sixth is the score of a prediction: remove it."
                * (count == _BOX + 1),
            )
        if is_polygon:
            outline = (array.array("f", values).tobytes(),)
            annotations.append(Annotation(int(label), outline=outline))
            continue
        x, y, width, height = values[:4]
        box = x - width / 2, y - height / 2, x + width / 2, y + height / 2
        points = _points(values[4:], point_size) if count > _BOX else None
        annotations.append(Annotation(int(label), box, keypoints=points))
    return _Page(annotations)


def _points(values: Sequence[float], point_size: int) -> bytes:
    """Returns (x, y, visibility) of each keypoint; without visibility, (0, 0) is not labelled."""
    if point_size == 3 or len(values) % 2:
        return array.array("f", values).tobytes()
    pairs = zip(values[::2], values[1::2], strict=True)
    flat = [number for x, y in pairs for number in (x, y, 2.0 if x or y else 0.0)]
    return array.array("f", flat).tobytes()


def _refuse_counts_from_one(numbers: Set[int], settings: YoloSettings) -> None:
    """Refuses class numbers that count from 1: every object would be of the next class."""
    most = len(settings.names)
    if most and most in numbers and min(numbers) == 1:
        raise ValueError(
            f"Classes in label files of YOLO must be numbers from 0 to {most - 1}, places in the "
            f"{most} names. Received: from 1 to {max(numbers)}, and no 0. Subtract one from each."
        )


def _refuse_pixels(pages: Mapping[str, _Page], files: Mapping[str, str]) -> None:
    """Refuses numbers that are pixels, where shares of the image are meant."""
    large, total, example = 0, 0, ""
    for path, page in pages.items():
        for each in page.annotations:
            total += 1
            numbers = each.box or array.array("f", each.outline[0] if each.outline else b"")  # type: ignore[index]
            points = array.array("f", each.keypoints or b"")
            largest = max(*numbers, *points[::3], *points[1::3], 0.0)
            if largest > _LARGEST_SHARE and math.isfinite(largest):
                large, example = large + 1, files[path]
    if 2 * large > total:
        raise ValueError(
            "Label files of YOLO must hold shares of the image, from 0 to 1. Received: pixels in "
            f"{large:,} of {total:,} objects, for instance in {example}. Divide by width and "
            "height."
        )
