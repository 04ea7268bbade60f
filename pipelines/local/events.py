"""The lines of the worker: which task starts and ends, how far it is, why it failed.

Tasks may run at once, each in a thread of the worker: every line carries its thread and its sender.
"""

import dataclasses
import json
import re
from collections.abc import Sequence
from typing import Any, Literal, cast

from kfp_vision.components.shared.runtime.progress import NOTE_PREFIX, PREFIX

__all__ = ["Event", "Sender", "failure_reason", "mark_line", "read_event"]

# `event` is the worker itself; its lines are the kind of an `Event` and the name of the task.
Sender = Literal["event", "kfp", "task"]

_MARK = "\x01"
_MARKED = re.compile(rf"{_MARK}(\d+) (event|kfp|task) (.*)", re.DOTALL)
_COLOUR = re.compile(r"\x1b\[\d+m")
_REASON_LINES = 20


@dataclasses.dataclass(frozen=True)
class Event:
    """One line, understood.

    Attributes:
        kind: What happened; `text` is everything else.
        text: The line without colours; of a `note` the sentence.
        thread: That runs the task; 0 for what no thread has marked, a traceback for instance.
        stage: The task, for all kinds but `progress`, `note` and `text`.
        figures: What a `progress` line reports.
    """

    kind: Literal["started", "finished", "failed", "cached", "progress", "note", "text"]
    text: str
    thread: int = 0
    stage: str = ""
    figures: dict[str, Any] = dataclasses.field(default_factory=dict)


def mark_line(line: str, thread: int, sender: Sender) -> str:
    """Returns a line as `read_event` takes it."""
    return f"{_MARK}{thread} {sender} {line}"


def read_event(line: str) -> Event:
    """Returns what a line of the worker's output says."""
    line = _COLOUR.sub("", line.rstrip("\n"))
    marked = _MARKED.fullmatch(line)
    if not marked:
        return Event("text", line)
    thread, sender, text = int(marked[1]), marked[2], marked[3]
    if sender == "event":
        kind, stage = text.split(" ")
        return Event(cast(Any, kind), text, thread, stage)
    if sender == "task" and (figures := _figures(text)):
        return Event("progress", text, thread, figures=figures)
    if sender == "task" and text.startswith(NOTE_PREFIX):
        return Event("note", text.removeprefix(NOTE_PREFIX), thread)
    return Event("text", text, thread)


def _figures(text: str) -> dict[str, Any]:
    """Returns what a line of progress reports; nothing of one of others, or of half a line."""
    if not text.startswith(PREFIX):
        return {}
    try:
        figures = json.loads(text.removeprefix(PREFIX))
    except ValueError:
        return {}
    return figures if isinstance(figures, dict) and {"stage", "seconds"} <= figures.keys() else {}


def failure_reason(log: Sequence[str]) -> str:
    """Returns the message of the last exception of a log, or its last line if there is none."""
    lines = [line.rstrip() for line in log]
    traces = [index for index, line in enumerate(lines) if line.startswith("Traceback (most ")]
    if not traces:
        spoken = [line for line in lines if line]
        last = spoken[-1] if spoken else "nothing"
        return f"The process ended without a Python error (out of memory?). Its last words: {last}"
    trace = lines[traces[-1] + 1 :]
    # The frames are indented, the message is not.
    message = next((index for index, line in enumerate(trace) if not line.startswith(" ")), 0)
    return "\n".join(trace[message : message + _REASON_LINES]).strip()
