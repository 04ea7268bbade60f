"""Faults of a cluster, injected while a run is at a stage, and what they have cost.

What only an operator can do, a command does: E2E_STOP_STORE and E2E_START_STORE,
E2E_RESTART_API_SERVER, E2E_RESTART_CONTROLLER.
"""

import dataclasses
import json
import os
import subprocess
import time
from collections.abc import Callable, Sequence

import kubernetes
from kfp_backend import Backend

from kfp_vision.components.shared.runtime.progress import PREFIX
from kfp_vision.pipelines.cluster.runs import Run
from kfp_vision.pipelines.cluster.workflow import Stage

__all__ = ["FAULTS", "Fault", "Injector", "missing_commands"]

_STORE_AWAY_S = 30
_GRACE_S = 30
# Evaluations of a training, each with a checkpoint: the loss is told in their intervals.
_CHECKPOINTS = 20


@dataclasses.dataclass(frozen=True)
class Fault:
    """A fault.

    Attributes:
        name: What happens.
        stage: The task that runs when it does.
        after: Share of the training that is done; 0 for any moment at which the task has printed
            something.
        inject: Makes it happen, to a pod.
        commands: Variables with what it needs.
    """

    name: str
    stage: str
    after: float
    inject: Callable[[Backend, str], object]
    commands: tuple[str, ...] = ()


def _delete(backend: Backend, pod: str, grace_s: int = 0) -> None:
    backend.kubernetes.delete_namespaced_pod(pod, backend.namespace, grace_period_seconds=grace_s)


def _kill_with_grace(backend: Backend, pod: str) -> None:
    _delete(backend, pod, _GRACE_S)


def _evict(backend: Backend, pod: str) -> None:
    metadata = kubernetes.client.V1ObjectMeta(name=pod, namespace=backend.namespace)
    body = kubernetes.client.V1Eviction(metadata=metadata)
    backend.kubernetes.create_namespaced_pod_eviction(pod, backend.namespace, body)


def _call(variable: str) -> None:
    subprocess.run(os.environ[variable], shell=True, check=True)


def _stop_store(backend: Backend, pod: str) -> None:
    _call("E2E_STOP_STORE")
    time.sleep(_STORE_AWAY_S)
    _call("E2E_START_STORE")


# In the order of the run; retries wait for a minute, two minutes...: one in each stage.
FAULTS = (
    Fault("evicted", "train-model", 0.15, _evict),
    Fault(
        *("store away", "train-model", 0.3, _stop_store),
        ("E2E_STOP_STORE", "E2E_START_STORE"),
    ),
    Fault(
        *("API server restarted", "train-model", 0.6),
        lambda backend, pod: _call("E2E_RESTART_API_SERVER"),
        ("E2E_RESTART_API_SERVER",),
    ),
    Fault(
        *("controller restarted", "train-model", 0.8),
        lambda backend, pod: _call("E2E_RESTART_CONTROLLER"),
        ("E2E_RESTART_CONTROLLER",),
    ),
    Fault("deleted", "evaluate-model", 0.0, _delete),
    Fault("killed with grace", "export-model", 0.0, _kill_with_grace),
)


def missing_commands(fault: Fault) -> list[str]:
    """Returns the variables that a fault needs and the environment lacks."""
    return [name for name in fault.commands if not os.environ.get(name)]


class Injector:
    """Injects the faults whose commands there are into one run, one after the other."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._pending = [fault for fault in FAULTS if not missing_commands(fault)]
        # What tasks had printed when their pods went; training only: the last line of progress.
        self._killed_at: dict[str, int] = {}
        self._pods: set[str] = set()
        self.injected: list[str] = []
        self.killing: dict[str, int] = {}

    def watch(self, run: Run) -> None:
        """Injects the next fault when its stage has come so far."""
        if not self._pending:
            return
        fault = self._pending[0]
        stage = next((each for each in run.workflow.stages if each.name == fault.stage), None)
        if stage is None or stage.state != "running" or stage.attempts[-1].pod in self._pods:
            return
        pod = stage.attempts[-1].pod
        log = self._backend.log(pod)
        if not log or (fault.after and progress(log)[0] < fault.after):
            return
        self._pending.pop(0)
        fault.inject(self._backend, pod)
        self.injected.append(fault.name)
        if not fault.commands:
            self._pods.add(pod)
            self.killing[fault.stage] = self.killing.get(fault.stage, 0) + 1
            if fault.after:
                self._killed_at[pod] = progress(log)[1]

    def lost_intervals(self, run: Run) -> float:
        """Returns what the training has computed twice, in intervals between checkpoints."""
        attempts = _stage(run, "train-model").attempts
        lost = 0.0
        for killed, next_one in zip(attempts[:-1], attempts[1:], strict=True):
            lines = _lines(self._backend.log(next_one.pod))
            if killed.pod in self._killed_at and lines:
                steps = self._killed_at[killed.pod] - lines[0]["done"]
                lost = max(lost, steps / (lines[0]["total"] / _CHECKPOINTS))
        return lost

    def repeated(self, run: Run) -> list[str]:
        """Returns the stages that ran again though they had finished or nothing had killed them."""
        return [
            stage.name
            for stage in run.workflow.stages
            if len(stage.attempts) > 1 + self.killing.get(stage.name, 0)
            or sum(each.phase == "Succeeded" for each in stage.attempts) > 1
        ]


def progress(log: Sequence[str]) -> tuple[float, int]:
    """Returns share and steps of a training that are done, as its log says."""
    lines = _lines(log)
    return (lines[-1]["done"] / lines[-1]["total"], lines[-1]["done"]) if lines else (0.0, 0)


def _lines(log: Sequence[str]) -> list[dict[str, int]]:
    lines = [json.loads(line.removeprefix(PREFIX)) for line in log if line.startswith(PREFIX)]
    return [each for each in lines if each["stage"] == "train"]


def _stage(run: Run, name: str) -> Stage:
    return next(each for each in run.workflow.stages if each.name == name)
