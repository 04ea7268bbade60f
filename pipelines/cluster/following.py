"""Follows a run until it ends: the display of `run`, from what the server tells every few seconds.

A pod that cannot start is named as soon as Kubernetes knows why; so is an attempt that has failed.
"""

import dataclasses
import time
from collections.abc import Callable

import kfp
from rich.console import Console

from kfp_vision.components.shared.runtime.progress import NOTE_PREFIX, PREFIX
from kfp_vision.pipelines.cluster.connection import BackendError
from kfp_vision.pipelines.cluster.pods import Pods, is_hopeless
from kfp_vision.pipelines.cluster.reasons import attempt_reason
from kfp_vision.pipelines.cluster.runs import Run, read_run
from kfp_vision.pipelines.cluster.workflow import Stage
from kfp_vision.pipelines.local.display import Display, Outcome, open_display
from kfp_vision.pipelines.local.events import mark_line, read_event

__all__ = ["StuckError", "follow_run"]

_POLL_S = 3.0
# A log is read whole each time: this many times as long as that took, nothing is asked.
_REST = 10.0
# What a pod waits for in its first seconds is not worth a line.
_PATIENCE_S = 15.0
# A tag that does not exist is tried again by Kubernetes for ever.
_HOPELESS_S = 30.0
# By then a workflow controller has made the first pod.
_UNBEGUN_S = 45.0
# A server that is restarted, or a laptop that changes its network.
_SILENCE_S = 900.0


class StuckError(RuntimeError):
    """A stage cannot start until somebody changes something."""


@dataclasses.dataclass
class _Seen:
    """What has been shown of a stage.

    Attributes:
        waiting_since: Of the pod that waits, by this machine's clock.
        hopeless_since: Of a reason that time does not mend; 0 where there is none now.
        trouble: The kind of reason why it waits, as shown.
        notes: Lines of the log that were shown, of the attempt `pod`.
        progress: The line of the log that was shown.
        failures: Attempts whose failure was shown.
        read_again_at: When the log may be read again.
    """

    ended: bool = False
    pod: str = ""
    waiting_since: float = 0.0
    hopeless_since: float = 0.0
    trouble: str = ""
    notes: int = 0
    progress: str = ""
    failures: int = 0
    read_again_at: float = 0.0


def follow_run(
    client: kfp.Client, connect: Callable[[], kfp.Client], run_id: str, console: Console
) -> Run:
    """Shows a run until it has ended, and returns it.

    Args:
        client: Of the server.
        connect: Returns another one, for when the credentials have expired.
        run_id: Of the run.
        console: Shows the progress.

    Raises:
        ValueError: There is no such run.
        BackendError: The server has refused, or been away for a quarter of an hour.
        StuckError: A pod cannot start, for a reason that time does not mend.
    """
    reader = _Reader(client, connect, run_id, console)
    with open_display(console) as display:
        follower = _Follower(display)
        while True:
            run = reader.read()
            follower.show(run, Pods(reader.client, run_id, run.workflow.namespace))
            if run.ended:
                return run
            time.sleep(_POLL_S)


class _Reader:
    """Reads a run from a server that may be away for some time."""

    def __init__(
        self,
        client: kfp.Client,
        connect: Callable[[], kfp.Client],
        run_id: str,
        console: Console,
    ) -> None:
        self.client = client
        self._connect, self._run_id, self._console = connect, run_id, console

    def read(self) -> Run:
        """Returns the run, waiting for a server that is away; asks for new credentials once."""
        silent_since, refused = time.monotonic(), False
        told = False
        while True:
            try:
                if refused:
                    self.client = self._connect()
                return read_run(self.client, self._run_id)
            except BackendError as error:
                # 429: too many requests.
                away = error.status in (0, 429) or error.status >= 500
                if error.status == 401 and not refused:
                    refused = True
                elif not away or time.monotonic() - silent_since > _SILENCE_S:
                    raise
                elif not told:
                    self._console.print(f"{error} Asking again.", markup=False, highlight=False)
                    told = True
            time.sleep(_POLL_S)


class _Follower:
    """Shows what is new in a run."""

    def __init__(self, display: Display) -> None:
        self._display = display
        self._stages: dict[str, _Seen] = {}
        self._since, self._told = time.monotonic(), False

    def show(self, run: Run, pods: Pods) -> None:
        """Shows a run; its stages keep their lines."""
        unbegun = not (run.workflow.stages or self._stages or run.ended or self._told)
        if unbegun and time.monotonic() - self._since > _UNBEGUN_S:
            self._told = True
            self._display.note("run", "waits: no stage has begun. Is the workflow controller up?")
        for stage in run.workflow.stages:
            seen = self._stages.get(stage.name)
            if seen is None and (stage.attempts or stage.state == "cached"):
                seen = self._stages[stage.name] = _Seen()
                if stage.state not in ("starting", "cached"):
                    self._display.start(stage.name)
            if seen and not seen.ended:
                self._show_stage(stage, seen, pods, run.ended)

    def _show_stage(self, stage: Stage, seen: _Seen, pods: Pods, run_ended: bool) -> None:
        outcomes: dict[str, Outcome] = {"done": "done", "cached": "cached", "failed": "failed"}
        outcome = outcomes.get(stage.state, "stopped" if run_ended else None)
        if outcome:
            if outcome == "done":
                self._show_log(stage, seen, pods)
            if outcome == "failed" and not run_ended:
                reason = attempt_reason(pods, stage.attempts[-1])
                self._display.note(stage.name, reason)
            self._display.end(stage.name, outcome, stage.seconds)
            seen.ended = True
        elif stage.attempts:
            self._show_attempts(stage, seen, pods)

    def _show_attempts(self, stage: Stage, seen: _Seen, pods: Pods) -> None:
        last = stage.attempts[-1]
        if seen.pod != last.pod:
            seen.pod, seen.waiting_since = last.pod, time.monotonic()
            seen.hopeless_since, seen.trouble, seen.notes = 0.0, "", 0
        failures = [each for each in stage.attempts if each.failed]
        if len(failures) > seen.failures:
            seen.failures = len(failures)
            reason = attempt_reason(pods, failures[-1])
            self._display.note(
                stage.name, f"attempt {len(failures)} failed, another one follows: {reason}"
            )
        if last.phase == "Pending":
            self._show_waiting(stage, seen, pods)
        elif last.phase == "Running" and time.monotonic() >= seen.read_again_at:
            self._show_log(stage, seen, pods)

    def _show_waiting(self, stage: Stage, seen: _Seen, pods: Pods) -> None:
        now, last = time.monotonic(), stage.attempts[-1]
        patient = now - seen.waiting_since <= _PATIENCE_S
        reason = last.message if patient else pods.why_waiting(last.pod, last.message)
        hopeless = is_hopeless(reason)
        seen.hopeless_since = (seen.hopeless_since or now) if hopeless else 0.0
        if not reason or (patient and not hopeless):
            return
        # The same trouble is told in changing words: only its kind makes a new line.
        kind = "cannot start" if hopeless else reason.partition(":")[0]
        if kind != seen.trouble:
            seen.trouble = kind
            verb = "cannot start" if hopeless else "waits"
            self._display.note(stage.name, f"{verb}: {reason}")
        if hopeless and now - seen.hopeless_since > _HOPELESS_S:
            raise StuckError(f"{stage.name} cannot start: {reason}")

    def _show_log(self, stage: Stage, seen: _Seen, pods: Pods) -> None:
        """Shows the newest progress and the new notes of the running attempt."""
        asked = time.monotonic()
        lines = pods.log(stage.attempts[-1].pod)
        seen.read_again_at = time.monotonic() + _REST * (time.monotonic() - asked)
        events = [
            read_event(mark_line(line, 0, "task"))
            for line in lines
            if line.startswith((PREFIX, NOTE_PREFIX))
        ]
        notes = [event for event in events if event.kind == "note"]
        for event in notes[seen.notes :]:
            self._display.note(stage.name, event.text)
        seen.notes = max(seen.notes, len(notes))
        newest = next((each for each in reversed(events) if each.kind == "progress"), None)
        if newest and newest.text != seen.progress:
            seen.progress = newest.text
            self._display.advance(stage.name, newest.figures)
