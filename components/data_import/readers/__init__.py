"""One file per source format, and which of them a source is."""

from collections.abc import Callable

from kfp_vision.components.data_import.readers.class_folders import (
    read_class_folders,
    read_unlabeled,
)
from kfp_vision.components.data_import.readers.idx import find_idx, read_idx
from kfp_vision.components.data_import.readers.manifest import (
    MANIFEST_SUFFIXES,
    find_manifests,
    read_manifest,
)
from kfp_vision.components.data_import.readers.npz import find_npz, read_npz
from kfp_vision.components.data_import.readers.tfds import PREFIX, read_tfds
from kfp_vision.components.data_import.samples import Listing
from kfp_vision.components.shared.storage import Folder

__all__ = ["FORMATS", "TFDS_PREFIX", "detect_format", "read_tfds", "read_unlabeled"]

TFDS_PREFIX = PREFIX

# Format -> reader of (folder, name of a file in it or ""). TFDS has names instead of folders.
FORMATS: dict[str, Callable[[Folder, str], Listing]] = {
    "npz": read_npz,
    "idx": read_idx,
    "manifest": read_manifest,
    "class_folders": read_class_folders,
}


def detect_format(folder: Folder, name: str) -> str:
    """Returns the key of `FORMATS` that a folder, or a file `name` in it, is in.

    Raises:
        ValueError: It is none of them.
    """
    if name:
        if name.lower().endswith(".npz"):
            return "npz"
        if name.lower().endswith(MANIFEST_SUFFIXES):
            return "manifest"
    else:
        for kind, find in (("npz", find_npz), ("idx", find_idx), ("manifest", find_manifests)):
            if find(folder):
                return kind
        folders, _ = folder.list_entries()
        if folders:
            return "class_folders"
    raise ValueError(
        "`dataset_uri` must be a folder with one folder of images a class, a CSV, JSONL or Parquet "
        "manifest, an .npz file, a folder of IDX files, or `tfds:NAME`. "
        f"Received: {folder.uri!r} with {folder.list_entries()[1][:5] or 'nothing in it'} {name}. "
        "Images without labels go into `unlabeled_uri`."
    )
