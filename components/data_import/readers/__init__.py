"""One file per source format, and which of them a source is."""

import dataclasses
from collections.abc import Callable, Collection

from kfp_vision.components.data_import.other_tasks import describe_annotations
from kfp_vision.components.data_import.readers.box_table import (
    find_box_tables,
    holds_boxes,
    read_box_tables,
)
from kfp_vision.components.data_import.readers.class_folders import (
    read_class_folders,
    read_unlabeled,
)
from kfp_vision.components.data_import.readers.coco import find_coco, read_coco, starts_like_coco
from kfp_vision.components.data_import.readers.file_index import FileIndex
from kfp_vision.components.data_import.readers.find_tables import MANIFEST_SUFFIXES, find_tables
from kfp_vision.components.data_import.readers.idx import find_idx, read_idx
from kfp_vision.components.data_import.readers.manifest import read_manifest, read_tables
from kfp_vision.components.data_import.readers.mask_folders import (
    find_mask_folders,
    read_mask_folders,
)
from kfp_vision.components.data_import.readers.npz import find_npz, holds_images, read_npz
from kfp_vision.components.data_import.readers.pascal_voc import find_pascal_voc, read_pascal_voc
from kfp_vision.components.data_import.readers.tfds import PREFIX, read_tfds
from kfp_vision.components.data_import.readers.yolo import find_yolo, read_yolo
from kfp_vision.components.data_import.samples import Listing
from kfp_vision.components.shared.datasets.image_files import escape_name, file_kind
from kfp_vision.components.shared.runtime.storage import Folder

__all__ = ["FORMATS", "TFDS_PREFIX", "list_images", "read_tfds", "read_unlabeled"]

TFDS_PREFIX = PREFIX

# Format -> reader of (folder, name of a file in it or ""). TFDS has names instead of folders.
FORMATS: dict[str, Callable[[Folder, str], Listing]] = {
    "npz": read_npz,
    "idx": read_idx,
    "manifest": read_manifest,
    "class_folders": read_class_folders,
    "coco": read_coco,
    "box_table": read_box_tables,
    "pascal_voc": read_pascal_voc,
    "yolo": read_yolo,
    "mask_folders": read_mask_folders,
}
# Annotations in images -> what finds them: the first two are looked for before tables of labels,
# which a user writes; the others after.
_FINDERS: dict[str, Callable[[Folder, FileIndex], Collection[str]]] = {
    "coco": find_coco,
    "box_table": find_box_tables,
    "pascal_voc": find_pascal_voc,
    "yolo": find_yolo,
    "mask_folders": find_mask_folders,
}
_BEFORE_TABLES = ("coco", "box_table")


def list_images(folder: Folder, name: str, dataset_format: str) -> tuple[Listing, str]:
    """Returns the images of a folder, or of a file `name` in it, and their format.

    Args:
        folder: The data root.
        name: Empty for all of the folder.
        dataset_format: A key of `FORMATS`, or `auto`.

    Raises:
        ValueError: It is in none of the formats, or not whole.
    """
    if dataset_format != "auto":
        return FORMATS[dataset_format](folder, name), dataset_format
    if name:
        kind = _kind_of_file(folder, name)
        return FORMATS[kind](folder, name), kind
    folders = [entry for entry in folder.list_entries()[0] if file_kind(entry) != "hidden"]
    archives = find_npz(folder)
    for kind, is_it in (
        ("npz", any(holds_images(folder, archive) for archive in archives)),
        ("idx", bool(find_idx(folder))),
    ):
        if is_it:
            unused = [f"Folders beside it are not used: {', '.join(folders[:10])}."]
            return _with_notes(FORMATS[kind](folder, ""), unused if folders else []), kind
    index = FileIndex(folder)
    for kind in _BEFORE_TABLES:
        if _FINDERS[kind](folder, index):
            return FORMATS[kind](folder, ""), kind
    found = find_tables(folder, index)
    if found.manifests:
        return read_tables(folder, found, index), "manifest"
    for kind, find in _FINDERS.items():
        if kind not in _BEFORE_TABLES and find(folder, index):
            return FORMATS[kind](folder, ""), kind
    if found.lacking:
        raise ValueError(" ".join(found.lacking))
    if folders:
        notes = [f"{archive} is not used: no array of images in it." for archive in archives]
        notes += found.notes
        try:
            return _with_notes(read_class_folders(folder), notes), "class_folders"
        except ValueError as error:
            notes += [*_describe_unread(folder), *describe_annotations(index.files)]
            raise ValueError(" ".join([str(error), *notes])) from error
    if archives:
        return read_npz(folder), "npz"
    raise _unknown_format(folder, name, [*found.notes, *describe_annotations(index.files)])


def _kind_of_file(folder: Folder, name: str) -> str:
    """Returns the format of a file that the user has named.

    Raises:
        ValueError: It is in none.
    """
    lower = name.lower()
    if lower.endswith(".npz"):
        return "npz"
    if lower.endswith((".yaml", ".yml")):
        return "yolo"
    if not lower.endswith(MANIFEST_SUFFIXES):
        raise _unknown_format(folder, name, [])
    # The file alone is read: what lies beside it is not of the set.
    if lower.endswith(".json") and starts_like_coco(folder, name):
        return "coco"
    return "box_table" if holds_boxes(folder, name, FileIndex(folder)) else "manifest"


def _describe_unread(folder: Folder) -> list[str]:
    """Returns a sentence on files beside the folders that may be the table that was meant."""
    read = (".npz", *MANIFEST_SUFFIXES)
    names = [
        name
        for name in folder.list_entries()[1]
        if file_kind(name) == "unknown" and not name.lower().endswith(read)
    ]
    if not names:
        return []
    return [f"Not read: {escape_name(str(names[:5]))}; tables are CSV, TSV, JSON or Parquet files."]


def _with_notes(listing: Listing, notes: list[str]) -> Listing:
    return dataclasses.replace(listing, notes=[*listing.notes, *notes])


def _unknown_format(folder: Folder, name: str, notes: list[str]) -> ValueError:
    # What is no image may be the table that was meant.
    files = sorted(folder.list_entries()[1], key=lambda entry: file_kind(entry) == "image")
    entries = files[:5] or "nothing in it"
    received = [f"Received: {folder.uri!r} with {entries} {name}.", *notes]
    return ValueError(
        "`dataset_uri` must be a folder with one folder of images a class, folders `images` and "
        "`masks`, a CSV, JSON or Parquet manifest, annotations of COCO, Pascal VOC or YOLO, an "
        f".npz file, a folder of IDX files, or `tfds:NAME`. {' '.join(received)} "
        "Images without labels go into `unlabeled_uri`."
    )
