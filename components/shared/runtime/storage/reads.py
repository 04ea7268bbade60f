"""Which files a thread has asked folders for: what the result of its work depends on."""

import contextlib
import contextvars
from collections.abc import Iterator

__all__ = ["record_read", "record_reads"]

_READS: contextvars.ContextVar[set[str] | None] = contextvars.ContextVar("reads", default=None)


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


def record_read(path: str) -> None:
    """Adds a path to the set of this thread, if there is one."""
    reads = _READS.get()
    if reads is not None:
        reads.add(path)
