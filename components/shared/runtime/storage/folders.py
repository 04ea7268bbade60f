"""Folders that are read by relative paths, local or in a bucket."""

import contextlib
import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from kfp_vision.components.shared.runtime.storage.buckets import Bucket, StoredObject, open_bucket
from kfp_vision.components.shared.runtime.storage.errors import HELP, StorageError, explained
from kfp_vision.components.shared.runtime.storage.file_trees import Tree, tree_of_keys, walk_folder
from kfp_vision.components.shared.runtime.storage.manifests import (
    INCOMING,
    MANIFEST_FILE,
    FileRecord,
    Manifest,
    find_manifest,
)
from kfp_vision.components.shared.runtime.storage.reading import ObjectFile, read_object
from kfp_vision.components.shared.runtime.storage.reads import record_read
from kfp_vision.components.shared.runtime.storage.uris import bucket_and_key, local_path, scheme_of

__all__ = ["Folder", "open_folder"]


@dataclasses.dataclass(frozen=True)
class Folder:
    """A folder, local or in a bucket; paths are relative to it, with `/` on every system.

    Attributes:
        uri: As the user wrote it.
        root: Absolute and free of links when local; otherwise the bucket and the prefix in it.
        scheme: `file`, `gs`, `minio` or `s3`.
        bucket: None when local.
        follow_links: Whether links may lead out of the folder, and to other folders.
        manifest: Of the folder's files in a published artifact: they are compared with it.
    """

    uri: str
    root: str
    scheme: str
    bucket: Bucket | None = dataclasses.field(default=None, compare=False)
    follow_links: bool = False
    manifest: Manifest | None = dataclasses.field(default=None, compare=False)

    @property
    def is_local(self) -> bool:
        """Whether the folder is on this machine."""
        return self.bucket is None

    def key(self, path: str) -> str:
        """Returns the key of a path in the bucket."""
        prefix = self.root.partition("/")[2]
        return f"{prefix}/{path}" if prefix else path

    def record_of(self, path: str) -> FileRecord | None:
        """Returns what the manifest says of a file.

        Raises:
            StorageError: The artifact is being replaced: the file may be that of either.
        """
        if self.manifest is None or path not in self.manifest.files:
            return None
        self.manifest.require_complete(self.uri)
        return self.manifest.files[path]

    def list_files(self) -> list[str]:
        """Returns the paths of all files below the folder, and of links not followed, sorted.

        Raises:
            StorageError: A folder below must not be read.
        """
        tree = self.list_tree()
        for error in tree.unreadable.values():
            raise StorageError(f"Cannot list {self.uri!r}: {error}. {HELP['file']}") from error
        return tree.entries()

    def list_tree(self) -> Tree:
        """Returns all that lies below the folder."""
        if self.is_local:
            return walk_folder(self.root, self.follow_links)
        return tree_of_keys(path for path, _ in self._objects())

    def list_sizes(self) -> dict[str, int]:
        """Returns the bytes of every file below the folder; of an artifact, of those it names.

        Raises:
            StorageError: The artifact is being replaced.
        """
        if self.manifest:
            self.manifest.require_complete(self.uri)
            return {path: record.size for path, record in self.manifest.files.items()}
        if self.is_local:
            return {path: os.stat(f"{self.root}/{path}").st_size for path in self.list_files()}  # noqa: PTH116
        return {path: found.size for path, found in self._objects() if not path.endswith("/")}

    def list_entries(self, path: str = "") -> tuple[list[str], list[str]]:
        """Returns the names of the folders and of the files right below `path`, sorted.

        Links count as what they lead to, whether or not they are to be followed.
        """
        if self.is_local:
            # The listing says what each entry is: asking for each takes seconds in a large folder.
            with os.scandir(Path(self.root, path)) as below:
                entries = list(below)
            folders = sorted(entry.name for entry in entries if entry.is_dir())
            return folders, sorted(entry.name for entry in entries if entry.is_file())
        kinds = sorted((name, entry["type"]) for name, entry in self.describe(path).items())
        folders = [name for name, kind in kinds if kind == "directory"]
        return folders, [name for name, kind in kinds if kind == "file"]

    def describe(self, path: str = "") -> dict[str, dict[str, Any]]:
        """Returns what a bucket says of everything right below `path`, by name.

        The keys are `type`, and of a file `size` and `etag`.
        """
        assert self.bucket is not None
        start = self.key(f"{path}/" if path else "")
        with explained(self.uri, self.scheme):
            prefixes, objects = self.bucket.level(start)
        folders = {_last_part(prefix): {"type": "directory"} for prefix in prefixes}
        files = {
            found.key[len(start) :]: {"type": "file", "size": found.size, "etag": found.version}
            for found in objects
            if found.key != start
        }
        return {name: entry for name, entry in (folders | files).items() if _is_content(name)}

    def _objects(self) -> Iterator[tuple[str, StoredObject]]:
        """Yields relative paths and objects, as the pages of the listing arrive."""
        assert self.bucket is not None
        start = self.key("")
        with explained(self.uri, self.scheme):
            for found in self.bucket.objects(start):
                path = found.key[len(start) :]
                if path and _is_content(path):
                    yield path, found

    def read(self, path: str) -> bytes:
        """Returns the content of a file.

        Raises:
            FileNotFoundError, IsADirectoryError, PermissionError: The file cannot be read.
            StorageError: The backend cannot be reached, or has other content than it was given.
        """
        record_read(path)
        record = self.record_of(path)
        if self.bucket is None:
            with open(f"{self.root}/{path}", "rb", opener=_open_at_once) as file:  # noqa: PTH123
                return file.read()
        try:
            with explained(f"{self.uri}/{path}", self.scheme):
                content = read_object(self.bucket, self.key(path))
        except StorageError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                raise error.__cause__ from error
            raise
        if record is not None:
            record.check(content, f"{self.uri}/{path}")
        return content

    @contextlib.contextmanager
    def open(self, path: str) -> Iterator[IO[bytes]]:
        """Opens a file for reading; it can seek."""
        record_read(path)
        self.record_of(path)
        with explained(f"{self.uri}/{path}", self.scheme):
            if self.bucket is None:
                with Path(self.root, path).open("rb") as file:
                    yield file
            else:
                with ObjectFile.buffered(self.bucket, self.key(path)) as remote:
                    yield remote

    def exists(self, path: str) -> bool:
        """Returns whether there is a file at `path`."""
        record_read(path)
        if self.bucket is None:
            return Path(self.root, path).is_file()
        with explained(f"{self.uri}/{path}", self.scheme):
            return _is_object(self.bucket, self.key(path))


def _last_part(prefix: str) -> str:
    return prefix.rstrip("/").rpartition("/")[2]


def _is_content(path: str) -> bool:
    """Returns whether a path is none that a publication leaves beside the files."""
    parts = path.split("/")
    return parts[-1] != MANIFEST_FILE and not any(part.startswith(INCOMING) for part in parts)


def _is_object(bucket: Bucket, key: str) -> bool:
    try:
        bucket.reader.head(key)
    except FileNotFoundError:
        return False
    return True


def _open_at_once(path: str, flags: int) -> int:
    """Opens a file; of a pipe into which nobody writes it does not wait for one who does."""
    return os.open(path, flags | os.O_NONBLOCK)


def open_folder(uri: str, follow_links: bool = False) -> tuple[Folder, str]:
    """Returns the folder of a URI and, when the URI names a file, the file's name in it.

    Args:
        uri: A local path, file://, gs://, s3:// or minio://.
        follow_links: Whether local links may lead out of the folder, and to other folders.

    Raises:
        ValueError: The scheme is not supported.
        StorageError: There is nothing at `uri`, or it cannot be reached.
    """
    scheme = scheme_of(uri)
    with explained(uri, scheme):
        if scheme == "file":
            path = local_path(uri, "uri").resolve(strict=True)
            if path.is_dir():
                return Folder(uri.rstrip("/"), str(path), scheme, None, follow_links), ""
            return Folder(uri.rpartition("/")[0], str(path.parent), scheme, None, follow_links), (
                path.name
            )
        return _open_remote(uri, scheme)


def _open_remote(uri: str, scheme: str) -> tuple[Folder, str]:
    name, key = bucket_and_key(uri)
    bucket, file_name = open_bucket(scheme, name), ""
    if key and not uri.endswith("/") and _is_object(bucket, key):
        uri, _, file_name = uri.rpartition("/")
        key = key.rpartition("/")[0]
    prefix = f"{key}/" if key else ""
    manifest = find_manifest(bucket, key)
    if not file_name and key and manifest is None:
        paths = (found.key[len(prefix) :] for found in bucket.objects(prefix))
        # What is being published for the first time is not there yet.
        if not any(map(_is_content, paths)):
            raise FileNotFoundError("there is no such file or folder")
    root = f"{name}/{key}".rstrip("/")
    return Folder(uri.rstrip("/"), root, scheme, bucket, manifest=manifest), file_name
