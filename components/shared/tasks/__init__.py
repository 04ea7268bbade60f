"""One file per task; everything in which tasks differ, behind the protocol of `protocol.py`."""

import importlib

from kfp_vision.components.shared.tasks.protocol import Targets, Task

__all__ = ["TASKS", "Targets", "Task", "get_task"]

# Modules by name, because the stages that only need the names do not load Keras.
TASKS = {
    "binary": "classification:BinaryClassification",
    "multiclass": "classification:MulticlassClassification",
    "multilabel": "multilabel:MultilabelClassification",
}


def get_task(name: str) -> Task:
    """Returns the task called `name`, a key of `TASKS`.

    Raises:
        ValueError: There is no such task.
    """
    if name not in TASKS:
        raise ValueError(f"`task` must be one of {sorted(TASKS)}. Received: {name!r}")
    module, kind = TASKS[name].split(":")
    task: Task = getattr(importlib.import_module(f"{__name__}.{module}"), kind)()
    return task
