"""The parts of kfp that it does not document and this package relies on are there."""

import inspect

from kfp import dsl, local
from kfp.local import logging_utils, task_dispatcher
from kfp.local.cache import LocalCache
from kfp.local.orchestrator import task_executor

from kfp_vision.components.data_import.component import import_dataset
from kfp_vision.components.shared.runtime.container_images import component
from kfp_vision.pipelines.local.kfp_internals import announce_tasks, keep_logging


def test_what_is_replaced_and_wrapped_exists():
    assert callable(logging_utils.local_logger_context)
    assert callable(logging_utils.indented_print)
    executed = inspect.signature(task_executor.execute_single_task).parameters
    run = inspect.signature(task_dispatcher.run_single_task_implementation).parameters
    assert "task_spec" in executed
    assert "component_name" in run


def test_a_component_has_inputs_and_a_function():
    assert "dataset_uri" in import_dataset.component_spec.inputs
    assert "dataset_uri" in inspect.signature(import_dataset.python_func).parameters


def test_a_cached_output_names_its_schema_and_its_place(tmp_path):
    entry = LocalCache._serialize_outputs({"metrics": dsl.Metrics(uri=str(tmp_path))})
    assert entry["metrics"]["schema_title"] == "system.Metrics"
    assert entry["metrics"]["uri"] == str(tmp_path)


@component
def double(number: int) -> int:
    return 2 * number


def _add_tasks(number: int) -> None:
    with dsl.ParallelFor([0, 1]):
        double(number=number)


def test_tasks_are_announced_with_their_ends_and_cached_ones_as_such(tmp_path, monkeypatch):
    for module, name in (
        (logging_utils, "local_logger_context"),
        (logging_utils, "indented_print"),
        (task_executor, "execute_single_task"),
        (task_dispatcher, "run_single_task_implementation"),
    ):
        monkeypatch.setattr(module, name, getattr(module, name))
    keep_logging()
    announced: list[tuple[str, str]] = []
    announce_tasks(lambda kind, task: announced.append((kind, task)))
    roots = {"pipeline_root": str(tmp_path / "root"), "cache_root": str(tmp_path / "cache")}
    local.init(local.SubprocessRunner(use_venv=False), enable_caching=True, **roots)
    pipeline = dsl.pipeline(name="double")(_add_tasks)
    pipeline(number=1)
    assert announced.count(("started", "double")) == announced.count(("finished", "double")) >= 1
    del announced[:]
    pipeline(number=1)
    assert announced == [("cached", "double")] * 2
