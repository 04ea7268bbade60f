"""Objects in ranges: bounded memory, many requests in flight, never two versions in one file."""

import collections
import io
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from obstore.exceptions import BaseError, GenericError

from kfp_vision.components.shared.runtime.storage.buckets import Bucket
from kfp_vision.components.shared.runtime.storage.errors import StorageError

if TYPE_CHECKING:
    # Bytes that are not copied into an object of Python before they are written.
    from obstore import Bytes as Part
    from obstore import GetOptions

__all__ = ["NUM_REQUESTS", "RANGE_BYTES", "ObjectFile", "fetch", "map_in_order", "read_object"]

# At most so many ranges are in memory: 128 MiB.
RANGE_BYTES, NUM_REQUESTS = 8 * 2**20, 16
_BUFFER_BYTES = 2**20

_In = TypeVar("_In")
_Out = TypeVar("_Out")


def map_in_order(
    pool: ThreadPoolExecutor, function: Callable[[_In], _Out], items: Iterable[_In], ahead: int
) -> Iterator[_Out]:
    """Maps like `pool.map`, but takes at most `ahead` items before their results are used."""
    pending: collections.deque[Future[_Out]] = collections.deque()
    for item in items:
        pending.append(pool.submit(function, item))
        if len(pending) >= ahead:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def read_object(bucket: Bucket, key: str) -> bytes:
    """Returns the content of an object; one larger than a range is read in several."""
    answer = bucket.reader.get(key)
    if answer.meta["size"] <= RANGE_BYTES:
        return bytes(answer.bytes())
    size, version = _describe(bucket, key)
    content = bytearray(size)

    def write(start: int, part: "Part") -> None:
        memoryview(content)[start : start + len(part)] = memoryview(part)

    _read_ranges(bucket, key, size, version, write)
    return bytes(content)


def fetch(bucket: Bucket, key: str, target: Path) -> None:
    """Writes an object to a local file, in ranges that are read at the same time."""
    size, version = _describe(bucket, key)
    with target.open("wb") as file:
        descriptor = file.fileno()
        _read_ranges(
            bucket, key, size, version, lambda start, part: os.pwrite(descriptor, part, start)
        )


def _describe(bucket: Bucket, key: str) -> tuple[int, str]:
    """Returns size and ETag.

    Raises:
        StorageError: The store gives no ETag.
    """
    meta = bucket.reader.head(key)
    if not meta["e_tag"]:
        raise StorageError(
            "A store must give the ETag of an object that is read in parts: they might be those of "
            f"two versions. Received: none for {key!r}. Copy it to another store."
        )
    return meta["size"], meta["e_tag"]


def _read_ranges(
    bucket: Bucket,
    key: str,
    size: int,
    version: str,
    write: "Callable[[int, Part], object]",
) -> None:
    """Calls `write` with the place and the bytes of each range, from several threads."""
    starts = range(0, size, RANGE_BYTES)

    def copy(start: int) -> None:
        write(start, _read_range(bucket, key, start, min(start + RANGE_BYTES, size), version))

    with ThreadPoolExecutor(max(1, min(NUM_REQUESTS, len(starts)))) as pool:
        for _ in map_in_order(pool, copy, starts, NUM_REQUESTS):
            pass


def _read_range(bucket: Bucket, key: str, start: int, end: int, version: str) -> "Part":
    """Returns bytes `start` to `end` of the version of an object, all of them."""
    options: GetOptions = {"range": (start, end), "if_match": version}
    part = bucket.reader.get(key, options=options).bytes()
    if len(part) != end - start:
        raise GenericError(f"{len(part)} of {end - start} bytes arrived")
    return part


class ObjectFile(io.RawIOBase):
    """An object as a file that can seek."""

    def __init__(self, bucket: Bucket, key: str) -> None:
        """Asks for the size.

        Raises:
            FileNotFoundError: There is no such object.
        """
        self._bucket, self._key, self._place = bucket, key, 0
        self._size, self._version = _describe(bucket, key)

    @classmethod
    def buffered(cls, bucket: Bucket, key: str) -> io.BufferedReader:
        """Returns the file with a buffer in front."""
        return io.BufferedReader(cls(bucket, key), _BUFFER_BYTES)

    def readable(self) -> bool:
        """Returns True."""
        return True

    def seekable(self) -> bool:
        """Returns True."""
        return True

    def tell(self) -> int:
        """Returns the place of the next byte."""
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Goes to a place, and returns it."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        self._place = max(0, base + offset)
        return self._place

    def readinto(self, buffer: "memoryview | bytearray") -> int:  # type: ignore[override]
        """Reads up to the length of `buffer`; returns the number of bytes."""
        end = min(self._place + min(len(buffer), RANGE_BYTES), self._size)
        if end <= self._place:
            return 0
        try:
            part = _read_range(self._bucket, self._key, self._place, end, self._version)
        except BaseError as error:
            raise OSError(str(error).split("\n\n")[0]) from error
        memoryview(buffer)[: len(part)] = memoryview(part)
        self._place += len(part)
        return len(part)
