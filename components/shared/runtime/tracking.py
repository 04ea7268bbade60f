"""The curves and results of a run in MLflow, where `MLFLOW_TRACKING_URI` names a server.

The server, the access to it, experiment and run come from the environment, as MLflow defines it. A
training never waits for a server and never ends because of one: calls are made in a thread, and
what a server did not take is counted and named. Messages hold no address: it may have a password.
"""

import contextlib
import functools
import os
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kfp_vision.components.shared.runtime.progress import Progress

__all__ = ["Tracker", "take_tracking_failures", "tracked"]

_EXPERIMENT = "kfp-vision"
# A run that has not ended and has this tag is continued by the same training.
_IDENTITY = "kfp_vision.training"
# Of the end of a task, for what is left to send.
_PATIENCE_S = 30.0
# Most of one call, by MLflow's limits.
_POINTS, _PARAMETERS, _CHARACTERS = 1000, 100, 500
_DEFAULTS = {
    # Nothing is sent anywhere but to the server of the user.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}
_FAILURES: list[str] = []
# `step`, `split`, `metric` and `value`.
Point = Mapping[str, Any]


@contextlib.contextmanager
def tracked(run_id: str = "") -> Iterator["Tracker | None"]:
    """Yields a tracker, or None where no server is named; at the end waits for what is left.

    Args:
        run_id: The run that an earlier task has started; that of `MLFLOW_RUN_ID` goes first.
    """
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        yield None
        return
    tracker = Tracker(run_id)
    try:
        yield tracker
    finally:
        tracker.close()


def take_tracking_failures() -> list[str]:
    """Returns a sentence for each tracker that has failed, and forgets it."""
    failures = list(_FAILURES)
    _FAILURES.clear()
    return failures


class Tracker:
    """A run in MLflow. Every method returns at once, but `flush` and `close`."""

    def __init__(self, run_id: str = "") -> None:
        """Starts the thread; nothing is sent before the first call.

        Args:
            run_id: As of `tracked`.
        """
        self.run_id = os.environ.get("MLFLOW_RUN_ID") or run_id
        self._is_ours = not os.environ.get("MLFLOW_RUN_ID")
        self._client: Any = None
        self._start: Callable[[], None] | None = None
        self._unsent: list[tuple[int, Point]] = []
        self._is_compared = True
        self._errors: Counter[str] = Counter()
        self._calls: queue.Queue[Callable[[], object] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)
        self._thread.start()

    def begin(self, name: str, identity: str, parameters: Mapping[str, Any]) -> None:
        """Starts the run, or goes on with the one that the same training has not ended.

        Args:
            name: Of the run.
            identity: What the training depends on.
            parameters: Name -> value.
        """
        self._start = lambda: self._begin(name, identity, parameters)
        self._calls.put(self._run)

    def write(self, rows: Sequence[Point], anew: bool) -> None:
        """Sends points of curves.

        Args:
            rows: Each with `step`, `split`, `metric` and `value`.
            anew: Whether they are all there are so far: the server has the first ones.
        """
        # A repair changes the steps of the rows that it is given.
        now, held = round(time.time() * 1000), [dict(row) for row in rows]
        self._calls.put(lambda: self._send(now, held, anew))

    def log(self, metrics: Mapping[str, float | None], tags: Mapping[str, str]) -> None:
        """Sends the figures that are defined, and tags."""
        rows = [(name, value) for name, value in metrics.items() if value is not None]
        self._calls.put(lambda: self._log(rows, tags))

    def upload(self, paths: Sequence[Path]) -> None:
        """Sends files."""
        for path in paths:
            self._calls.put(functools.partial(self._upload, str(path)))

    def end(self) -> None:
        """Ends the run, unless it is that of `MLFLOW_RUN_ID`."""
        if self._is_ours:
            self._calls.put(self._end)

    def flush(self) -> str:
        """Waits for what is under way, half a minute at most; returns the run, if there is one."""
        done = threading.Event()
        self._calls.put(done.set)
        with Progress("wait for the MLflow server"):
            done.wait(_PATIENCE_S)
        return self.run_id

    def close(self) -> None:
        """Waits for what is left, half a minute at most, and names what has failed."""
        self._calls.put(None)
        with Progress("wait for the MLflow server"):
            self._thread.join(_PATIENCE_S)
        if self._thread.is_alive():
            self._errors[f"no answer within {_PATIENCE_S:g} s"] += 1
        if self._errors:
            reasons = ", ".join(f"{count} x {reason}" for reason, count in self._errors.items())
            _FAILURES.append(
                f"The MLflow server did not take everything: {self._errors.total()} calls failed "
                f"({reasons}), {len(self._unsent)} points of the curves are missing there."
            )

    def _work(self) -> None:
        os.environ.update({key: os.environ.get(key, value) for key, value in _DEFAULTS.items()})
        while (call := self._calls.get()) is not None:
            try:
                call()
            except Exception as error:  # noqa: BLE001 - whatever a server does, a training goes on.
                self._errors[_reason(error)] += 1

    def _open(self) -> None:
        if self._client is None:
            from mlflow import MlflowClient

            self._client = MlflowClient()

    def _run(self) -> str:
        """Returns the run; connects, and starts it, where that has failed before."""
        self._open()
        if self._start is not None:
            self._start()
            self._start = None
        if not self.run_id:
            raise LookupError
        return self.run_id

    def _begin(self, name: str, identity: str, parameters: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        if not self.run_id:
            self.run_id = self._find_or_create(name, identity)
        held = [Param(key, str(value)[:_CHARACTERS]) for key, value in parameters.items()]
        for start in range(0, len(held), _PARAMETERS):
            self._client.log_batch(self.run_id, params=held[start : start + _PARAMETERS])

    def _find_or_create(self, name: str, identity: str) -> str:
        experiment = os.environ.get("MLFLOW_EXPERIMENT_ID", "")
        if not experiment:
            title = os.environ.get("MLFLOW_EXPERIMENT_NAME") or _EXPERIMENT
            found = self._client.get_experiment_by_name(title)
            experiment = found.experiment_id if found else self._client.create_experiment(title)
        unfinished = f"tags.`{_IDENTITY}` = '{identity}' and attributes.status = 'RUNNING'"
        for run in self._client.search_runs([experiment], unfinished, max_results=1):
            return str(run.info.run_id)
        run = self._client.create_run(experiment, run_name=name, tags={_IDENTITY: identity})
        return str(run.info.run_id)

    def _send(self, now: int, rows: Sequence[Point], anew: bool) -> None:
        """Sends points that the server does not have, those of failed calls first.

        A repaired training counts its steps anew, but its points keep their order: the first ones
        of a curve are there.
        """
        from mlflow.entities import Metric

        if anew:
            self._unsent, self._is_compared = [], False
        self._unsent += [(now, row) for row in rows]
        run_id = self._run()
        if not self._is_compared:
            self._unsent, self._is_compared = self._missing(run_id), True
        while self._unsent:
            part = self._unsent[:_POINTS]
            points = [Metric(_name(row), row["value"], at, row["step"]) for at, row in part]
            self._client.log_batch(run_id, metrics=points)
            del self._unsent[: len(part)]

    def _missing(self, run_id: str) -> list[tuple[int, Point]]:
        names = {_name(row) for _, row in self._unsent}
        there = {name: len(self._client.get_metric_history(run_id, name)) for name in names}
        missing = []
        for at, row in self._unsent:
            there[_name(row)] -= 1
            if there[_name(row)] < 0:
                missing.append((at, row))
        return missing

    def _upload(self, path: str) -> None:
        run_id = self._run()
        self._client.log_artifact(run_id, path)

    def _end(self) -> None:
        run_id = self._run()
        self._client.set_terminated(run_id)

    def _log(self, rows: Sequence[tuple[str, float]], tags: Mapping[str, str]) -> None:
        from mlflow.entities import Metric, RunTag

        run_id = self._run()
        # The same figures of a second attempt are the same points.
        points = [Metric(name, float(value), 0, 0) for name, value in rows]
        held = [RunTag(name, value) for name, value in tags.items()]
        self._client.log_batch(run_id, metrics=points, tags=held)


def _name(row: Point) -> str:
    return f"{row['split']}/{row['metric']}"


def _reason(error: Exception) -> str:
    if isinstance(error, ImportError):
        return "`mlflow` is not installed: pip install 'kfp-vision[tracking]'"
    return f"{type(error).__name__} {getattr(error, 'error_code', '')}".strip()
