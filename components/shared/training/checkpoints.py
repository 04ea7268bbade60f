"""Checkpoints: arrays and a JSON document in one `.npz`, replaced atomically.

A folder holds `state.npz` (everything a run needs to go on) and `best-<step>.npz` (weights of the
best evaluations so far). That of a stage holds `stage.json`: its time and what was decided by it.
"""

import contextlib
import io
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kfp_vision.components.shared.artifacts.json_files import json_text
from kfp_vision.components.shared.runtime.atomic_files import write_atomically
from kfp_vision.components.shared.runtime.storage import (
    is_remote,
    kept_folder,
    local_path,
    mirrored,
)

__all__ = [
    "StageWatch",
    "Stopwatch",
    "checkpoint_folder",
    "read_checkpoint",
    "write_checkpoint",
]

_DOCUMENT = "document"


class Stopwatch:
    """The seconds of a stage over all processes that it took.

    What a killed process did after its last checkpoint is not known.
    """

    def __init__(self) -> None:
        """Starts it."""
        self._started, self._earlier = time.monotonic(), 0.0

    def resume(self, seconds: float) -> None:
        """Adds the processes before this one.

        Args:
            seconds: That a checkpoint of theirs says; of several the latest counts. What this
                process has written holds its own seconds, too, and must not be given.
        """
        self._earlier = max(self._earlier, seconds)

    def add(self, seconds: float) -> None:
        """Adds what processes before this one have taken for a part that is not done again."""
        self._earlier += seconds

    @property
    def seconds(self) -> float:
        """Of the processes before and of this one until now."""
        return self._earlier + time.monotonic() - self._started


class StageWatch(Stopwatch):
    """A stopwatch that outlives its process, and what a stage has measured and decided by it.

    What depends on time is found by the first process that comes to it. The processes after a kill
    read it, and so end with the results of a stage that nobody has killed.
    """

    def __init__(self) -> None:
        """Starts it; nothing is kept until it is opened."""
        super().__init__()
        self._path: Path | None = None
        self._found: dict[str, float] = {}

    def open(self, folder: Path) -> None:
        """Goes on from what a folder holds, and keeps it up to date.

        Args:
            folder: Of this stage of this run alone; outlives a killed task.
        """
        self._path = kept_folder(folder) / "stage.json"
        if self._path.exists():
            held = json.loads(self._path.read_text())
            self.resume(held["seconds"])
            self._found = held["found"]

    def once(self, name: str, measure: Callable[[], float]) -> float:
        """Returns what `measure` has returned in the first process that has asked.

        Args:
            name: Of the figure, the only one in the stage.
            measure: Returns a finite number.
        """
        if name not in self._found:
            self._found[name] = measure()
            self.save()
        return self._found[name]

    def moment(self, name: str) -> float:
        """Returns the seconds of the stage at which it first came to a place in its code."""
        return self.once(name, lambda: self.seconds)

    def save(self) -> None:
        """Keeps the seconds: a kill loses those since the last time."""
        if self._path is not None:
            content = {"seconds": self.seconds, "found": self._found}
            write_atomically(self._path, json_text(content).encode())


@contextlib.contextmanager
def checkpoint_folder(uri: str) -> Iterator[Path]:
    """Yields the folder of a `checkpoint_uri`; without one, a folder that ends with the task.

    Of a bucket, each folder is brought to this machine when it is asked for, and copied back in the
    background.

    Raises:
        StorageError: The bucket cannot be reached.
    """
    if not uri:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)
    elif is_remote(uri):
        with mirrored(uri) as folder:
            yield folder
    else:
        yield local_path(uri, "checkpoint_uri")


def write_checkpoint(
    path: Path, arrays: Sequence[np.ndarray], document: Mapping[str, object]
) -> None:
    """Writes a checkpoint; a kill at any moment leaves the old file or the new one.

    Raises:
        ValueError: The document holds a NaN or infinity.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    entries: dict[str, Any] = {f"{index:05d}": array for index, array in enumerate(arrays)}
    entries[_DOCUMENT] = np.frombuffer(json_text(document).encode(), np.uint8)
    descriptor, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            np.savez(file, **entries)
            file.flush()
            os.fsync(file.fileno())
        Path(partial).replace(path)
    finally:
        Path(partial).unlink(missing_ok=True)


def read_checkpoint(path: Path) -> tuple[list[np.ndarray], dict[str, Any]] | None:
    """Returns the arrays and the document, or None when there is no checkpoint."""
    if not path.exists():
        return None
    with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as entries:
        names = sorted(name for name in entries.files if name != _DOCUMENT)
        document = json.loads(entries[_DOCUMENT].tobytes().decode())
        return [entries[name] for name in names], document
