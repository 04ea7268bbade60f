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

__all__ = [
    "NUM_REQUESTS",
    "RANGE_BYTES",
    "ObjectFile",
    "fetch",
    "map_in_order",
    "read_object",
    "read_rest",
    "read_start",
]

# At most so many ranges are in memory: 128 MiB.
RANGE_BYTES, NUM_REQUESTS = 8 * 2**20, 16
_BUFFER_BYTES = 2**20

_In = TypeVar("_In")
_Out = TypeVar("_Out")


def map_in_order(
    pool: ThreadPoolExecutor,
    function: Callable[[_In], _Out],
    items: Iterable[_In],
    ahead: int,
    num_bytes: Callable[[_In], int] = lambda _: 0,
    most_bytes: int = 0,
) -> Iterator[_Out]:
    """Maps like `pool.map`, but takes a bounded number of items before their results are used.

    Args:
        pool: Its threads call `function`.
        function: Of one item.
        items: In their order, which is that of the results.
        ahead: The most items.
        num_bytes: What an item and its result hold in memory.
        most_bytes: The most of that, for all items together; a larger item is alone.
    """
    pending: collections.deque[tuple[Future[_Out], int]] = collections.deque()
    held = 0

    def oldest() -> _Out:
        nonlocal held
        future, size = pending.popleft()
        result = future.result()
        held -= size
        return result

    for item in items:
        size = num_bytes(item)
        while pending and held + size > most_bytes > 0:
            yield oldest()
        pending.append((pool.submit(function, item), size))
        held += size
        if len(pending) >= ahead:
            yield oldest()
    while pending:
        yield oldest()


def read_object(bucket: Bucket, key: str) -> bytes:
    """Returns the content of an object; one larger than a range is read in several."""
    answer = bucket.reader.get(key)
    if answer.meta["size"] <= RANGE_BYTES:
        return bytes(answer.bytes())
    size, version = _describe(bucket, key)
    content = bytearray(size)
    _read_ranges(bucket, key, range(0, size, RANGE_BYTES), version, _writer(content))
    return bytes(content)


def read_start(bucket: Bucket, key: str, num_bytes: int) -> tuple[bytes, int, str]:
    """Returns the first bytes of an object, its size, and its ETag, empty where there is none."""
    options: GetOptions = {"range": (0, num_bytes)}
    try:
        answer = bucket.reader.get(key, options=options)
        return bytes(answer.bytes()), answer.meta["size"], answer.meta["e_tag"] or ""
    except GenericError as error:
        if "416 Range" not in str(error):
            raise
        return b"", 0, ""  # An object without a byte has no range.


def read_rest(bucket: Bucket, key: str, start: bytes, size: int, version: str) -> bytes:
    """Returns the content of an object whose start, size and ETag are known."""
    if size - len(start) <= RANGE_BYTES:
        return start + bytes(_read_range(bucket, key, len(start), size, version))
    content = bytearray(size)
    content[: len(start)] = start
    _read_ranges(bucket, key, range(len(start), size, RANGE_BYTES), version, _writer(content))
    return bytes(content)


def _writer(content: bytearray) -> "Callable[[int, Part], object]":
    """Returns what copies a part to its place."""

    def write(start: int, part: "Part") -> None:
        memoryview(content)[start : start + len(part)] = memoryview(part)

    return write


def fetch(bucket: Bucket, key: str, target: Path) -> None:
    """Writes an object to a local file, in ranges that are read at the same time."""
    size, version = _describe(bucket, key)
    with target.open("wb") as file:
        descriptor = file.fileno()
        _read_ranges(
            bucket,
            key,
            range(0, size, RANGE_BYTES),
            version,
            lambda start, part: os.pwrite(descriptor, part, start),
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
    starts: range,
    version: str,
    write: "Callable[[int, Part], object]",
) -> None:
    """Calls `write` with the place and the bytes of each range, from several threads."""

    def copy(start: int) -> None:
        end = min(start + RANGE_BYTES, starts.stop)
        write(start, _read_range(bucket, key, start, end, version))

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
