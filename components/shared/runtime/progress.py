"""Progress of a long stage as lines on standard output: a launcher turns them into bars.

One line: `progress {"stage", "done", "total", "unit", ...figures}`, or `note ` and a sentence that
the launcher shows as it is. On a cluster they are the log.
"""

import json
import time

__all__ = ["NOTE_PREFIX", "PREFIX", "Progress", "show_note"]

PREFIX = "progress "
NOTE_PREFIX = "note "


def show_note(sentence: str) -> None:
    """Prints a line that the launcher shows beside the progress."""
    print(NOTE_PREFIX + sentence, flush=True)


class Progress:
    """Prints at most one line a second, and always the last one."""

    def __init__(self, stage: str, total: int, unit: str, done: int = 0) -> None:
        self._stage, self._total, self._unit = stage, total, unit
        self._first, self._started, self._printed = done, time.monotonic(), 0.0

    def update(self, done: int, **figures: float | str) -> None:
        """Reports that `done` of `total` units are done; `total` 0 means not known."""
        now = time.monotonic()
        if now - self._printed < 1.0 and done != self._total:
            return
        self._printed = now
        per_second = (done - self._first) / max(now - self._started, 1e-9)
        line = {
            "stage": self._stage,
            "done": done,
            "total": self._total,
            "unit": self._unit,
            "per_second": round(per_second, 3),
            **figures,
        }
        print(PREFIX + json.dumps(line), flush=True)
