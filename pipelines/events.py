"""What the text of a local KFP run says: which task starts and ends, how far it is, why it failed.

Lines of a task are indented by four spaces, lines of KFP are not.
"""

import dataclasses
import json
import re
from collections.abc import Sequence
from typing import Any, Literal

from kfp_vision.components.shared.progress import PREFIX

__all__ = ["Event", "failure_reason", "read_event"]

_COLOUR = re.compile(r"\x1b\[\d+m")
_TASK_INDENT = "    "
_EXECUTING = re.compile(r"[\d:.]+ - INFO - Executing task '(.+)'")
_ENDED = re.compile(
    r"[\d:.]+ - (?:INFO|ERROR) - Task '(.+)' finished with status (SUCCESS|FAILURE)"
)
_CACHED = re.compile(r"Task (\S+) cache hit")
_REASON_LINES = 20


@dataclasses.dataclass(frozen=True)
class Event:
    """One line, understood.

    Attributes:
        kind: What happened; `text` is everything else.
        stage: The task, for all kinds but `progress` and `text`.
        text: The line without colours and indentation.
        figures: What a `progress` line reports.
    """

    kind: Literal["started", "finished", "failed", "cached", "progress", "text"]
    text: str
    stage: str = ""
    figures: dict[str, Any] = dataclasses.field(default_factory=dict)


def read_event(line: str, in_task: bool) -> Event:
    """Returns what a line of the worker's output says, `in_task` while a task is running."""
    line = _COLOUR.sub("", line.rstrip("\n"))
    if in_task and line.startswith(_TASK_INDENT):
        text = line.removeprefix(_TASK_INDENT)
        if text.startswith(PREFIX):
            return Event("progress", text, figures=json.loads(text.removeprefix(PREFIX)))
        return Event("text", text)
    if match := _EXECUTING.match(line):
        return Event("started", line, match[1])
    if match := _CACHED.match(line):
        return Event("cached", line, match[1])
    if match := _ENDED.match(line):
        return Event("finished" if match[2] == "SUCCESS" else "failed", line, match[1])
    return Event("text", line)


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
