"""The record of a run, `run.json`: how it ended and how long each stage took."""

import dataclasses
import hashlib
import os
from pathlib import Path
from typing import Any, Literal

from kfp_vision.components.shared.artifacts.json_files import json_text
from kfp_vision.components.shared.runtime.atomic_files import write_atomically
from kfp_vision.components.shared.runtime.storage import is_remote, local_path, upload
from kfp_vision.pipelines.local.display import Outcome
from kfp_vision.pipelines.parameters import Parameters
from kfp_vision.pipelines.places import check_apart

__all__ = [
    "RunResult",
    "StageResult",
    "check_output",
    "local_folder",
    "write_record",
]


@dataclasses.dataclass(frozen=True)
class StageResult:
    """What happened to one stage.

    Attributes:
        name: As the DAG shows it; tasks of one loop are numbered `.2`, `.3`, ...
        outcome: `done`, `cached`, `failed`, or `stopped` with the run.
        seconds: Wall-clock time of the task, start-up and imports included.
        work_seconds: Time of the work as the stage measured it; 0 when it measures nothing. That
            of `decide-trials` is the work of all its workers.
    """

    name: str
    outcome: Outcome
    seconds: float
    work_seconds: float


@dataclasses.dataclass(frozen=True)
class RunResult:
    """`run.json` of the run's folder.

    Attributes:
        parameters: As the user set them.
        status: `running` until the launch ends, and after `kill -9`; then `passed`, `rejected` (the
            model), `failed` (a stage) or `stopped` (by a signal).
        seconds: Wall-clock time of the launch.
        orchestration_share: Part of `seconds` in which no stage did its work.
        reason: Why it did not pass, as it was printed; empty when it passed or is running.
        log: The file to read when it failed.
        previous: Where the results of an earlier run were moved, because this one failed.
    """

    kfp_vision_version: str
    started_at: str
    parameters: dict[str, Any]
    status: Literal["running", "passed", "rejected", "failed", "stopped"] = "running"
    seconds: float = 0.0
    orchestration_share: float = dataclasses.field(init=False)
    stages: list[StageResult] = dataclasses.field(default_factory=list)
    reason: str = ""
    log: str = ""
    previous: str = ""

    def __post_init__(self) -> None:
        """Sets the share of the orchestration."""
        work = sum(each.work_seconds for each in self.stages)
        # Workers that share the trials, or trials from the cache, work longer than the run takes.
        share = max(0.0, 1 - work / self.seconds) if self.seconds else 0.0
        object.__setattr__(self, "orchestration_share", share)


def local_folder(output_uri: str) -> Path:
    """Returns the folder of logs and state: the output itself, or a cache if that is remote."""
    if not is_remote(output_uri):
        return local_path(output_uri, "output_uri")
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "kfp-vision" / hashlib.sha256(output_uri.rstrip("/").encode()).hexdigest()[:16]


def check_output(parameters: Parameters) -> None:
    """Refuses an output that cannot be written, and places of the run that lie in each other.

    Raises:
        ValueError: The output is or lies in a file, or must not be written, or as of `check_apart`.
    """
    folder = local_folder(parameters.output_uri)
    for path in (folder, *folder.parents):
        if path.is_file():
            raise ValueError(f"The output must be a folder. Received: {folder}; {path} is a file.")
    nearest = next(path for path in (folder, *folder.parents) if path.is_dir())
    if not os.access(nearest, os.W_OK | os.X_OK, effective_ids=True):
        raise ValueError(
            f"The output must be a folder that this user may write. Received: {folder}; {nearest} "
            "is not, or its disk is read-only. Choose another `--output`; with one in a bucket, "
            "XDG_CACHE_HOME."
        )
    check_apart(parameters)


def write_record(result: RunResult, output_uri: str) -> None:
    """Writes `run.json`; copies it, and the logs when the run is over, to a remote output.

    Raises:
        StorageError: The remote output cannot be written.
    """
    folder = local_folder(output_uri)
    # `load` may read it at any moment, and a full disk leaves the one before.
    write_atomically(folder / "run.json", (json_text(result, indent=2) + "\n").encode())
    if is_remote(output_uri):
        for name in ("run.json",) if result.status == "running" else ("run.json", "logs"):
            upload(folder / name, f"{output_uri.rstrip('/')}/{name}")
