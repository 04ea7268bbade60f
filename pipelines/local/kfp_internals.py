"""What this package uses of kfp that kfp does not document; pyproject.toml pins kfp for it.

Replaced here: `local_logger_context` and `indented_print` of `kfp.local.logging_utils`,
`run_docker_container` of `kfp.local.docker_task_handler`. Wrapped here: `execute_single_task` of
`kfp.local.orchestrator.task_executor`, `run_single_task_implementation` of
`kfp.local.task_dispatcher`. Used elsewhere:

    component.component_spec.inputs     names of a component's inputs: pipelines/arguments.py
    component.python_func               the function of a component: inspection.py, rebuild.py
    pipeline.pipeline_func              defines the tasks of a pipeline: cluster/compiling.py
    dsl.pipeline_context.Pipeline       the tasks that were defined: cluster/compiling.py
    CACHE/KEY.json                      outputs of a task, `schema_title` and `uri`: cache.py
    ROOT/RUN/TASK/ID/OUTPUT             artifacts on disk: cache.py, launcher.py
    standard input                      inherited by the processes of tasks: processes.py
"""

import contextlib
import threading
from collections.abc import Callable, Sequence
from typing import Any, Literal

from kfp.local import (
    docker_task_handler,
    executor_input_utils,
    logging_utils,
    status,
    task_dispatcher,
)
from kfp.local.orchestrator import task_executor

__all__ = ["TaskEvent", "announce_tasks", "keep_logging", "run_containers_by"]

TaskEvent = Literal["started", "finished", "failed", "cached"]


def keep_logging() -> None:
    """Lets kfp leave log handlers and `print` alone.

    It swaps them for the time of a task, and two tasks at once swap back the wrong ones.
    """
    logging_utils.local_logger_context = contextlib.nullcontext
    logging_utils.indented_print = contextlib.nullcontext


def run_containers_by(run: Callable[[Sequence[str], dict[str, str]], int]) -> None:
    """Lets `DockerRunner` call `run` with command and environment of a task; it returns the code.

    kfp's own function reports success for a container that is gone before it is asked for, and
    looks for images by a name that the engine may write differently.
    """

    def run_docker_container(command: Sequence[str], **others: Any) -> int:
        return run(command, others.get("environment", {}))

    docker_task_handler.run_docker_container = run_docker_container


def announce_tasks(announce: Callable[[TaskEvent, str], None]) -> None:
    """Calls `announce` with event and task name, in the thread of the task.

    A task that is taken from the cache is executed without being run.
    """
    execute, run = task_executor.execute_single_task, task_dispatcher.run_single_task_implementation
    here = threading.local()

    def announced_run(*args: Any, **kwargs: Any) -> Any:
        here.ran = True
        name = _task_name(kwargs["component_name"])
        announce("started", name)
        outputs, result = run(*args, **kwargs)
        announce("finished" if result == status.Status.SUCCESS else "failed", name)
        return outputs, result

    def announced_execute(*args: Any, **kwargs: Any) -> Any:
        here.ran = False
        outputs, result = execute(*args, **kwargs)
        if not here.ran:
            announce("cached", _task_name(kwargs["task_spec"].component_ref.name))
        return outputs, result

    task_executor.execute_single_task = announced_execute
    task_dispatcher.run_single_task_implementation = announced_run


def _task_name(component_name: str) -> str:
    return str(executor_input_utils.get_local_task_resource_name(component_name))
