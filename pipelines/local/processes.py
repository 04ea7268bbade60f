"""The processes of a run and the lock of its output folder.

The launcher holds a pipe and the lock. The worker ends its process group when the pipe closes, so
that no process outlives a killed launcher. Every task inherits the lock, so that a second launcher
waits for the last task of the first one.
"""

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from rich.console import Console

__all__ = [
    "ENVIRONMENT",
    "Stopped",
    "hold_folder",
    "raise_on_signals",
    "start_worker",
    "use_tensorflow",
]

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# Keras may be set to another backend for all programs of the user.
_TENSORFLOW = {"TF_CPP_MIN_LOG_LEVEL": "2", "KERAS_BACKEND": "tensorflow"}
# glibc reads its variables when a process starts. With these it keeps freed memory instead of
# returning it to the kernel, which makes training up to 1.7 times as fast.
ENVIRONMENT = {
    "MALLOC_MMAP_THRESHOLD_": str(2**32),
    "MALLOC_TRIM_THRESHOLD_": str(2**33),
    "MALLOC_TOP_PAD_": str(2**28),
    "PYTHONUNBUFFERED": "1",
    **_TENSORFLOW,
}


def use_tensorflow() -> None:
    """Sets the environment that TensorFlow and Keras read when they are imported."""
    for name, value in _TENSORFLOW.items():
        os.environ.setdefault(name, value)


class Stopped(BaseException):
    """A signal has asked this process to end; not KeyboardInterrupt, which click would handle."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number


def raise_on_signals() -> None:
    """Makes the first SIGINT, SIGTERM or SIGHUP raise `Stopped`, so that cleaning up can finish.

    Signals that the caller of this process ignores stay ignored: SIGHUP under `nohup`.
    """
    heard = [each for each in _SIGNALS if signal.getsignal(each) is not signal.SIG_IGN]

    def stop(number: int, _: object) -> None:
        # A second Ctrl-C must not interrupt the cleaning up.
        for each in heard:
            signal.signal(each, signal.SIG_IGN)
        raise Stopped(number)

    for each in heard:
        signal.signal(each, stop)


@contextlib.contextmanager
def hold_folder(folder: Path, console: Console, patience_s: float = 60.0) -> Iterator[IO[str]]:
    """Yields a locked file in the folder; waits for another run to end.

    Raises:
        RuntimeError: Another run has used the folder for all of `patience_s`.
    """
    with (folder / "lock").open("a+") as lock:
        deadline, waiting = time.monotonic() + patience_s, False
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise RuntimeError(
                        f"One run at a time may use an output folder. Received: {folder.parent}, "
                        "which another run uses. Wait for it, end it, or choose another `--output`."
                    ) from error
                if not waiting:
                    console.print("Waiting for another run in this output folder to end ...")
                waiting = True
                time.sleep(0.2)
        yield lock


@contextlib.contextmanager
def start_worker(settings: Mapping[str, Any], lock: IO[str]) -> Iterator["subprocess.Popen[str]"]:
    """Starts `worker.py`; on leaving ends it and every process that it has started.

    Args:
        settings: See `worker.py`; `launcher` and `workspace_root` are added here.
        lock: Of `hold_folder`.
    """
    with tempfile.TemporaryDirectory(prefix="kfp-vision-") as scratch:
        worker_end, launcher_end = os.pipe()
        added = {"launcher": worker_end, "workspace_root": f"{scratch}/workspace"}
        worker = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "kfp_vision.pipelines.local.worker",
                json.dumps({**settings, **added}),
            ],
            # Standard input is the one file that KFP lets its tasks inherit.
            stdin=lock,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={**ENVIRONMENT, **os.environ, "TMPDIR": scratch},
            pass_fds=(worker_end,),
            start_new_session=True,
        )
        os.close(worker_end)
        try:
            yield worker
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()
            os.close(launcher_end)
