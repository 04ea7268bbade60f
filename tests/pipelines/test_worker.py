"""The end of a worker whose launcher is gone."""

import contextlib
import os
import subprocess
import sys
import time

import psutil
import pytest

# A worker whose pipeline goes on: it starts tasks that write into the temporary folder.
_WORKER = """
import subprocess, sys, time
from pathlib import Path
from kfp_vision.pipelines.local.worker import ended_with

launcher, scratch = int(sys.argv[1]), Path(sys.argv[2])
with ended_with(launcher, scratch, None):
    print("ready", flush=True)
    number = 0
    while True:
        number += 1
        command = f"mkdir {scratch}/{number} && touch {scratch}/{number}/file && exec sleep 60"
        subprocess.Popen(["sh", "-c", command], stderr=subprocess.DEVNULL)
        time.sleep(0.002)
"""

# A worker whose pipeline fails when its task is killed, as that of KFP does.
_FAILING_WORKER = """
import subprocess, sys
from pathlib import Path
from kfp_vision.pipelines.local.worker import ended_with

launcher, scratch = int(sys.argv[1]), Path(sys.argv[2])
for number in range(20_000):
    (scratch / str(number)).touch()
with ended_with(launcher, scratch, None):
    task = subprocess.Popen(["sleep", "60"])
    print("ready", flush=True)
    task.wait()
    raise RuntimeError("the task has failed")
"""


@pytest.mark.parametrize("code", [_WORKER, _FAILING_WORKER], ids=["goes on", "fails"])
def test_tasks_that_run_while_the_launcher_goes_are_ended_and_leave_nothing(tmp_path, code):
    scratch = tmp_path / "kfp-vision-scratch"
    scratch.mkdir()
    worker_end, launcher_end = os.pipe()
    worker = subprocess.Popen(
        [sys.executable, "-c", code, str(worker_end), str(scratch)],
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
