"""The record of a run, `run.json`: how it ended and how long each stage took."""

import dataclasses
import hashlib
import os
from pathlib import Path
from typing import Any, Literal

from kfp_vision.components.shared.artifacts.json_files import write_json
from kfp_vision.components.shared.runtime.storage import is_remote, local_path, upload
from kfp_vision.pipelines.local.display import Outcome

__all__ = [
    "RunResult",
    "StageResult",
    "check_apart",
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


def check_output(dataset_uri: str, output_uri: str) -> None:
    """Refuses an output that is no folder, or that lies in the dataset.

    Raises:
        ValueError: The output is or lies in a file, or is the dataset's folder or below it.
    """
    folder = local_folder(output_uri)
    for path in (folder, *folder.parents):
        if path.is_file():
            raise ValueError(f"The output must be a folder. Received: {folder}; {path} is a file.")
    check_apart(dataset_uri, output_uri)


def check_apart(dataset_uri: str, output_uri: str) -> None:
    """Refuses an output that lies in the dataset.

    Raises:
        ValueError: It does.
    """
    if is_remote(dataset_uri) != is_remote(output_uri):
        return
    source, place = (
        uri.rstrip("/") if is_remote(uri) else str(local_path(uri, name))
        for name, uri in (("dataset_uri", dataset_uri), ("output_uri", output_uri))
    )
    if f"{place}/".startswith(f"{source}/"):
        raise ValueError(
            "The output must not lie in the dataset: a later run would read it as data. "
            f"Received: dataset_uri={source}, output_uri={place}. Choose a folder beside it."
        )


def write_record(result: RunResult, output_uri: str) -> None:
    """Writes `run.json`; copies it, and the logs when the run is over, to a remote output.

    Raises:
        StorageError: The remote output cannot be written.
    """
    folder = local_folder(output_uri)
    write_json(result, folder / "run.json")
    if is_remote(output_uri):
        for name in ("run.json",) if result.status == "running" else ("run.json", "logs"):
            upload(folder / name, f"{output_uri.rstrip('/')}/{name}")
