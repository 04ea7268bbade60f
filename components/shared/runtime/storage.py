"""Files and folders behind one URI: local paths and file://, gs://, s3://, through fsspec.

A `Folder` reads below one root with relative paths; `download` and `upload` move whole trees.
Every failure of a backend becomes a `StorageError` that says which URI and what to check. A URI
stays text until a function here resolves it: `Path` makes a folder `s3:` of a bucket.
"""

import contextlib
import contextvars
import dataclasses
import importlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from kfp_vision.components.shared.runtime.disk import is_disk_full
from kfp_vision.components.shared.runtime.file_trees import Tree, tree_of_keys, walk_folder

__all__ = [
    "Folder",
    "StorageError",
    "download",
    "is_remote",
    "local_path",
    "move",
    "open_folder",
    "record_reads",
    "remove",
    "upload",
]

# A slash less, `s3:/bucket`, is a bucket too, not a folder of that name.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")

# Without a limit an unreachable endpoint keeps a run waiting for minutes before it says so.
_OPTIONS: dict[str, dict[str, Any]] = {
    "s3": {"config_kwargs": {"connect_timeout": 10, "retries": {"max_attempts": 3}}},
    "gs": {"requests_timeout": 30},
}
_HELP = {
    "file": "Check the spelling and the permissions.",
    "gs": "Check the bucket's name, the network, and GOOGLE_APPLICATION_CREDENTIALS.",
    "s3": "Check the bucket's name, the network, AWS_ENDPOINT_URL, and the AWS credentials.",
}
# What the backends raise beside OSError, by module, so that only the one in use is imported.
_FAILURES = {
    "file": {},
    "gs": {
        "gcsfs.retry": "HttpError",
        "google.auth.exceptions": "GoogleAuthError",
        "aiohttp": "ClientError",
    },
    "s3": {"botocore.exceptions": "BotoCoreError", "aiohttp": "ClientError"},
}
_READS: contextvars.ContextVar[set[str] | None] = contextvars.ContextVar("reads", default=None)


class StorageError(OSError):
    """A URI cannot be read or written."""


def _scheme(uri: str) -> str:
    match = _SCHEME.match(uri)
    scheme = match[1] if match else "file"
    if not uri.strip() or scheme not in _HELP or (match and not uri.startswith(f"{scheme}://")):
        raise ValueError(
            f"A URI must be a local path or start with {sorted(f'{s}://' for s in _HELP)}. "
            f"Received: {uri!r}"
        )
    return scheme


def is_remote(uri: str) -> bool:
    """Returns whether a URI leads to a bucket.

    Raises:
        ValueError: The scheme is not supported.
    """
    return _scheme(uri) != "file"


def local_path(uri: str, name: str) -> Path:
    """Returns the absolute path of a local path or a `file://` URI.

    Args:
        uri: What the user wrote.
        name: Of the parameter, for the message.

    Raises:
        ValueError: It is a bucket, or the scheme is not supported.
    """
    if is_remote(uri):
        raise ValueError(
            f"`{name}` must be on this machine: a local path or file://. Received: {uri!r}, a "
            "bucket. Give a path on a disk or on a mounted volume."
        )
    return Path(uri.removeprefix("file://")).absolute()


@contextlib.contextmanager
def record_reads() -> Iterator[set[str]]:
    """Yields a set that receives the path of every file that this thread asks a folder for.

    A file that is not there counts: one that appears changes what was read.
    """
    reads: set[str] = set()
    token = _READS.set(reads)
    try:
        yield reads
    finally:
        _READS.reset(token)


def _record(path: str) -> None:
    reads = _READS.get()
    if reads is not None:
        reads.add(path)


@contextlib.contextmanager
def _explained(uri: str, scheme: str) -> Iterator[None]:
    kinds = tuple(
        getattr(importlib.import_module(module), name) for module, name in _FAILURES[scheme].items()
    )
    try:
        yield
    except (OSError, *kinds) as error:
        if isinstance(error, StorageError) or is_disk_full(error):
            raise
        reason = str(error) or type(error).__name__
        raise StorageError(f"Cannot reach {uri!r}: {reason}. {_HELP[scheme]}") from error


def _connect(uri: str) -> tuple[fsspec.AbstractFileSystem, str, str]:
    """Returns the file system, the path in it and the scheme."""
    scheme = _scheme(uri)
    if scheme == "file":
        # Not through fsspec's URL parser, to which `::` and `#` in a name mean something.
        return LocalFileSystem(), str(local_path(uri, "uri").resolve()), scheme
    with _explained(uri, scheme):
        files = fsspec.filesystem(scheme, **_OPTIONS[scheme])
    return files, uri.split("://", 1)[1].rstrip("/"), scheme


@dataclasses.dataclass(frozen=True)
class Folder:
    """A folder, local or in a bucket; paths are relative to it, with `/` on every system.

    Attributes:
        uri: As the user wrote it.
        root: The path in the file system; absolute and free of links when local.
        scheme: `file`, `gs` or `s3`.
        files: The fsspec file system.
        follow_links: Whether links may lead out of the folder, and to other folders.
    """

    uri: str
    root: str
    scheme: str
    files: fsspec.AbstractFileSystem
    follow_links: bool = False

    @property
    def is_local(self) -> bool:
        """Whether the folder is on this machine."""
        return self.scheme == "file"

    def list_files(self) -> list[str]:
        """Returns the paths of all files below the folder, and of links not followed, sorted.

        Raises:
            StorageError: A folder below must not be read.
        """
        tree = self.list_tree()
        for error in tree.unreadable.values():
            raise StorageError(f"Cannot list {self.uri!r}: {error}. {_HELP['file']}") from error
        return tree.entries()

    def list_tree(self) -> Tree:
        """Returns all that lies below the folder."""
        if self.is_local:
            return walk_folder(self.root, self.follow_links)
        with _explained(self.uri, self.scheme):
            keys = self.files.find(self.root)
        prefix = len(self.root) + 1
        return tree_of_keys(key[prefix:] for key in keys if len(key) > prefix)

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
        """Returns what a bucket says of everything right below `path`, by name."""
        start = f"{self.root}/{path}" if path else self.root
        with _explained(self.uri, self.scheme):
            entries = self.files.ls(start, detail=True)
        return {entry["name"].rstrip("/").rpartition("/")[2]: entry for entry in entries}

    def read(self, path: str) -> bytes:
        """Returns the content of a file.

        Raises:
            FileNotFoundError, IsADirectoryError, PermissionError: The file cannot be read.
            StorageError: The backend cannot be reached.
        """
        _record(path)
        if self.is_local:
            with open(f"{self.root}/{path}", "rb", opener=_open_at_once) as file:  # noqa: PTH123
                return file.read()
        try:
            with _explained(f"{self.uri}/{path}", self.scheme):
                content: bytes = self.files.cat_file(f"{self.root}/{path}")
        except StorageError as error:
            if isinstance(error.__cause__, FileNotFoundError | PermissionError):
                raise error.__cause__ from error
            raise
        return content

    @contextlib.contextmanager
    def open(self, path: str) -> Iterator[IO[bytes]]:
        """Opens a file for reading; it can seek."""
        _record(path)
        with (
            _explained(f"{self.uri}/{path}", self.scheme),
            self.files.open(f"{self.root}/{path}", "rb") as file,
        ):
            yield file

    def exists(self, path: str) -> bool:
        """Returns whether there is a file at `path`."""
        _record(path)
        with _explained(f"{self.uri}/{path}", self.scheme):
            return bool(self.files.isfile(f"{self.root}/{path}"))


def _open_at_once(path: str, flags: int) -> int:
    """Opens a file; of a pipe into which nobody writes it does not wait for one who does."""
    return os.open(path, flags | os.O_NONBLOCK)


def open_folder(uri: str, follow_links: bool = False) -> tuple[Folder, str]:
    """Returns the folder of a URI and, when the URI names a file, the file's name in it.

    Args:
        uri: A local path, file://, gs:// or s3://.
        follow_links: Whether local links may lead out of the folder, and to other folders.

    Raises:
        ValueError: The scheme is not supported.
        StorageError: There is nothing at `uri`, or it cannot be reached.
    """
    files, path, scheme = _connect(uri)
    with _explained(uri, scheme):
        # One question, not `isfile` and `isdir`: backends retry each for half a minute.
        kind = files.info(path)["type"]
    if kind == "directory":
        return Folder(uri.rstrip("/"), path, scheme, files, follow_links), ""
    folder, _, name = path.rpartition("/")
    return Folder(uri.rpartition("/")[0], folder, scheme, files, follow_links), name


def download(uri: str, target: Path) -> None:
    """Copies a file, or a folder with all below it, to the local path `target`."""
    folder, name = open_folder(uri)
    target.parent.mkdir(parents=True, exist_ok=True)
    with _explained(uri, folder.scheme):
        if name:
            folder.files.get_file(f"{folder.root}/{name}", str(target))
            return
        for path in folder.list_files():
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            folder.files.get_file(f"{folder.root}/{path}", str(target / path))


def upload(source: Path, uri: str) -> None:
    """Copies a local file, or a folder with all below it, to `uri`, over what is there."""
    files, root, scheme = _connect(uri)
    pairs = [(source, root)]
    if source.is_dir():
        below = sorted(path for path in source.rglob("*") if path.is_file())
        pairs = [(path, f"{root}/{path.relative_to(source).as_posix()}") for path in below]
    with _explained(uri, scheme):
        for path, target in pairs:
            if scheme == "file":
                Path(target).parent.mkdir(parents=True, exist_ok=True)
            files.put_file(str(path), target)


def remove(uri: str) -> None:
    """Removes a file."""
    files, path, scheme = _connect(uri)
    with _explained(uri, scheme):
        files.rm_file(path)


def move(uri: str, target_uri: str) -> None:
    """Moves a file to another place of the same file system, over what is there."""
    files, path, scheme = _connect(uri)
    _, target, _ = _connect(target_uri)
    with _explained(uri, scheme):
        if scheme == "file":
            Path(target).parent.mkdir(parents=True, exist_ok=True)
        files.mv(path, target)
