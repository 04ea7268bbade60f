"""Files that simultaneous and killed processes may share: they are whole, or not there."""

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

__all__ = ["whole_file", "write_atomically"]


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yields where to write a file, which then takes the place of `path`.

    A stopped or simultaneous writer leaves the one before, or a whole one; so does a power cut.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{uuid.uuid4().hex}")
    try:
        yield partial
        with partial.open("rb") as file:
            # Else the name may reach the disk before the content.
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file as `whole_file` does."""
    with whole_file(path) as partial:
        partial.write_bytes(content)
