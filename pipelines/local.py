"""The launcher on one machine: runs the pipeline under `kfp.local` and shows what happens.

Everything that a run has done lies below its folder: `.kfp-vision/` holds artifacts, cache and
checkpoints, `logs/` one file a stage, `run.json` what took how long.
"""

import contextlib
import dataclasses
import hashlib
import os
import time
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

from rich.console import Console

from kfp_vision.components.shared.artifacts import COST_FILE, StageCost, read_json, write_json
from kfp_vision.components.shared.identity import code_digest
from kfp_vision.components.shared.recipe import fetch_recipe
from kfp_vision.components.shared.storage import is_remote, local_path
from kfp_vision.pipelines.display import Outcome, choose_display
from kfp_vision.pipelines.events import failure_reason, read_event
from kfp_vision.pipelines.fingerprints import source_versions
from kfp_vision.pipelines.model_check import check_architecture
from kfp_vision.pipelines.parameters import Parameters
from kfp_vision.pipelines.processes import hold_folder, start_worker

__all__ = ["RunResult", "StageResult", "follow", "local_folder", "run_locally"]


@dataclasses.dataclass(frozen=True)
class StageResult:
    """What happened to one stage.

    Attributes:
        name: As the DAG shows it; tasks of one loop are numbered `.2`, `.3`, ...
        outcome: `done`, `cached` or `failed`.
        seconds: Wall-clock time of the task, start-up and imports included.
        work_seconds: What the stage itself measured as its work; 0 when it measures nothing. That
            of `select-policy` is the work of all trials.
    """

    name: str
    outcome: Outcome
    seconds: float
    work_seconds: float


@dataclasses.dataclass(frozen=True)
class RunResult:
    """`run.json` of the run's folder.

    Attributes:
        seconds: Wall-clock time of the launch.
        orchestration_share: Part of `seconds` in which no stage did its work.
        reason: Why the run failed; empty when it did not.
        log: The file to read then.
        parameters: As the user set them.
    """

    kfp_vision_version: str
    started_at: str
    seconds: float
    orchestration_share: float
    stages: list[StageResult]
    reason: str
    log: str
    parameters: dict[str, Any]


def local_folder(output_uri: str) -> Path:
    """Returns where logs and state of a run lie: the output itself, or a cache if it is remote."""
    if not is_remote(output_uri):
        return local_path(output_uri, "output_uri")
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "kfp-vision" / hashlib.sha256(output_uri.encode()).hexdigest()[:16]


def run_locally(parameters: Parameters, console: Console) -> RunResult:
    """Runs the training pipeline on this machine; a run that was stopped goes on.

    Raises:
        ValueError: The output folder lies in the dataset, `recipe_uri` is not a recipe, or the
            architecture cannot be built.
        RuntimeError: Another run uses the output folder.
    """
    folder = local_folder(parameters.output_uri)
    source = Path(parameters.dataset_uri.removeprefix("file://")).absolute()
    if source.is_dir() and folder.is_relative_to(source):
        raise ValueError(
            "The output must not lie in the dataset, which it would become a part of. "
            f"Received: dataset_uri={source}, output_uri={folder}"
        )
    if parameters.recipe_uri:
        fetch_recipe(parameters.recipe_uri)
    check_architecture(parameters.architecture, parameters.image_size)
    started_at, started = datetime.now(UTC).isoformat(timespec="seconds"), time.monotonic()
    state, logs = folder / ".kfp-vision", folder / "logs"
    state.mkdir(parents=True, exist_ok=True)
    logs.mkdir(exist_ok=True)
    with hold_folder(state, console) as lock:
        settings = {
            "arguments": {
                **dataclasses.asdict(parameters),
                **source_versions(parameters),
                "checkpoint_uri": str(state / "checkpoints"),
            },
            "pipeline_root": str(state / "artifacts"),
            "cache_root": str(state / "cache" / code_digest()),
        }
        with start_worker(settings, lock) as worker:
            stages = follow(worker.stdout or (), logs, console)
            succeeded = worker.wait() == 0
    seconds = time.monotonic() - started
    stages = [dataclasses.replace(each, work_seconds=_work_seconds(state, each)) for each in stages]
    broken = [each.name for each in stages if each.outcome == "failed"]
    log = logs / f"{broken[0] if broken else 'pipeline'}.log"
    result = RunResult(
        kfp_vision_version=version("kfp-vision"),
        started_at=started_at,
        seconds=seconds,
        # Workers that share the trials, or trials from the cache, work longer than the run takes.
        orchestration_share=max(0.0, 1 - sum(each.work_seconds for each in stages) / seconds),
        stages=stages,
        reason="" if succeeded else failure_reason(log.read_text(encoding="utf-8").splitlines()),
        log="" if succeeded else str(log),
        parameters=dataclasses.asdict(parameters),
    )
    write_json(result, folder / "run.json")
    return result


@dataclasses.dataclass
class _Task:
    """A task that runs: its name, when it started, and its log."""

    name: str
    started: float
    log: IO[str]


def follow(lines: Iterable[str], logs: Path, console: Console) -> list[StageResult]:
    """Shows the run and writes the logs until the worker's output ends; returns the stages."""
    stages: list[StageResult] = []
    names: Counter[str] = Counter()
    running: dict[int, _Task] = {}

    def unique(name: str) -> str:
        """Returns the name, numbered when tasks of a loop share it."""
        names[name] += 1
        return name if names[name] == 1 else f"{name}.{names[name]}"

    def end(name: str, outcome: Outcome, seconds: float) -> None:
        stages.append(StageResult(name, outcome, seconds, 0.0))
        display.end(name, outcome, seconds)

    with choose_display(console) as display, contextlib.ExitStack() as files:

        def open_log(name: str) -> IO[str]:
            path = logs / f"{name}.log"
            return files.enter_context(path.open("w", buffering=1, encoding="utf-8"))

        general = open_log("pipeline")
        for line in lines:
            event = read_event(line)
            if event.kind == "started":
                name = unique(event.stage)
                running[event.thread] = _Task(name, time.monotonic(), open_log(name))
                display.start(name)
            elif event.kind == "cached":
                end(unique(event.stage), "cached", 0.0)
            task = running.get(event.thread)
            log = task.log if task else general
            if task and event.kind == "progress":
                display.advance(task.name, event.figures)
            elif task and event.kind in ("finished", "failed"):
                outcome: Outcome = "done" if event.kind == "finished" else "failed"
                end(task.name, outcome, time.monotonic() - task.started)
                del running[event.thread]
                log = general
            log.write(event.text + "\n")
    return stages


def _work_seconds(state: Path, stage: StageResult) -> float:
    """Returns the seconds in the newest `cost.json` of a stage, if it ran and has one."""
    if stage.outcome != "done":
        return 0.0
    costs = state.glob(f"artifacts/*/{stage.name}/*/{COST_FILE}")
    newest = max(costs, key=lambda path: path.stat().st_mtime, default=None)
    return 0.0 if newest is None else read_json(StageCost, newest).seconds
