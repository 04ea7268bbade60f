"""The process that runs the pipeline under `kfp.local`; `launcher.py` starts and reads it.

A process of its own, because KFP writes a hundred lines per task, of several tasks at once: the
launcher sorts them into one log per task.

Usage: python -m kfp_vision.pipelines.local.worker JSON, where JSON is an object of `arguments`,
`pipeline_root`, `cache_root`, `containers` (null for tasks that are processes)...
"""

import contextlib
import functools
import io
import json
import logging
import os
import select
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import psutil
from kfp import local

from kfp_vision.pipelines.arguments import SHAPE
from kfp_vision.pipelines.local.cache import keep_metrics, remove_unused
from kfp_vision.pipelines.local.container_settings import ContainerSettings
from kfp_vision.pipelines.local.containers import remove_containers, run_container
from kfp_vision.pipelines.local.events import Sender, mark_line
from kfp_vision.pipelines.local.kfp_internals import (
    announce_tasks,
    keep_logging,
    run_containers_by,
)
from kfp_vision.pipelines.training import training_pipeline

__all__ = ["MarkedLines", "ended_with", "main"]

# Attempts to remove the temporary folder; what another user owns stays.
_REMOVALS = 100


class MarkedLines(io.TextIOBase):
    """A stream that writes what each thread prints as whole lines, marked for `events.py`."""

    _lock = threading.Lock()

    def __init__(self, stream: TextIO, sender: Sender) -> None:
        self._stream, self._sender = stream, sender
        self._unfinished: dict[int, str] = {}

    def write(self, text: str) -> int:
        """Writes the lines that `text` ends."""
        thread = threading.get_ident()
        *lines, rest = (self._unfinished.pop(thread, "") + text).split("\n")
        if rest:
            self._unfinished[thread] = rest
        with self._lock:
            for line in lines:
                self._stream.write(mark_line(line, thread, self._sender) + "\n")
            self._stream.flush()
        return len(text)


def _speak_in_lines() -> None:
    """Marks what this process announces, what KFP logs and what tasks print."""
    keep_logging()
    events = MarkedLines(sys.stdout, "event")
    announce_tasks(lambda kind, task: print(kind, task, file=events))
    logging.basicConfig(
        level=logging.INFO, stream=MarkedLines(sys.stdout, "kfp"), format="%(message)s"
    )
    sys.stdout = MarkedLines(sys.stdout, "task")


@contextlib.contextmanager
def ended_with(
    launcher: int, scratch: Path, containers: ContainerSettings | None
) -> Iterator[None]:
    """Ends this process and its tasks when the launcher is gone, even by `kill -9`.

    Args:
        launcher: File descriptor of a pipe whose other end only the launcher holds.
        scratch: The temporary folder that the launcher can no longer remove.
        containers: What the tasks run in, if in any.
    """
    watcher = threading.Thread(target=_end_after, args=(launcher, scratch, containers), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        # A task that the watcher kills ends the pipeline too: the process must outlast the removal.
        if select.select([launcher], [], [], 0)[0]:
            watcher.join()


def _end_after(launcher: int, scratch: Path, containers: ContainerSettings | None) -> None:
    """Waits for the end of the launcher and ends what it has left; see `ended_with`."""
    os.read(launcher, 1)
    # Meanwhile the pipeline goes on and may start a task that writes into the folder.
    for _ in range(_REMOVALS):
        for task in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                task.kill()
        if containers:
            with contextlib.suppress(Exception):  # The engine may be gone too.
                remove_containers(containers.output)
        shutil.rmtree(scratch, ignore_errors=True)
        if not scratch.exists():
            break
    os.killpg(os.getpgrp(), signal.SIGKILL)


def _runner(
    containers: ContainerSettings | None, scratch: Path
) -> local.SubprocessRunner | local.DockerRunner:
    if not containers:
        return local.SubprocessRunner(use_venv=False)
    run_containers_by(functools.partial(run_container, containers, scratch))
    return local.DockerRunner()


def main() -> None:
    """Runs the training pipeline as the JSON argument says; the exit code is 1 if a task fails."""
    settings = json.loads(sys.argv[1])
    scratch = Path(settings["workspace_root"]).parent
    containers = ContainerSettings(**each) if (each := settings["containers"]) else None
    with ended_with(settings["launcher"], scratch, containers):
        _run_pipeline(settings, containers, scratch)


def _run_pipeline(
    settings: dict[str, Any], containers: ContainerSettings | None, scratch: Path
) -> None:
    pipeline_root, cache_root = Path(settings["pipeline_root"]), Path(settings["cache_root"])
    keep_metrics(cache_root)
    _speak_in_lines()
    local.init(
        runner=_runner(containers, scratch),
        pipeline_root=str(pipeline_root),
        workspace_root=settings["workspace_root"],
        cache_root=str(cache_root),
        enable_caching=True,
        raise_on_error=True,
    )
    arguments = settings["arguments"]
    shape = {name: arguments.pop(name) for name in SHAPE}
    training_pipeline(**shape)(**arguments)
    remove_unused(pipeline_root, cache_root)


if __name__ == "__main__":
    main()
