"""The progress of a run: live bars on a terminal, plain lines in a log file.

Both displays have the same four methods; `seconds` is the wall-clock time of a stage.
"""

import contextlib
import time
from collections.abc import Iterator
from typing import Any, Literal, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, Task, TextColumn, TimeElapsedColumn
from rich.table import Column

__all__ = ["Display", "Outcome", "format_duration", "open_display"]

Outcome = Literal["done", "cached", "failed", "stopped"]

# Often enough for a log file: of the lines of a long phase, which come every ten seconds, each.
_PLAIN_INTERVAL_S = 9.0
_NAME_WIDTH = 20
_OWN_FIGURES = ("stage", "seconds", "done", "total", "unit", "per_second")


class Display(Protocol):
    """Shows the stages of a run; the last state stays on the screen."""

    def start(self, stage: str) -> None:
        """Shows that a stage has started."""
        ...

    def advance(self, stage: str, figures: dict[str, Any]) -> None:
        """Shows how far the stage is, from a line of `shared/runtime/progress.py`."""
        ...

    def note(self, stage: str, sentence: str) -> None:
        """Shows a sentence of the stage."""
        ...

    def end(self, stage: str, outcome: Outcome, seconds: float) -> None:
        """Shows that the stage has ended."""
        ...


def format_duration(seconds: float) -> str:
    """Returns `4.2 s`, `3:07` (minutes) or `1:02:45`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    hours, rest = divmod(round(seconds), 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{left:02d}" if hours else f"{minutes}:{left:02d}"


def _describe(figures: dict[str, Any]) -> str:
    """Returns `train 640/9380 steps, 1:34 left, 92.1 steps/s, loss 0.41`, or the phase alone."""
    parts = [figures["stage"]]
    if unit := figures.get("unit"):
        done, total, rate = figures["done"], figures["total"], figures["per_second"]
        parts[0] += f" {done}{f'/{total}' if total else ''} {unit}"
        if rate and total > done:
            parts.append(f"{format_duration((total - done) / rate)} left")
        # Of slower ones, the time that is left says more.
        if rate >= 1:
            parts.append(f"{rate:,.1f} {unit}/s" if rate < 100 else f"{rate:,.0f} {unit}/s")
    parts += [
        f"{name.replace('_', ' ')} {f'{value:.4g}' if isinstance(value, float) else value}"
        for name, value in figures.items()
        if name not in _OWN_FIGURES
    ]
    return ", ".join(parts)


def _describe_end(outcome: Outcome, seconds: float) -> str:
    """Returns `done in 4.2 s`, `failed after 4.2 s`, `stopped after 4.2 s` or `from the cache`."""
    if outcome == "cached":
        return "from the cache"
    return f"{outcome} {'in' if outcome == 'done' else 'after'} {format_duration(seconds)}"


class _LiveDisplay:
    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._tasks: dict[str, Task] = {}

    def start(self, stage: str) -> None:
        added = self._bars.add_task(stage, total=None, note="")
        self._tasks[stage] = next(task for task in self._bars.tasks if task.id == added)

    def advance(self, stage: str, figures: dict[str, Any]) -> None:
        # Not by `update`: that cannot take a total away, and stops the clock at the end of a phase.
        task = self._tasks[stage]
        task.completed, task.total = figures.get("done", 0), figures.get("total") or None
        task.fields["note"] = _describe(figures)

    def note(self, stage: str, sentence: str) -> None:
        self._bars.console.print(
            f"  {stage:<{_NAME_WIDTH}} {sentence}", markup=False, highlight=False
        )

    def end(self, stage: str, outcome: Outcome, seconds: float) -> None:
        # One line per finished stage above the bars: a run has more stages than a screen has lines.
        if stage in self._tasks:
            self._bars.remove_task(self._tasks[stage].id)
        self._bars.console.print(
            f"  {stage:<{_NAME_WIDTH}} {_describe_end(outcome, seconds)}",
            style="red" if outcome == "failed" else None,
            markup=False,
            highlight=False,
        )


class _PlainDisplay:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._printed = 0.0

    def _print(self, stage: str, text: str) -> None:
        self._printed = time.monotonic()
        self._console.print(
            f"{stage:<{_NAME_WIDTH}} {text}", markup=False, highlight=False, soft_wrap=True
        )

    def start(self, stage: str) -> None:
        self._print(stage, "started")

    def advance(self, stage: str, figures: dict[str, Any]) -> None:
        if time.monotonic() - self._printed >= _PLAIN_INTERVAL_S:
            text = _describe(figures)
            if not figures.get("unit"):
                text += f", {format_duration(figures['seconds'])} so far"
            self._print(stage, text)

    def note(self, stage: str, sentence: str) -> None:
        self._print(stage, sentence)

    def end(self, stage: str, outcome: Outcome, seconds: float) -> None:
        self._print(stage, _describe_end(outcome, seconds))


@contextlib.contextmanager
def open_display(console: Console) -> Iterator[Display]:
    """Yields live bars when the console is a terminal, else plain lines."""
    if not console.is_terminal:
        yield _PlainDisplay(console)
        return
    with Progress(
        SpinnerColumn(),
        TextColumn(f"{{task.description:<{_NAME_WIDTH}}}"),
        BarColumn(bar_width=16),
        TimeElapsedColumn(),
        # It alone is cut where the terminal is narrow.
        TextColumn("{task.fields[note]}", table_column=Column(no_wrap=True, ratio=1)),
        console=console,
        expand=True,
    ) as bars:
        yield _LiveDisplay(bars)
