"""What the launcher understands of KFP's text, and of tracebacks."""

import io
import threading

import pytest
from rich.console import Console

from kfp_vision.components.shared.runtime.progress import Progress
from kfp_vision.pipelines.local.events import Event, failure_reason, mark_line, read_event
from kfp_vision.pipelines.local.launcher import follow
from kfp_vision.pipelines.local.run_record import StageResult
from kfp_vision.pipelines.local.worker import MarkedLines

CYAN, GREEN, END = "\x1b[96m", "\x1b[92m", "\x1b[0m"


@pytest.mark.parametrize(
    ("line", "kind", "stage"),
    [
        (f"Executing task {CYAN}'train-model'{END}", "started", "train-model"),
        (f"Task {CYAN}'publish'{END} finished with status {GREEN}SUCCESS", "finished", "publish"),
        ("Task 'publish' finished with status FAILURE", "failed", "publish"),
        ("Task train-model cache hit (key=ab12); skipping execution.", "cached", "train-model"),
        ("Streamed logs:", "text", ""),
    ],
)
def test_lines_of_kfp(line, kind, stage):
    event = read_event(mark_line(line, 7, "kfp") + "\n")
    assert (event.kind, event.stage, event.thread) == (kind, stage, 7)


def test_a_task_that_quotes_kfp_is_not_kfp():
    line = "Executing task 'train-model'"
    assert read_event(mark_line(line, 7, "task")) == Event("text", line, 7)


def test_what_nobody_has_marked_is_text():
    assert read_event("Traceback (most recent call last):\n").kind == "text"


def test_progress_arrives_as_it_was_sent(capsys):
    Progress("train", 10, "steps").update(10, loss=0.5)
    event = read_event(mark_line(capsys.readouterr().out, 7, "task"))
    assert event.kind == "progress"
    assert (event.figures["done"], event.figures["loss"]) == (10, 0.5)


def test_tasks_that_run_at_once_keep_their_lines_and_their_progress(tmp_path):
    output = io.StringIO()
    kfp, task = MarkedLines(output, "kfp"), MarkedLines(output, "task")
    in_step = threading.Barrier(2)

    def run(name: str) -> None:
        # In steps, so that the two do overlap.
        kfp.write(f"Executing task 'run-trials'\n{name} starts\n")
        for word in ("half", " a line of ", name, "\n"):
            in_step.wait()
            task.write(word)
        kfp.write("Task 'run-trials' finished with status SUCCESS\n")

    threads = [threading.Thread(target=run, args=(name,)) for name in ("one", "other")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = output.getvalue().splitlines(keepends=True)
    stages: list[StageResult] = []
    follow(lines, tmp_path, Console(file=io.StringIO()), stages)
    assert sorted((stage.name, stage.outcome) for stage in stages) == [
        ("run-trials", "done"),
        ("run-trials.2", "done"),
    ]
    logs = [(tmp_path / f"{stage.name}.log").read_text() for stage in stages]
    assert sorted(logs) == [
        f"Executing task 'run-trials'\n{name} starts\nhalf a line of {name}\n"
        for name in ("one", "other")
    ]


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
