"""The end of a worker whose launcher is gone."""

import contextlib
import os
import subprocess
import sys
import time

import psutil

# A worker whose pipeline goes on: it starts tasks that write into the temporary folder.
_WORKER = """
import subprocess, sys, threading, time
from pathlib import Path
from kfp_vision.pipelines.local.worker import _end_with

launcher, scratch = int(sys.argv[1]), Path(sys.argv[2])
threading.Thread(target=_end_with, args=(launcher, scratch, None), daemon=True).start()
print("ready", flush=True)
number = 0
while True:
    number += 1
    command = f"mkdir {scratch}/{number} && touch {scratch}/{number}/file && exec sleep 60"
    subprocess.Popen(["sh", "-c", command], stderr=subprocess.DEVNULL)
    time.sleep(0.002)
"""


def test_tasks_that_start_while_the_launcher_is_gone_are_ended_and_leave_nothing(tmp_path):
    scratch = tmp_path / "kfp-vision-scratch"
    scratch.mkdir()
    worker_end, launcher_end = os.pipe()
    worker = subprocess.Popen(
        [sys.executable, "-c", _WORKER, str(worker_end), str(scratch)],
        pass_fds=(worker_end,),
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    os.close(worker_end)
    assert worker.stdout is not None
    assert worker.stdout.readline() == b"ready\n"
    time.sleep(0.5)
    os.close(launcher_end)
    worker.wait(180)
    # What was killed may take a moment to end.
    for _ in range(100):
        if not (left := _living(worker.pid)):
            break
        time.sleep(0.1)
    assert left == []
    assert not scratch.exists()


def _living(session: int) -> list[psutil.Process]:
    """Returns the processes of a session that have not ended."""
    found = []
    for each in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess):
            if _session(each.pid) == session and each.status() != psutil.STATUS_ZOMBIE:
                found.append(each)
    return found


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None
