"""Digests of what results depend on: equal digests mean equal results, wherever the files lie.

Caches, checkpoints and journals are kept under these names. A name covers the content of the data,
of the model file and of this package's code, and the values of the recipe; a path, a time and the
evidence behind a value say nothing about a result.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kfp_vision.components.shared.architectures.names import is_user_model
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json
from kfp_vision.components.shared.datasets.store import PIXEL_COLUMNS, open_split
from kfp_vision.components.shared.recipe.document import Recipe
from kfp_vision.components.shared.runtime.code_version import code_digest
from kfp_vision.components.shared.runtime.storage import Folder, StorageError, open_folder

__all__ = [
    "architecture_digest",
    "content_digest",
    "digest_of_versions",
    "file_versions",
    "listing_digest",
    "training_identity",
]

# What trainings read; the images of the other splits change no weight.
_TRAINED_ON = ("train", "validation")
# Columns that say nothing about targets.
_NO_TARGETS = (*PIXEL_COLUMNS, "path", "sha256", "source_sha256", "signature")
_SHORT = 16


def content_digest(uri: str) -> str:
    """Returns the SHA-256 (hex) of the content of a file.

    Raises:
        ValueError: `uri` is a folder.
        StorageError: There is nothing at `uri`, or it cannot be reached.
    """
    folder, name = open_folder(uri)
    if not name:
        raise ValueError(f"The URI must be that of a file. Received: {uri!r}, a folder")
    digest = hashlib.sha256()
    with folder.open(name) as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def architecture_digest(architecture: str) -> str:
    """Returns the name of a row of the zoo, or the digest of a model file: not its path.

    Raises:
        StorageError: The file cannot be reached.
    """
    return content_digest(architecture) if is_user_model(architecture) else architecture


def training_identity(dataset_dir: Path, recipe: Recipe, **about: Any) -> str:
    """Returns a name for everything that weights depend on; equal names may share checkpoints.

    Args:
        dataset_dir: Folder of the dataset.
        recipe: Complete; its values count, not how they were found.
        about: What else there is: a seed, a plan, the digest of a table; JSON values.
    """
    values = {
        section: {name: setting.value for name, setting in settings.items()}
        for section, settings in recipe.sections.items()
    }
    values["model"]["architecture"] = architecture_digest(recipe.value("model", "architecture"))
    content = [code_digest(), _data_digest(dataset_dir), values, about]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:_SHORT]


def _data_digest(dataset_dir: Path) -> str:
    """Returns a digest of the images and targets of the trained splits, in the order of the rows.

    Batches and subsets are positions: the fingerprint of the dataset, in which the order does not
    count, is not enough.
    """
    info = read_json(DatasetInfo, dataset_dir / "dataset.json")
    about = [info.task, info.classes, info.channels, info.most_objects]
    about += [info.keypoint_names, info.keypoint_swaps]
    digest = hashlib.sha256(json.dumps(about).encode())
    for split in _TRAINED_ON:
        if split in info.splits:
            table = open_split(dataset_dir, split)
            digest.update(b"".join(table["sha256"].to_pylist()))
            digest.update(split.encode())
            targets = [name for name in table.column_names if name not in _NO_TARGETS]
            for batch in table.select(targets).to_batches():
                digest.update(batch.serialize())
    return digest.hexdigest()


def listing_digest(folder: Folder, paths: Iterable[str]) -> str:
    """Returns a SHA-256 (hex) of names, sizes and versions of files: new when one of them changes.

    Args:
        folder: As of `file_versions`.
        paths: The same.
    """
    return digest_of_versions(file_versions(folder, paths))


def digest_of_versions(versions: Mapping[str, str]) -> str:
    """Returns the SHA-256 (hex) of what `file_versions` has found."""
    digest = hashlib.sha256()
    for path, version in versions.items():
        digest.update(f"{path}\0{version}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def file_versions(folder: Folder, paths: Iterable[str]) -> dict[str, str]:
    """Returns path -> size and version of files, sorted.

    Reads no content, so it is a cheap key for a cache and for a watch. The version is the ETag in a
    bucket; on a disk, the times in nanoseconds at which content and inode last changed, links being
    followed. What it cannot see: a change that keeps the size, on a file system that keeps whole
    seconds only, in the second of the change before.

    Args:
        folder: What the paths are relative to.
        paths: Of files; they need not exist, and one that appears is a change.
    """
    names = sorted(set(paths))
    if folder.is_local:
        versions = [_local_version(f"{folder.root}/{path}") for path in names]
    else:
        versions = _remote_versions(folder, names)
    return dict(zip(names, versions, strict=True))


def _local_version(path: str) -> str:
    try:
        found = os.stat(path)  # noqa: PTH116 - a million `Path` objects take seconds.
    except (OSError, ValueError):
        return "missing"
    # The inode's time tells of a copy that was given the times of the original.
    return f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}"


def _remote_versions(folder: Folder, paths: Iterable[str]) -> list[str]:
    """Returns the versions of files in a bucket, by one listing for each of their folders."""
    listed: dict[str, dict[str, str]] = {}
    versions = []
    for path in paths:
        parent, _, name = path.rpartition("/")
        if parent not in listed:
            listed[parent] = _list_versions(folder, parent)
        versions.append(listed[parent].get(name, "missing"))
    return versions


def _list_versions(folder: Folder, path: str) -> dict[str, str]:
    try:
        return folder.list_versions(path)
    except StorageError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return {}
        raise
