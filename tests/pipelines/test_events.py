"""What the launcher understands of KFP's text, and of tracebacks."""

import pytest

from kfp_vision.components.shared.progress import Progress
from kfp_vision.pipelines.events import Event, failure_reason, read_event

CYAN, GREEN, END = "\x1b[96m", "\x1b[92m", "\x1b[0m"


@pytest.mark.parametrize(
    ("line", "kind", "stage"),
    [
        (
            f"12:00:00.123 - INFO - Executing task {CYAN}'train-model'{END}\n",
            "started",
            "train-model",
        ),
        (
            f"12:00:00.1 - INFO - Task {CYAN}'publish'{END} finished with status {GREEN}SUCCESS",
            "finished",
            "publish",
        ),
        ("12:00:00.123 - ERROR - Task 'publish' finished with status FAILURE", "failed", "publish"),
        ("Task train-model cache hit (key=ab12); skipping execution.", "cached", "train-model"),
        ("    12:00:00.123 - INFO - Executing task 'a stage that quotes KFP'", "text", ""),
        ("12:00:00.123 - INFO - Streamed logs:", "text", ""),
    ],
)
def test_lines_of_kfp(line, kind, stage):
    event = read_event(line, in_task=True)
    assert (event.kind, event.stage) == (kind, stage)


def test_progress_arrives_as_it_was_sent(capsys):
    Progress("train", 10, "steps").update(10, loss=0.5)
    event = read_event("    " + capsys.readouterr().out, in_task=True)
    assert event.kind == "progress"
    assert (event.figures["done"], event.figures["loss"]) == (10, 0.5)


def test_indentation_is_a_task_only_while_one_runs():
    assert read_event("    raise", in_task=False) == Event("text", "    raise")
    assert read_event("    raise", in_task=True) == Event("text", "raise")


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        (
            "Traceback (most recent call last):\n"
            '  File "a.py", line 1\n'
            "    f()\n"
            "ValueError: `seed` must be positive.\n"
            "Received: -1\n\n",
            "ValueError: `seed` must be positive.\nReceived: -1",
        ),
        (
            "Traceback (most recent call last):\n"
            '  File "a.py"\n'
            "KeyError: 1\n\n"
            "The above exception was the direct cause of the following exception:\n\n"
            "Traceback (most recent call last):\n"
            '  File "b.py"\n'
            "ValueError: two\n",
            "ValueError: two",
        ),
    ],
)
def test_the_reason_is_the_message_of_the_last_exception(log, reason):
    assert failure_reason(log.splitlines()) == reason


def test_a_process_that_was_killed_has_last_words():
    assert "step 7" in failure_reason(["step 7", "", ""])
