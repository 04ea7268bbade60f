"""Whole files and folders between this machine and a URI."""

import shutil
import uuid
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from kfp_vision.components.shared.runtime.progress import Progress
from kfp_vision.components.shared.runtime.storage.buckets import open_bucket
from kfp_vision.components.shared.runtime.storage.errors import StorageError, explained
from kfp_vision.components.shared.runtime.storage.file_trees import tree_of_keys
from kfp_vision.components.shared.runtime.storage.folders import Folder
from kfp_vision.components.shared.runtime.storage.manifests import digest_of_file, mismatch
from kfp_vision.components.shared.runtime.storage.opening import open_folder
from kfp_vision.components.shared.runtime.storage.publishing import copy_local, publish
from kfp_vision.components.shared.runtime.storage.reading import (
    NUM_REQUESTS,
    RANGE_BYTES,
    fetch,
    map_in_order,
)
from kfp_vision.components.shared.runtime.storage.uris import (
    bucket_and_key,
    is_remote,
    local_path,
    scheme_of,
)

__all__ = ["download", "move", "remove", "upload"]

_MIB = 2**20


def download(uri: str, target: Path) -> None:
    """Copies a file, or a folder with all below it, to the local path `target`.

    Of a published artifact, or a folder of one, the files that its manifest names, each compared
    with its checksum. A file is whole or not there.

    Raises:
        StorageError: It cannot be read, is being replaced, or has a key that leads out of
            `target`.
    """
    folder, name = open_folder(uri)
    if name:
        _fetch(folder, name, target)
        return
    sizes = folder.list_sizes()
    _check_names(sizes, uri)
    total = sum(sizes.values()) // _MIB
    with Progress(f"download {uri.rstrip('/').rpartition('/')[2]}", total, "MiB") as progress:
        done = 0
        for path in _fetch_all(folder, sizes, target):
            done += sizes[path]
            progress.update(done // _MIB)


def _check_names(names: Iterable[str], uri: str) -> None:
    """Refuses keys that cannot become files of one folder.

    Raises:
        StorageError: One leads out of the folder, or is also the folder of another one.
    """
    tree = tree_of_keys(names)
    if tree.others:
        raise StorageError(
            "Keys must lead to a place below the folder that they are copied to. Received: "
            f"{tree.others[:5]} in {uri!r}. Remove or rename them."
        )
    if both := sorted(set(tree.files) & set(tree.folders)):
        raise StorageError(
            "A key must be a file or a folder: a disk has no other. Received: "
            f"{both[:5]} and keys below, in {uri!r}. Remove or rename one of the two."
        )


def upload(source: Path, uri: str) -> None:
    """Copies a local file over what is at `uri`, or publishes a folder there.

    Raises:
        StorageError: The target cannot be written.
    """
    if source.is_dir():
        publish({"": source}, uri)
        return
    scheme = scheme_of(uri)
    if scheme == "file":
        copy_local(source, local_path(uri, "uri"))
        return
    name, key = bucket_and_key(uri)
    with explained(uri, scheme):
        open_bucket(scheme, name).upload(source, key)


def remove(uri: str) -> None:
    """Removes a file."""
    scheme = scheme_of(uri)
    with explained(uri, scheme):
        if scheme == "file":
            local_path(uri, "uri").unlink()
            return
        name, key = bucket_and_key(uri)
        open_bucket(scheme, name).delete(key)


def move(uri: str, target_uri: str) -> None:
    """Moves a file to another place of the same disk or bucket, over what is there.

    Raises:
        ValueError: The place is in another bucket, or one of the two is on a disk.
        StorageError: The backend cannot be reached.
    """
    scheme = scheme_of(uri)
    place, target_place = (
        (scheme_of(each), bucket_and_key(each)[0] if is_remote(each) else "")
        for each in (uri, target_uri)
    )
    if place != target_place:
        raise ValueError(
            f"A file can be moved within a disk or a bucket. Received: {uri!r} to {target_uri!r}."
        )
    with explained(uri, scheme):
        if scheme == "file":
            target = local_path(target_uri, "target_uri")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(local_path(uri, "uri"), target)
            return
        name, key = bucket_and_key(uri)
        bucket = open_bucket(scheme, name)
        bucket.copy(key, bucket_and_key(target_uri)[1])
        bucket.delete(key)


def _fetch_all(folder: Folder, sizes: dict[str, int], target: Path) -> Iterator[str]:
    """Copies files and yields each path when it is there.

    Small files are read at the same time, and the ranges of a large one: memory is bounded.
    """
    small = [path for path, size in sizes.items() if size <= RANGE_BYTES]

    def fetch_small(path: str) -> str:
        _fetch(folder, path, target / path)
        return path

    with ThreadPoolExecutor(NUM_REQUESTS, thread_name_prefix="download") as pool:
        yield from map_in_order(pool, fetch_small, small, 2 * NUM_REQUESTS)
    for path in sizes.keys() - set(small):
        _fetch(folder, path, target / path)
        yield path


def _fetch(folder: Folder, path: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{uuid.uuid4().hex}")
    uri = f"{folder.uri}/{path}"
    try:
        with explained(uri, folder.scheme):
            if folder.bucket is None:
                shutil.copyfile(f"{folder.root}/{path}", partial)
            else:
                fetch(folder.bucket, folder.key(path), partial)
        record = folder.record_of(path)
        if record is not None and digest_of_file(partial) != record:
            raise mismatch(uri)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
