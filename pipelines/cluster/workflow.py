"""A run as Argo keeps it: its stages and the pods that tried them, from the workflow's JSON.

The v2beta1 API names neither the pods of a task nor why one cannot start; the workflow, which the
v1beta1 API of the same server hands out, says both.

Sources: `compiler/argocompiler/` (names of nodes) and `common/util/workflow.go` (names of pods) of
Kubeflow Pipelines 2.17.0; `getPendingReason` of Argo 4.0.5 (messages of pods that wait).
"""

import base64
import dataclasses
import gzip
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Literal

__all__ = ["Attempt", "Stage", "Workflow", "read_workflow"]

_EXECUTOR, _DRIVER = ".executor", "-driver"
# A node that is retried has one child for each attempt, whose name ends in its number.
_ATTEMPT = re.compile(r"\(\d+\)")
_ENDED_BADLY = ("Failed", "Error")


@dataclasses.dataclass(frozen=True)
class Attempt:
    """One pod of a stage.

    Attributes:
        pod: Its name; its log is found by it.
        phase: As Argo calls it: `Pending`, `Running`, `Succeeded`, `Failed` or `Error`.
        message: Why it waits or has failed, in the words of Argo and Kubernetes.
        seconds: That it took; 0 until its end.
    """

    pod: str
    phase: str
    message: str
    seconds: float

    @property
    def failed(self) -> bool:
        """Whether it ended without success."""
        return self.phase in _ENDED_BADLY


@dataclasses.dataclass(frozen=True)
class Stage:
    """A task of the pipeline.

    Attributes:
        name: As the DAG shows it; tasks of one loop are numbered `.2`, `.3`, ...
        state: `waiting` before its pod runs and between two attempts; then `running`; `done`,
            `cached` or `failed` at the end. A part of the DAG, or all of it, is one while its own
            driver waits (`starting`), and where that has failed.
        attempts: Its pods, in their order; those of its driver where that has failed.
    """

    name: str
    state: Literal["starting", "waiting", "running", "done", "cached", "failed"]
    attempts: tuple[Attempt, ...] = ()

    @property
    def seconds(self) -> float:
        """The time of the last attempt."""
        return self.attempts[-1].seconds if self.attempts else 0.0


@dataclasses.dataclass(frozen=True)
class Workflow:
    """A run.

    Attributes:
        namespace: Of its pods.
        message: Why it has failed, when no stage did.
        stages: Those that have begun, in their order.
    """

    name: str = ""
    namespace: str = ""
    message: str = ""
    stages: tuple[Stage, ...] = ()


def read_workflow(manifest: str) -> Workflow:
    """Returns what the JSON of an Argo workflow says; nothing has begun when it is empty."""
    content = json.loads(manifest or "{}")
    metadata, status = content.get("metadata", {}), content.get("status", {})
    nodes = list(_nodes(status).values())
    name_pod = _pod_names(metadata)
    tries: dict[str, list[dict[str, Any]]] = {}
    retried = {_path(node): node["phase"] for node in nodes if node["type"] == "Retry"}
    for node in sorted(nodes, key=_order):
        if node["type"] == "Pod":
            tries.setdefault(_path(node), []).append(node)
    stages = []
    for path, driver in tries.items():
        if path.endswith(_DRIVER):
            task = path.removesuffix(_DRIVER)
            executor = tries.get(task + _EXECUTOR, [])
            stage = _stage(task, driver, executor, retried, name_pod)
            stages += [stage] if stage else []
    return Workflow(
        metadata.get("name", ""),
        metadata.get("namespace", ""),
        status.get("message", ""),
        tuple(_numbered(stages)),
    )


def _nodes(status: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the nodes; Argo packs those of a workflow above 1 MB."""
    packed = status.get("compressedNodes")
    nodes = json.loads(gzip.decompress(base64.b64decode(packed))) if packed else status.get("nodes")
    return nodes or {}


def _stage(
    task: str,
    driver: list[dict[str, Any]],
    executor: list[dict[str, Any]],
    retried: Mapping[str, str],
    name_pod: Any,
) -> Stage | None:
    """Returns a stage; None for a part of the DAG whose driver has done its work, or is at it."""
    name = task.rpartition(".")[2]

    def stage(state: Any, pods: list[dict[str, Any]]) -> Stage:
        return Stage(name, state, tuple(_attempt(pod, name_pod) for pod in pods))

    if executor:
        phase = retried.get(task + _EXECUTOR, executor[-1]["phase"])
        if phase in _ENDED_BADLY:
            return stage("failed", executor)
        if phase == "Succeeded":
            return stage("done", executor)
        running = executor[-1]["phase"] == "Running"
        return stage("running" if running else "waiting", executor)
    last = driver[-1]
    if retried.get(task + _DRIVER, last["phase"]) in _ENDED_BADLY:
        return stage("failed", driver)
    if last["templateName"] != "system-container-driver":
        return stage("starting", driver) if last["phase"] == "Pending" else None
    if _output(last, "condition") == "false":
        return None
    if _output(last, "cached-decision") == "true":
        return Stage(name, "cached")
    return stage("waiting", driver if last["phase"] != "Succeeded" else [])


def _path(node: Mapping[str, Any]) -> str:
    return _ATTEMPT.sub("", node["name"])


def _order(node: Mapping[str, Any]) -> tuple[str, list[int]]:
    """Returns what sorts the attempts of a node: times have whole seconds."""
    numbers = [int(each) for each in re.findall(r"\((\d+)\)", node["name"])]
    return node.get("startedAt") or "", numbers


def _attempt(node: Mapping[str, Any], name_pod: Any) -> Attempt:
    started, finished = (_time(node.get(each)) for each in ("startedAt", "finishedAt"))
    seconds = (finished - started).total_seconds() if started and finished else 0.0
    return Attempt(
        name_pod(node),
        node.get("phase", ""),
        node.get("message", ""),
        max(0.0, seconds),
    )


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _output(node: Mapping[str, Any], name: str) -> str:
    parameters = node.get("outputs", {}).get("parameters", [])
    return next((str(each.get("value", "")) for each in parameters if each["name"] == name), "")


def _pod_names(metadata: Mapping[str, Any]) -> Any:
    """Returns what names the pod of a node: `WORKFLOW-TEMPLATE-HASH`."""
    annotations = metadata.get("annotations", {})
    by_id = annotations.get("workflows.argoproj.io/pod-name-format") == "v1"

    def name_pod(node: Mapping[str, Any]) -> str:
        if by_id:
            return str(node["id"])
        number = node["id"].rpartition("-")[2]
        return f"{metadata['name']}-{node['templateName']}-{number}"

    return name_pod


def _numbered(stages: Iterable[Stage]) -> Iterable[Stage]:
    names: Counter[str] = Counter()
    for stage in stages:
        names[stage.name] += 1
        number = names[stage.name]
        name = stage.name if number == 1 else f"{stage.name}.{number}"
        yield dataclasses.replace(stage, name=name)
