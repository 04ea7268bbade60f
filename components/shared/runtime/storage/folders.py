"""Folders that are read by relative paths, local or in a bucket."""

import contextlib
import dataclasses
import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from kfp_vision.components.shared.runtime.storage.buckets import Bucket, StoredObject
from kfp_vision.components.shared.runtime.storage.errors import HELP, StorageError, explained
from kfp_vision.components.shared.runtime.storage.file_trees import (
    Tree,
    is_plain_key,
    plain_path,
    tree_of_keys,
    walk_folder,
)
from kfp_vision.components.shared.runtime.storage.manifests import (
    INCOMING,
    MANIFEST_FILE,
    FileRecord,
    Manifest,
)
from kfp_vision.components.shared.runtime.storage.reading import (
    ObjectFile,
    read_object,
    read_rest,
    read_start,
)
from kfp_vision.components.shared.runtime.storage.reads import record_read

__all__ = ["FileStart", "Folder", "is_content", "is_object"]


@dataclasses.dataclass(frozen=True, slots=True)
class FileStart:
    """A file of which the first bytes are read.

    Attributes:
        head: The first bytes; all where there are no more.
        size: Of the file, in bytes.
        read: Returns the whole content.
    """

    head: bytes
    size: int
    read: Callable[[], bytes]


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
        apart: Root of another folder of the same scheme: what lies in it is not listed as part of
            this one; empty for none.
    """

    uri: str
    root: str
    scheme: str
    bucket: Bucket | None = dataclasses.field(default=None, compare=False)
    follow_links: bool = False
    manifest: Manifest | None = dataclasses.field(default=None, compare=False)
    apart: str = ""

    @property
    def is_local(self) -> bool:
        """Whether the folder is on this machine."""
        return self.bucket is None

    def is_apart(self, path: str) -> bool:
        """Returns whether a path below this folder leads to the folder apart, or into it."""
        return bool(self.apart) and f"{self.place(path)}/".startswith(f"{self.apart}/")

    def place(self, path: str) -> str:
        """Returns what `root` is, of a path below this folder."""
        place = f"{self.root}/{path}".rstrip("/")
        return os.path.realpath(place) if self.is_local else place

    def key(self, path: str) -> str:
        """Returns the key of a path in the bucket."""
        prefix = self.root.partition("/")[2]
        return f"{prefix}/{path}" if prefix else path

    def _file_key(self, path: str) -> str:
        """Returns the key of a file, whose path is read as on a disk.

        Raises:
            FileNotFoundError: The path leads out of the folder, or to none.
        """
        plain = plain_path(path)
        if not is_plain_key(plain):
            raise FileNotFoundError(f"there is no file {path!r}")
        return self.key(plain)

    def record_of(self, path: str) -> FileRecord | None:
        """Returns what the manifest says of a file.

        Raises:
            StorageError: The artifact is being replaced: the file may be that of either.
        """
        record = self.manifest.files.get(plain_path(path)) if self.manifest else None
        if self.manifest and record:
            self.manifest.require_complete(self.uri)
        return record

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
            return walk_folder(self.root, self.follow_links, self.apart)
        return tree_of_keys(path for path, _ in self._objects() if not self.is_apart(path))

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
            folders = {entry.name for entry in entries if entry.is_dir()}
            files = {entry.name for entry in entries if entry.is_file()}
        else:
            folders, files = map(set, self._level(path))
        start = f"{path}/" if path else ""
        return sorted(name for name in folders if not self.is_apart(start + name)), sorted(files)

    def list_versions(self, path: str) -> dict[str, str]:
        """Returns the name of every file right below `path` in a bucket -> size and ETag."""
        return {
            name: f"{found.size} {found.version}" for name, found in self._level(path)[1].items()
        }

    def _level(self, path: str) -> tuple[set[str], dict[str, StoredObject]]:
        """Returns the folders and the objects right below `path`; one name may be both."""
        assert self.bucket is not None
        start = self.key(f"{path}/" if path else "")
        with explained(self.uri, self.scheme):
            prefixes, objects = self.bucket.level(start)
        folders = {prefix[len(start) :].removesuffix("/") for prefix in prefixes} - {""}
        files = {found.key[len(start) :]: found for found in objects if found.key != start}
        return set(filter(is_content, folders)), {
            name: found for name, found in files.items() if is_content(name)
        }

    def _objects(self) -> Iterator[tuple[str, StoredObject]]:
        """Yields relative paths and objects, as the pages of the listing arrive."""
        assert self.bucket is not None
        start = self.key("")
        with explained(self.uri, self.scheme):
            for found in self.bucket.objects(start):
                path = found.key[len(start) :]
                if path and is_content(path):
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
        with self._explained(path):
            content = read_object(self.bucket, self._file_key(path))
        if record is not None:
            record.check(content, f"{self.uri}/{path}")
        return content

    def start(self, path: str, num_bytes: int) -> FileStart:
        """Returns a file of which no more than `num_bytes` are read yet.

        Raises:
            FileNotFoundError, IsADirectoryError, PermissionError: The file cannot be read.
            StorageError: The backend cannot be reached.
        """
        record_read(path)
        record = self.record_of(path)
        if self.bucket is None:
            with open(f"{self.root}/{path}", "rb", opener=_open_at_once) as file:  # noqa: PTH123
                head = file.read(num_bytes)
                size = len(head) if len(head) < num_bytes else os.fstat(file.fileno()).st_size
            version = ""
        else:
            with self._explained(path):
                key = self._file_key(path)
                head, size, version = read_start(self.bucket, key, num_bytes)
        if size <= len(head):
            if self.bucket is not None and record is not None:
                record.check(head, f"{self.uri}/{path}")
            return FileStart(head, size, lambda: head)
        if version and record is None:
            return FileStart(
                head, size, functools.partial(self._read_rest, path, head, size, version)
            )
        return FileStart(head, size, functools.partial(self.read, path))

    def _read_rest(self, path: str, head: bytes, size: int, version: str) -> bytes:
        assert self.bucket is not None
        with self._explained(path):
            return read_rest(self.bucket, self._file_key(path), head, size, version)

    @contextlib.contextmanager
    def _explained(self, path: str) -> Iterator[None]:
        """Explains errors of a bucket; a file that is not there is no such error."""
        try:
            with explained(f"{self.uri}/{path}", self.scheme):
                yield
        except StorageError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                raise error.__cause__ from error
            raise

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
                with ObjectFile.buffered(self.bucket, self._file_key(path)) as remote:
                    yield remote

    def exists(self, path: str) -> bool:
        """Returns whether there is a file at `path`."""
        record_read(path)
        if self.bucket is None:
            return Path(self.root, path).is_file()
        with explained(f"{self.uri}/{path}", self.scheme):
            plain = plain_path(path)
            return is_plain_key(plain) and is_object(self.bucket, self.key(plain))


def is_content(path: str) -> bool:
    """Returns whether a path is none that a publication leaves beside the files."""
    parts = path.split("/")
    return parts[-1] != MANIFEST_FILE and not any(part.startswith(INCOMING) for part in parts)


def is_object(bucket: Bucket, key: str) -> bool:
    """Returns whether a bucket has an object of that name."""
    try:
        bucket.reader.head(key)
    except FileNotFoundError:
        return False
    return True


def _open_at_once(path: str, flags: int) -> int:
    """Opens a file; of a pipe into which nobody writes it does not wait for one who does."""
    return os.open(path, flags | os.O_NONBLOCK)
