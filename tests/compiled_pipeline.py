"""Both documents of a compiled pipeline, and the parts of each that belong to a task."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import yaml

from kfp_vision.pipelines.cluster.compiling import compile_pipeline
from kfp_vision.pipelines.cluster.profile import Profile

__all__ = ["Document", "Task", "all_tasks", "documents", "tasks"]

Document = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Task:
    """A task of a compiled pipeline: its part of each document."""

    stage: str
    container: Document
    kubernetes: Document
    retry: Document


def documents(
    folder: Path,
    profile: Profile,
    trial_workers: int = 1,
    scheduled: bool = False,
    teacher_workers: int = 1,
) -> tuple[Document, Document]:
    """Compiles the pipeline; returns it, and what Kubernetes has to know."""
    file = folder / "pipeline.yaml"
    compile_pipeline(file, profile, trial_workers, scheduled, teacher_workers)
    pipeline, platform = yaml.load_all(file.read_text(), yaml.CSafeLoader)
    return pipeline, platform["platforms"]["kubernetes"]


def tasks(pipeline: Document, platform: Document) -> list[Task]:
    """Returns all tasks; those that only hold others have no executor."""
    components = pipeline["components"]
    dags = [
        pipeline["root"]["dag"],
        *(each["dag"] for each in components.values() if "dag" in each),
    ]
    found = []
    for task in (task for dag in dags for task in dag["tasks"].values()):
        label = components[task["componentRef"]["name"]].get("executorLabel")
        if label:
            stage = re.sub(r"-\d+$", "", label.removeprefix("exec-")).replace("-", "_")
            found.append(
                Task(
                    stage,
                    pipeline["deploymentSpec"]["executors"][label]["container"],
                    platform["deploymentSpec"]["executors"][label],
                    task.get("retryPolicy", {}),
                )
            )
    return found


def all_tasks(folder: Path, profile: Profile) -> list[Task]:
    """Returns the tasks of one worker and of several, which have some of their own.

    Then those of a schedule, which lie in a condition.
    """
    shapes = ((1, False), (2, False, 2), (1, True))
    return [task for shape in shapes for task in tasks(*documents(folder, profile, *shape))]
