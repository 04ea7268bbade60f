"""Decoded images on disk: decoded once, read by every epoch, stage and run that follows.

Shapes: N rows of a split, images uint8 [H, W, C]. A file holds one record a row, the pixels and a
checksum of them: what was never written, cut off by a kill or damaged is not taken for an image.

Records are read and written by their offset. In a memory map a full disk or a file that was cut
would end the process (SIGBUS), and its pages would count as memory of the process.
"""

import fcntl
import hashlib
import math
import os
import shutil
import weakref
import zlib
from pathlib import Path

import numpy as np
import PIL
import pyarrow as pa
import pyarrow.compute as pc

from kfp_vision.components.shared.runtime.code_version import code_digest
from kfp_vision.components.shared.runtime.storage import is_remote, local_path

__all__ = ["CachedImages", "ImageCache", "image_cache"]

_CHECKSUM_BYTES = 4
# Of the free space of the disk at most; checkpoints and models need the rest.
_FREE_FRACTION = 0.5
_GIB = 2**30


class CachedImages:
    """The images of one split at one size; any number of threads and processes share the file."""

    def __init__(self, path: Path, num_rows: int, image_bytes: int) -> None:
        """Opens the file, and makes it where there is none or it has another size.

        Raises:
            OSError: The file cannot be opened or locked.
        """
        self._image_bytes, self._record_bytes = image_bytes, image_bytes + _CHECKSUM_BYTES
        self._is_writable = True
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        weakref.finalize(self, os.close, self._file)
        # Held as long as the file is open: nobody removes what is in use.
        fcntl.flock(self._file, fcntl.LOCK_SH)
        size = num_rows * self._record_bytes
        if os.fstat(self._file).st_size != size:
            os.ftruncate(self._file, 0)
            os.ftruncate(self._file, size)  # A hole: the disk gives space to what is written.
        os.utime(self._file)

    def read(self, row: int, image: np.ndarray) -> bool:
        """Writes the pixels of a row into `image` [H, W, C]; returns whether they are there."""
        checksum = bytearray(_CHECKSUM_BYTES)
        try:
            num_bytes = os.preadv(self._file, [image.data, checksum], row * self._record_bytes)
        except OSError:
            return False
        return num_bytes == self._record_bytes and checksum == _checksum(image)

    def write(self, row: int, image: np.ndarray) -> None:
        """Keeps the pixels of a row; after an error, of a full disk for instance, none any more."""
        if not self._is_writable:
            return
        try:
            os.pwritev(self._file, [image.data, _checksum(image)], row * self._record_bytes)
        except OSError as error:
            self._is_writable = False
            print(f"Decoded images are no longer kept: {error}. They are decoded when needed.")


class ImageCache:
    """The files of all splits and sizes in one folder, bounded together."""

    def __init__(self, root: Path, max_bytes: int) -> None:
        """Creates nothing yet.

        Args:
            root: Holds nothing else.
            max_bytes: Files that were not used for longest are removed for a new one; one that is
                in use stays.
        """
        self._root, self._max_bytes = root, max_bytes

    def open(self, table: pa.Table, shape: tuple[int, int, int]) -> CachedImages | None:
        """Returns the cached images of a split, or None where there is nothing to gain or no room.

        Args:
            table: Rows of the store.
            shape: (height, width, channels) of the decoded images.
        """
        if not table.num_rows or _is_decoded(table, shape):
            return None
        image_bytes = math.prod(shape)
        path = self._root / _identity(table, shape)
        size = table.num_rows * (image_bytes + _CHECKSUM_BYTES)
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            with (self._root / "lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                lacking = self._make_room(path, size)
                if not lacking:
                    return CachedImages(path, table.num_rows, image_bytes)
        except OSError as error:
            lacking = str(error)
        print(f"Decoded images are not kept, each is decoded when it is needed: {lacking}")
        return None

    def _make_room(self, path: Path, size: int) -> str:
        """Removes other files until one of `size` bytes is allowed; returns why it is not."""
        needed = size - (path.stat().st_blocks * 512 if path.exists() else 0)
        allowed = shutil.disk_usage(self._root).free * _FREE_FRACTION
        if needed > allowed:
            return f"{needed / _GIB:.2f} GiB are more than half of the free disk ({self._root})"
        others = [(each.stat(), each) for each in self._root.glob("*.images") if each != path]
        others.sort(key=lambda entry: entry[0].st_mtime)
        excess = size + sum(status.st_size for status, _ in others) - self._max_bytes
        if size <= self._max_bytes:
            for status, other in others:
                if excess > 0 and _remove_unused(other):
                    excess -= status.st_size
        if excess <= 0:
            return ""
        return (
            f"{size / _GIB:.2f} GiB are more than what `image_cache_gib` leaves to them, of "
            f"{self._max_bytes / _GIB:.2f} GiB"
        )


def image_cache(checkpoint_uri: str, max_gib: float) -> ImageCache | None:
    """Returns the cache of a run, beside its checkpoints; None for none.

    Args:
        checkpoint_uri: A folder that outlives the task; empty where there is none. Of one in a
            bucket there is no cache: decoded images take longer to copy than to decode.
        max_gib: Bound of its size in GiB; 0 for no cache.
    """
    if not checkpoint_uri or is_remote(checkpoint_uri) or not max_gib:
        return None
    return ImageCache(local_path(checkpoint_uri, "checkpoint_uri") / "images", int(max_gib * _GIB))


def _checksum(image: np.ndarray) -> bytes:
    """Returns the CRC-32 of the pixels; never 0, as of a record that was not written."""
    return (zlib.crc32(image.data) | 1).to_bytes(_CHECKSUM_BYTES, "little")


def _identity(table: pa.Table, shape: tuple[int, int, int]) -> str:
    """Returns a file name for the rows in their order, the size and what decodes and resizes."""
    digest = hashlib.sha256(f"{code_digest()} {PIL.__version__}".encode())
    digest.update(b"".join(table["sha256"].to_pylist()))
    return f"{digest.hexdigest()[:16]}-{'x'.join(map(str, shape))}.images"


def _is_decoded(table: pa.Table, shape: tuple[int, int, int]) -> bool:
    """Returns whether the store holds the pixels themselves, at this very size."""
    expected = {"encoding": "raw", **dict(zip(("height", "width", "channels"), shape, strict=True))}
    return all(pc.unique(table[name]).to_pylist() == [each] for name, each in expected.items())


def _remove_unused(path: Path) -> bool:
    """Removes a file unless it is in use; returns whether it did."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        path.unlink()
        return True
