"""Folders whose names are the labels; `layout.py` says which of them are splits."""

import dataclasses
from collections.abc import Iterator

from kfp_vision.components.data_import.folder_counts import parent_of
from kfp_vision.components.data_import.folder_listing import list_folder
from kfp_vision.components.data_import.folder_names import compare_class_names
from kfp_vision.components.data_import.layout import Layout, find_layout
from kfp_vision.components.data_import.samples import Listing, Rejection, Sample, Source
from kfp_vision.components.shared.datasets.image_files import file_kind
from kfp_vision.components.shared.runtime.storage import Folder

__all__ = ["read_class_folders", "read_unlabeled"]


def read_class_folders(folder: Folder, name: str = "") -> Listing:
    """Lists the images of class folders, with splits or without.

    Raises:
        ValueError: There are fewer than two class folders, splits without training images, class
            or split folders that are links, most images behind links, or names that cannot be told
            apart.
        StorageError: A folder must not be read.
    """
    found = list_folder(folder)
    layout = find_layout(found.images, found.linked, folder.uri)
    found.require_inside()
    notes = [*layout.notes, *compare_class_names(layout.classes), *found.notes]
    place_of = {parent: _place(layout, parent) for parent in set(map(parent_of, found.paths))}
    visible = (
        path
        for path in found.paths
        if path not in found.rejections or found.rejections[path].code != "hidden"
    )
    used = {place_of[parent_of(path)] for path in visible}
    empty = sorted(layout.classes.keys() - used)
    certain = {
        place_of[parent_of(path)]
        for path in found.paths
        if path not in found.rejections and file_kind(path) == "image"
    }
    certain = {
        place
        for place in certain & layout.classes.keys()
        if layout.classes[place][0] != "unlabeled"
    }

    def samples() -> Iterator[Sample | Rejection]:
        for path in found.paths:
            rejection = found.rejections.get(path)
            yield rejection or _sample(folder, layout, path, place_of[parent_of(path)])
        for path in empty:
            yield Rejection(path, "empty_class", "The class folder holds no files.")

    return Listing(
        samples(),
        len(found.paths) + len(empty),
        notes,
        frozenset(label for split, label in layout.classes.values() if split != "unlabeled"),
        frozenset(layout.splits.values()),
        frozenset((layout.classes[place][1],) for place in certain),
    )


def read_unlabeled(folder: Folder) -> Listing:
    """Lists every image below a folder, for the split `unlabeled`.

    Raises:
        ValueError: Most of them are behind links that are not followed.
        StorageError: A folder must not be read.
    """
    source: Source = "unlabeled_uri"
    found = list_folder(folder)
    rejections = {
        path: dataclasses.replace(each, source=source) for path, each in found.rejections.items()
    }
    found = dataclasses.replace(found, rejections=rejections)
    found.require_inside()

    def samples() -> Iterator[Sample | Rejection]:
        for path in found.paths:
            yield rejections.get(path) or Sample(path, (), "unlabeled", folder, source=source)

    return Listing(samples(), len(found.paths), [f"`{source}`: {note}" for note in found.notes])


def _place(layout: Layout, folder: str) -> str:
    """Returns the class or split folder that a folder is, or is in; `""` without one."""
    while folder and folder not in layout.classes and folder not in layout.splits:
        folder = parent_of(folder)
    return folder


def _sample(folder: Folder, layout: Layout, path: str, place: str) -> Sample | Rejection:
    split, label = layout.classes.get(place, (layout.splits.get(place), ""))
    if split == "unlabeled":
        return Sample(path, (), split, folder)
    if label:
        return Sample(path, (label,), split, folder)
    if not place and "train" in layout.splits.values():
        message = f"Beside split folders every file must be in one of {sorted(layout.splits)}."
        return Rejection(path, "outside_splits", message)
    return Rejection(path, "no_label", "The file is in no folder that is called after a class.")
