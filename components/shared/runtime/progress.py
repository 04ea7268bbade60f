"""What a process does, as lines on standard output: a launcher turns them into bars.

One line: `progress {"stage", "seconds"}`, with `"done", "total", "unit", "per_second"` where steps
are counted, `"images_per_second"` where these take images, and with figures; or `note ` and a
sentence that the launcher shows as it is. On a cluster they are the log.
"""

import contextlib
import json
import threading
import time
from typing import Any

__all__ = ["NOTE_PREFIX", "PREFIX", "Progress", "show_note"]

PREFIX = "progress "
NOTE_PREFIX = "note "

# A phase that is over by then prints nothing.
_QUIET_S = 2.0
# At most, and at least, so often does a longer one print its line.
_COUNTED_S, _REPEATED_S = 1.0, 10.0


def show_note(sentence: str) -> None:
    """Prints a line that the launcher shows beside the progress."""
    _print(NOTE_PREFIX + sentence)


def _print(line: str) -> None:
    # In one piece: two threads print.
    print(line + "\n", end="", flush=True)


class Progress(contextlib.ContextDecorator):
    """A phase of a process, from `with` to its end: the innermost one that is open is shown.

    Nothing in its first two seconds; then its line at once and after every ten seconds of silence,
    from a thread that lives as long as a phase is open, and what `update` counts once a second.
    """

    def __init__(
        self, stage: str, total: int = 0, unit: str = "", done: int = 0, images: int = 0
    ) -> None:
        """Prints nothing yet.

        Args:
            stage: What is being done, in a few words.
            total: Number of units; 0 where it is not known.
            unit: What is counted; empty where nothing is.
            done: Units done before.
            images: Of a unit, where their rate is shown, too.
        """
        self._stage, self.total, self._unit, self._images = stage, total, unit, images
        self._done = done
        # Units and time of the first update: what is done before it may compile.
        self._since: tuple[int, float] | None = None
        self._began = self._updated = self._shown = time.monotonic()
        self._figures: dict[str, float | str] = {}
        self.due = 0.0

    def __enter__(self) -> "Progress":
        """Opens the phase."""
        self._began = self._updated = self._shown = time.monotonic()
        self._since = None
        _HEARTBEAT.open(self)
        return self

    def __exit__(self, *error: object) -> None:
        """Closes it, however it ended."""
        _HEARTBEAT.close(self)

    def update(self, done: int, **figures: float | str) -> None:
        """Reports that `done` units are done."""
        now = time.monotonic()
        self._done, self._updated, self._figures = done, now, figures
        self._since = self._since or (done, now)
        is_next = now - self._shown >= _COUNTED_S or done == self.total
        if is_next and now - self._began >= _QUIET_S:
            self.show()

    def show(self) -> None:
        """Prints the line of the phase as it is now."""
        now = time.monotonic()
        self._shown, self.due = now, now + _REPEATED_S
        line: dict[str, Any] = {"stage": self._stage, "seconds": round(now - self._began, 1)}
        if self._unit:
            rate = self._rate()
            line |= {"done": self._done, "total": self.total, "unit": self._unit}
            line["per_second"] = round(rate, 3)
            if self._images and rate:
                line["images_per_second"] = round(self._images * rate)
        _print(PREFIX + json.dumps(line | self._figures))

    def _rate(self) -> float:
        """Returns units a second since the first update; 0 until there is another."""
        done, began = self._since or (self._done, self._updated)
        return (self._done - done) / max(self._updated - began, 1e-9)


class _Heartbeat:
    """The thread that shows the innermost phase when it is due."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._open: list[Progress] = []
        self._thread: threading.Thread | None = None

    def open(self, phase: Progress) -> None:
        with self._changed:
            self._open.append(phase)
            self._await(phase, time.monotonic() + _QUIET_S)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="progress", daemon=True)
                self._thread.start()

    def close(self, phase: Progress) -> None:
        with self._changed:
            self._open.remove(phase)
            if self._open:
                # What was shown last is over.
                outer = self._open[-1]
                self._await(outer, min(outer.due, time.monotonic() + _QUIET_S))
                return
            self._changed.notify()
            ended, self._thread = self._thread, None
        if ended:
            ended.join()

    def _await(self, phase: Progress, due: float) -> None:
        """Lets the thread show a phase at a time, or does so where that is now."""
        phase.due = due
        if due <= time.monotonic():
            phase.show()
        self._changed.notify()

    def _run(self) -> None:
        with self._changed:
            while self._open and self._thread is threading.current_thread():
                phase = self._open[-1]
                wait_s = phase.due - time.monotonic()
                if wait_s > 0:
                    self._changed.wait(wait_s)
                else:
                    phase.show()


_HEARTBEAT = _Heartbeat()
