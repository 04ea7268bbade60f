"""A container of the strict backend, without a container engine.

It has an empty disk, cannot write anywhere else, and inherits no environment but `PATH`.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

# Nothing in `/proc` can be written, and nothing below a device, by root neither.
_READ_ONLY_FOLDER, _READ_ONLY_HOME = "/proc", "/dev/null"
# Where a task finds its artifacts is fixed in kfp: `/minio`. Here every task has its own.
_SITE = """
import os
from kfp.dsl.types import artifact_types
artifact_types._MINIO_LOCAL_MOUNT_PREFIX = os.environ["DISK"] + "/minio/"
"""


def run_container(
    command: Sequence[str],
    disk: Path,
    secret: Mapping[str, str],
    kill_at: Callable[[str], bool] = lambda log: False,
) -> tuple[int | Literal["killed"], str]:
    """Runs a command as a container would.

    Args:
        command: Of the compiled pipeline.
        disk: Holds the folders `tmp` and `minio`.
        secret: Environment variables.
        kill_at: Asked at every line that the container prints, with all of them; kills it.

    Returns:
        The exit code, and what was printed.
    """
    site = disk / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(_SITE)
    threads = {name: value for name, value in os.environ.items() if name.endswith("_THREADS")}
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.defpath}",
        "PYTHONPATH": str(site),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": _READ_ONLY_HOME,
        "TMPDIR": str(disk / "tmp"),
        "DISK": str(disk),
        **threads,
        **secret,
    }
    log = ""
    with subprocess.Popen(
        command,
        cwd=_READ_ONLY_FOLDER,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            for line in process.stdout or ():
                log += line
                if kill_at(log):
                    return "killed", log
            process.wait()
        finally:
            # Of a container nothing stays behind.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, log
