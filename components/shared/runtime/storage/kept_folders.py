"""The two kinds of folders that `mirrors.py` keeps in a bucket: of one writer, and of several."""

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from kfp_vision.components.shared.runtime.storage.buckets import Bucket
from kfp_vision.components.shared.runtime.storage.errors import StorageError
from kfp_vision.components.shared.runtime.storage.generations import Generations
from kfp_vision.components.shared.runtime.storage.transfers import download

__all__ = ["Exclusive", "Shared"]

# Relative path -> inode, size and time of the last change.
_Scan = dict[str, tuple[int, int, int]]


class Exclusive:
    """A folder of one writer."""

    def __init__(self, folder: Path, uri: str, bucket: Bucket, prefix: str) -> None:
        """Writes the newest state to the folder.

        Args:
            folder: On this machine.
            uri: Of the folder in the bucket.
            bucket: Keeps it.
            prefix: Of its keys; ends in `/`.
        """
        self._folder, self._copied = folder, _Scan()
        self._generations = Generations(bucket, prefix)
        self._generations.restore(folder)
        self._copied = _scan(folder)

    def copy(self) -> None:
        """Adds a state to the bucket if there is a new one."""
        if _scan(self._folder) == self._copied:
            return
        with _snapshot(self._folder) as (files, scan):
            self._generations.save(files)
            self._copied = scan


class Shared:
    """A folder of several writers, each with files of its own."""

    def __init__(self, folder: Path, uri: str, bucket: Bucket, prefix: str) -> None:
        """Writes the files to the folder; the arguments are those of `Exclusive`."""
        self._folder, self._bucket, self._prefix = folder, bucket, prefix
        try:
            download(uri, folder)
        except StorageError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
        self._copied = _scan(folder)

    def copy(self) -> None:
        """Copies the files that have changed."""
        found = _scan(self._folder)
        for name in found:
            # Not by the time: files are touched when they are used.
            if found[name][:2] != self._copied.get(name, ())[:2]:
                # A journal may grow meanwhile: what is there now is a beginning of it.
                with contextlib.suppress(FileNotFoundError):
                    self._bucket.put((self._folder / name).read_bytes(), self._prefix + name)
        for name in self._copied.keys() - found.keys():
            self._bucket.delete(self._prefix + name)
        self._copied = found


def _scan(folder: Path) -> _Scan:
    """Returns the files of a folder, but for those that are being written."""
    found = {}
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            if path.is_file() and not path.name.startswith("."):
                status = path.stat()
                name = path.relative_to(folder).as_posix()
                found[name] = (status.st_ino, status.st_size, status.st_mtime_ns)
    return found


@contextlib.contextmanager
def _snapshot(folder: Path) -> Iterator[tuple[dict[str, Path], _Scan]]:
    """Yields the files of one moment, under names that stay: another look finds the same."""
    place = folder.parent / f".{uuid.uuid4().hex}"
    try:
        while True:
            scan = _scan(folder)
            files = {name: place / str(index) for index, name in enumerate(scan)}
            place.mkdir()
            with contextlib.suppress(FileNotFoundError):
                for name, link in files.items():
                    # Files are replaced, not changed: the link keeps the content.
                    os.link(folder / name, link)
                if _scan(folder) == scan:
                    break
            shutil.rmtree(place)
        yield files, scan
    finally:
        shutil.rmtree(place, ignore_errors=True)
