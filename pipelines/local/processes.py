"""Who may use an output folder, and which processes end when: nothing survives a killed launcher.

The launcher holds a pipe and a lock. The worker ends its whole process group when the pipe closes;
every task inherits the lock, so that a second launcher waits until the last task of the first one
is gone, whoever was killed.
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

# A backend that a user has chosen for all of Keras, and TensorFlow's greetings, are not ours.
_TENSORFLOW = {"TF_CPP_MIN_LOG_LEVEL": "2", "KERAS_BACKEND": "tensorflow"}
# Children find these before they start: glibc reads its own only then. It keeps freed memory
# instead of returning it to the kernel, which is up to 1.7 x in training.
ENVIRONMENT = {
    "MALLOC_MMAP_THRESHOLD_": str(2**32),
    "MALLOC_TRIM_THRESHOLD_": str(2**33),
    "MALLOC_TOP_PAD_": str(2**28),
    "PYTHONUNBUFFERED": "1",
    **_TENSORFLOW,
}


def use_tensorflow() -> None:
    """Sets what this process has to know before it imports TensorFlow or Keras."""
    for name, value in _TENSORFLOW.items():
        os.environ.setdefault(name, value)


class Stopped(BaseException):
    """A signal asks this process to end; like KeyboardInterrupt, which click would swallow."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number


def raise_on_signals() -> None:
    """Makes Ctrl-C, SIGTERM and SIGHUP raise `Stopped` once, so that everything is cleared away.

    What the caller of this process has chosen to ignore stays ignored: SIGHUP under `nohup`.
    """
    heard = [each for each in _SIGNALS if signal.getsignal(each) is not signal.SIG_IGN]

    def stop(number: int, _: object) -> None:
        # The impatient second Ctrl-C must not stop the clearing.
        for each in heard:
            signal.signal(each, signal.SIG_IGN)
        raise Stopped(number)

    for each in heard:
        signal.signal(each, stop)


@contextlib.contextmanager
def hold_folder(folder: Path, console: Console, patience_s: float = 60.0) -> Iterator[IO[str]]:
    """Yields a locked file of the folder; waits for a run that is ending.

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
