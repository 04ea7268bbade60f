"""The launcher on one machine: runs the pipeline under `kfp.local` and shows what happens.

The output folder holds everything: `.kfp-vision/` the artifacts, cache and checkpoints, `logs/` one
file per stage, `run.json` the record of the run.
"""

import contextlib
import dataclasses
import signal
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any, Literal, get_args

from rich.console import Console

from kfp_vision.components.data_import.component import check_source
from kfp_vision.components.data_profiling.component import check_codes
from kfp_vision.components.shared.artifacts.cost import COST_FILE, StageCost
from kfp_vision.components.shared.artifacts.json_files import read_json
from kfp_vision.components.shared.recipe.document import fetch_recipe, named_architecture
from kfp_vision.components.shared.recipe.hyperparameters import SECTION
from kfp_vision.components.shared.recipe.training_values import check_values
from kfp_vision.components.shared.report.records import read_stages
from kfp_vision.components.shared.runtime.code_version import code_digest
from kfp_vision.components.shared.runtime.disk import explain_full_disk
from kfp_vision.components.shared.runtime.storage import StorageError
from kfp_vision.pipelines.champions.checking import check_champions
from kfp_vision.pipelines.local.architecture_check import check_architecture
from kfp_vision.pipelines.local.cache import remove_unfinished
from kfp_vision.pipelines.local.container_settings import (
    ContainerSettings,
    Limits,
    container_settings,
)
from kfp_vision.pipelines.local.containers import check_engine, containers_of
from kfp_vision.pipelines.local.display import Outcome, open_display
from kfp_vision.pipelines.local.events import failure_reason, read_event
from kfp_vision.pipelines.local.processes import Stopped, hold_folder, start_worker
from kfp_vision.pipelines.local.run_record import (
    RunResult,
    StageResult,
    check_output,
    local_folder,
    write_record,
)
from kfp_vision.pipelines.parameters import Parameters
from kfp_vision.pipelines.places import check_apart
from kfp_vision.pipelines.publishing.publish import (
    REJECTED,
    foreign_results,
    set_results_aside,
)

__all__ = ["Runner", "follow", "run_locally"]

Runner = Literal["subprocess", "docker"]
# In the output: artifacts, cache and checkpoints.
_STATE = ".kfp-vision"


def run_locally(
    parameters: Parameters,
    console: Console,
    runner: Runner = "subprocess",
    limits: Limits | None = None,
) -> RunResult:
    """Runs the training pipeline on this machine; continues a stopped run.

    Args:
        parameters: Of the run.
        console: Shows the progress.
        runner: Whether each task is a process or a container.
        limits: Of containers.

    Raises:
        ValueError: Places of the run lie in each other, the output has files of others,
            `recipe_uri` is not a recipe, the architecture cannot be built, `accept_findings` holds
            no codes of findings, or the run reads what a container cannot see.
        RuntimeError: Another run uses the output folder, or there is no engine or no image.
        StorageError: There is no dataset, or a remote output cannot be written.
        Stopped: A signal has ended the run; `run.json` says so.
    """
    folder = local_folder(parameters.output_uri)
    limits = limits or Limits()
    gpu = _check_runner(runner, limits)
    _check(parameters)
    # Only now are the weights there that containers find in the home folder.
    containers = container_settings(parameters, limits, gpu) if runner == "docker" else None
    with explain_full_disk(folder):
        return _run(parameters, folder, console, containers)


def _check_runner(runner: Runner, limits: Limits) -> bool:
    """Checks that tasks can run so; returns whether containers get the GPUs."""
    if runner not in get_args(Runner):
        raise ValueError(f"`runner` must be one of {list(get_args(Runner))}. Received: {runner!r}")
    if runner == "docker":
        return check_engine()
    if limits != Limits():
        raise ValueError(
            f"`cpus` and `memory_gib` limit containers. Received: {limits} for the runner "
            f"{runner!r}. Add `--runner docker`."
        )
    return False


def _run(
    parameters: Parameters, folder: Path, console: Console, containers: ContainerSettings | None
) -> RunResult:
    started, started_at = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
    state, logs = folder / _STATE, folder / "logs"
    state.mkdir(parents=True, exist_ok=True)
    logs.mkdir(exist_ok=True)
    with hold_folder(state, console) as lock:
        result = RunResult(version("kfp-vision"), started_at, dataclasses.asdict(parameters))
        write_record(result, parameters.output_uri)
        remove_unfinished(state)
        stages: list[StageResult] = []
        try:
            with contextlib.ExitStack() as ended:
                if containers:
                    ended.enter_context(containers_of(containers.output))
                settings = _settings(parameters, state, containers)
                worker = ended.enter_context(start_worker(settings, lock))
                follow(worker.stdout or (), logs, console, stages)
                succeeded = worker.wait() == 0
            ending = _ending(succeeded, parameters.output_uri, logs, stages)
        except BaseException as error:
            ending = _interrupted(error)
            raise
        finally:
            remove_unfinished(state)
            measured = [replace(each, work_seconds=_work_seconds(state, each)) for each in stages]
            seconds = time.monotonic() - started
            result = replace(result, seconds=seconds, stages=measured, **ending)
            try:
                write_record(result, parameters.output_uri)
            except StorageError as error:
                console.print(f"run.json and logs are in {folder} only: {error}", markup=False)
    return result


def _interrupted(error: BaseException) -> dict[str, Any]:
    """Returns the end of a run that an exception has ended, as fields of `RunResult`."""
    if isinstance(error, KeyboardInterrupt):
        # Without `raise_on_signals`: in a notebook or a script.
        error = Stopped(signal.SIGINT)
    status = "stopped" if isinstance(error, Stopped) else "failed"
    return {"status": status, "reason": str(error)}


def _check(parameters: Parameters) -> None:
    """Refuses before the first stage what is certain to fail in a later one."""
    check_output(parameters)
    _check_foreign(parameters.output_uri)
    for uri in (parameters.dataset_uri, parameters.unlabeled_uri):
        check_source(uri, parameters.follow_links)
    if parameters.champion_uri:
        check_champions(parameters.champion_uri)
    check_codes(parameters.accept_findings)
    if parameters.recipe_uri:
        named = named_architecture(parameters.architecture, parameters.recipe_uri)
        check_apart(replace(parameters, architecture=named))
        settings = fetch_recipe(parameters.recipe_uri).sections.get(SECTION, {})
        check_values({name: setting.value for name, setting in settings.items()})
    check_architecture(parameters.architecture, parameters.image_size)


def _check_foreign(output_uri: str) -> None:
    """Refuses to replace files that no run has made."""
    folder = local_folder(output_uri)
    found = foreign_results(folder)
    if found and not (folder / _STATE).exists():
        raise ValueError(
            "The output must not have files of others by the names of results, which a run "
            f"replaces. Received: {folder} with {', '.join(found)}. Move them, or choose another "
            "`--output`."
        )


def _ending(
    succeeded: bool, output_uri: str, logs: Path, stages: list[StageResult]
) -> dict[str, Any]:
    """Returns how the worker ended, as fields of `RunResult`."""
    if succeeded:
        return {"status": "passed"}
    broken = [each.name for each in stages if each.outcome == "failed"]
    log = logs / f"{broken[0] if broken else 'pipeline'}.log"
    lines = log.read_text(encoding="utf-8").splitlines()
    spoken = [line for line in lines if line.startswith(REJECTED)]
    if spoken and broken == ["check-model"]:
        return {"status": "rejected", "reason": spoken[-1]}
    ending = {"status": "failed", "reason": failure_reason(lines)}
    with contextlib.suppress(OSError):  # It may be the storage that failed.
        ending["previous"] = set_results_aside(output_uri)
    return {**ending, "log": str(log)}


def _settings(
    parameters: Parameters, state: Path, containers: ContainerSettings | None
) -> dict[str, Any]:
    """Returns what `worker.py` is told."""
    return {
        "containers": containers and dataclasses.asdict(containers),
        "arguments": {
            **dataclasses.asdict(parameters),
            "checkpoint_uri": str(state / "checkpoints"),
        },
        "pipeline_root": str(state / "artifacts"),
        "cache_root": str(state / "cache" / code_digest()),
    }


@dataclasses.dataclass
class _Task:
    """A running task: its name, start time and log."""

    name: str
    started: float
    log: IO[str]


def follow(lines: Iterable[str], logs: Path, console: Console, stages: list[StageResult]) -> None:
    """Shows the run, writes the logs and adds to `stages` until the worker's output ends."""
    names: Counter[str] = Counter()
    running: dict[int, _Task] = {}

    def unique(name: str) -> str:
        """Returns the name, numbered when tasks of a loop share it."""
        names[name] += 1
        return name if names[name] == 1 else f"{name}.{names[name]}"

    def end(name: str, outcome: Outcome, seconds: float) -> None:
        stages.append(StageResult(name, outcome, seconds, 0.0))
        display.end(name, outcome, seconds)

    with open_display(console) as display, contextlib.ExitStack() as files:

        def open_log(name: str) -> IO[str]:
            path = logs / f"{name}.log"
            return files.enter_context(path.open("w", buffering=1, encoding="utf-8"))

        def stop_running() -> None:
            for task in running.values():
                end(task.name, "stopped", time.monotonic() - task.started)

        files.callback(stop_running)
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
            elif task and event.kind == "note":
                display.note(task.name, event.text)
            elif task and event.kind in ("finished", "failed"):
                outcome: Outcome = "done" if event.kind == "finished" else "failed"
                end(task.name, outcome, time.monotonic() - task.started)
                del running[event.thread]
            if not event.stage:
                log.write(event.text + "\n")


def _work_seconds(state: Path, stage: StageResult) -> float:
    """Returns the seconds of the newest `cost.json` of each artifact of a task, if it ran.

    Where several stages of the task have written an artifact, `cost.json` is of the last one. What
    another process or another task has worked, which a cost may hold, does not count.
    """
    if stage.outcome != "done":
        return 0.0
    costs = state.glob(f"artifacts/*/{stage.name}/*/{COST_FILE}")
    newest = {path.parent.name: path for path in sorted(costs, key=lambda p: p.stat().st_mtime)}
    seconds = 0.0
    for path in newest.values():
        place = f"/{stage.name}/{path.parent.name}"
        own = [each.cost for each in read_stages(path.parent) if each.uri.endswith(place)]
        seconds += sum(cost.seconds for cost in (*own[:-1], read_json(StageCost, path)))
    return min(seconds, stage.seconds)
