"""What the rest of the package asks of a bucket, and how often a request is repeated."""

import dataclasses
import functools
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

__all__ = ["CLIENT", "MAX_TRIES", "RETRIES", "TIMEOUT_S", "Bucket", "StoredObject", "open_bucket"]

# Of a request, answers that break off included; nothing above repeats it once more. Long enough for
# a store that starts again: given up after half a minute to a minute.
MAX_TRIES = 12
TIMEOUT_S = 60
RETRIES: "RetryConfig" = {
    "max_retries": MAX_TRIES - 1,
    # A pause is drawn from the first one to three times the one before.
    "backoff": {
        "init_backoff": timedelta(seconds=0.1),
        "max_backoff": timedelta(seconds=10),
        "base": 3,
    },
    "retry_timeout": timedelta(seconds=TIMEOUT_S),
}
CLIENT: "ClientConfig" = {
    "allow_http": True,
    "connect_timeout": timedelta(seconds=10),
    # Of a silence. A slow answer may take ten minutes, and is no longer than `RANGE_BYTES`.
    "read_timeout": timedelta(seconds=30),
    "timeout": timedelta(minutes=10),
}


@dataclasses.dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as a listing describes it.

    Attributes:
        key: Its name in the bucket.
        size: Bytes.
        version: Changes with the content.
        modified: When it was written.
    """

    key: str
    size: int
    version: str
    modified: datetime


class Bucket(Protocol):
    """A bucket of one vendor; every method raises what the vendor's client raises."""

    @property
    def reader(self) -> "ObjectStore":
        """What reads objects."""

    def objects(self, prefix: str) -> Iterator[StoredObject]:
        """Yields the objects whose keys start with `prefix`, a page at a time, by key."""

    def level(self, prefix: str) -> tuple[list[str], list[StoredObject]]:
        """Returns the prefixes and the objects up to the next `/` after `prefix`."""

    def upload(self, source: Path, key: str) -> None:
        """Writes an object whose content the store has compared with a checksum of the file."""

    def put(self, content: bytes, key: str) -> None:
        """The same for content in memory."""

    def put_over(self, content: bytes, key: str, known: "ObjectMeta | None") -> bool:
        """The same, only in place of the object that is known, or where None is and there is none.

        Returns whether it was written. A request that is repeated because its answer was lost finds
        what it has written itself: False then says nothing, the content does.
        """

    def copy(self, key: str, target: str) -> None:
        """Copies an object within the bucket."""

    def delete(self, key: str) -> None:
        """Removes an object; one that is not there is none."""


@functools.cache
def open_bucket(scheme: str, name: str) -> Bucket:
    """Returns the bucket; asks for nothing but credentials."""
    if scheme == "gs":
        from kfp_vision.components.shared.runtime.storage.gs_bucket import GsBucket

        return GsBucket(name)
    from kfp_vision.components.shared.runtime.storage.s3_bucket import S3Bucket

    return S3Bucket(name)
