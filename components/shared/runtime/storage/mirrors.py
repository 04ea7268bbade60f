"""Folders of this machine that a bucket keeps: restored at first, then copied in the background.

Who writes to such a folder knows nothing of it. A folder that a killed process may leave at any
moment is one that another process can go on from; so is every state of it that is copied. SIGTERM,
the notice of a node that is taken away, ends the process after a last copy.
"""

import contextlib
import os
import select
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from kfp_vision.components.shared.runtime.progress import Progress, show_note
from kfp_vision.components.shared.runtime.storage.buckets import open_bucket
from kfp_vision.components.shared.runtime.storage.errors import explained
from kfp_vision.components.shared.runtime.storage.kept_folders import Exclusive, Shared
from kfp_vision.components.shared.runtime.storage.uris import bucket_and_key, scheme_of

__all__ = ["kept_folder", "mirrored", "take_copy_failures"]

_PERIOD_S = 5.0
# What the thread is told through a pipe, beside the numbers of signals.
_END = 0
_OPEN: dict[Path, "_Mirror"] = {}
_FAILURES: list[str] = []


@contextlib.contextmanager
def mirrored(uri: str) -> Iterator[Path]:
    """Yields an empty folder for what a bucket keeps at `uri`; see `kept_folder`.

    At the end, what was not copied yet is copied; `take_copy_failures` says what could not be.
    """
    with (
        tempfile.TemporaryDirectory(prefix="kfp-vision-") as folder,
        _pipe() as (heard, told),
        _signals_told(told),
    ):
        root = Path(folder).resolve()
        _OPEN[root] = mirror = _Mirror(root, uri, heard)
        try:
            yield root
        finally:
            del _OPEN[root]
            os.write(told, bytes([_END]))
            with Progress(f"copy what is new to {uri}"):
                mirror.wait()
            _FAILURES.extend(mirror.tell_failures())


def take_copy_failures() -> list[str]:
    """Returns a sentence for each folder that the bucket lacks the last state of, and forgets it.

    Of the folders that this process has ended to mirror.
    """
    failures = list(_FAILURES)
    _FAILURES.clear()
    return failures


def kept_folder(path: Path, shared: bool = False) -> Path:
    """Returns `path`, which then holds what a bucket has of it, if it is below a mirrored folder.

    Args:
        path: From now on copied to the bucket, a moment after each change.
        shared: Whether several processes write to it, each its own files; otherwise one process
            does, and the last two states are kept.
    """
    for root in path.parents:
        if root in _OPEN:
            with Progress("look for a checkpoint in the bucket"):
                _OPEN[root].keep(path.relative_to(root).as_posix(), shared)
    return path


@contextlib.contextmanager
def _pipe() -> Iterator[tuple[int, int]]:
    """Yields the end to read from and the end to write to, which never waits."""
    ends = os.pipe()
    os.set_blocking(ends[1], False)
    try:
        yield ends
    finally:
        for end in ends:
            os.close(end)


@contextlib.contextmanager
def _signals_told(told: int) -> Iterator[None]:
    """Writes the numbers of signals to a pipe at once, whatever the main thread is doing.

    SIGTERM does nothing else. Python lets the main thread alone ask for this.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.signal(signal.SIGTERM, lambda *_: None)
    descriptor = signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(descriptor)
        signal.signal(signal.SIGTERM, handler)


class _Mirror:
    def __init__(self, root: Path, uri: str, heard: int) -> None:
        self._root, self._uri, self._scheme = root, uri.rstrip("/"), scheme_of(uri)
        self._heard = heard
        name, key = bucket_and_key(uri)
        with explained(uri, self._scheme):
            self._bucket = open_bucket(self._scheme, name)
            # A bucket that cannot be reached is named before work starts.
            next(self._bucket.objects(key), None)
        self._key = f"{key}/" if key else ""
        self._folders: dict[str, Exclusive | Shared] = {}
        # Folder -> why its last state is not in the bucket.
        self._errors: dict[str, Exception] = {}
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._copy_on, name="checkpoints", daemon=True)
        self._thread.start()

    def keep(self, name: str, shared: bool) -> None:
        with self._lock, explained(f"{self._uri}/{name}", self._scheme):
            if name not in self._folders:
                kind = Shared if shared else Exclusive
                self._folders[name] = kind(
                    self._root / name, f"{self._uri}/{name}", self._bucket, f"{self._key}{name}/"
                )

    def wait(self) -> None:
        self._thread.join()

    def tell_failures(self) -> list[str]:
        failures = [
            f"The last state of {self._uri}/{name} is not in the bucket: {str(error).rstrip('.')}. "
            "A task that continues from there starts at the one before."
            for name, error in self._errors.items()
        ]
        for failure in failures:
            show_note(failure)
        return failures

    def _copy_on(self) -> None:
        while True:
            ready, *_ = select.select([self._heard], [], [], _PERIOD_S)
            told = os.read(self._heard, 2**16) if ready else b""
            self._copy()
            if signal.SIGTERM in told:
                self.tell_failures()
                sys.stdout.flush()
                os._exit(128 + signal.SIGTERM)
            if _END in told:
                return

    def _copy(self) -> None:
        with self._lock:
            folders = dict(self._folders)
        for name, folder in folders.items():
            try:
                with explained(f"{self._uri}/{name}", self._scheme):
                    folder.copy()
            except Exception as error:  # noqa: BLE001 - the thread has to live on: it tries again.
                if name not in self._errors:
                    show_note(f"Not copied yet, and tried again: {error}")
                self._errors[name] = error
            else:
                self._errors.pop(name, None)
