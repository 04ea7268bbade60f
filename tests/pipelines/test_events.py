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


@pytest.mark.parametrize("kind", ["started", "finished", "failed", "cached"])
def test_the_worker_announces_tasks(kind):
    event = read_event(mark_line(f"{kind} train-model", 7, "event") + "\n")
    assert (event.kind, event.stage, event.thread) == (kind, "train-model", 7)


@pytest.mark.parametrize("sender", ["kfp", "task"])
def test_what_others_say_is_text_without_colours(sender):
    line = "started \x1b[96m'train-model'\x1b[0m"
    assert read_event(mark_line(line, 7, sender)) == Event("text", "started 'train-model'", 7)


def test_what_nobody_has_marked_is_text():
    assert read_event("Traceback (most recent call last):\n").kind == "text"


def test_progress_arrives_as_it_was_sent(capsys):
    progress = Progress("train", 10, "steps")
    progress.update(10, loss=0.5)
    progress.show()
    event = read_event(mark_line(capsys.readouterr().out, 7, "task"))
    assert event.kind == "progress"
    assert (event.figures["done"], event.figures["loss"]) == (10, 0.5)


@pytest.mark.parametrize("line", ["progress 12 %", 'progress {"stage": "tr', "progress [1]"])
def test_what_only_begins_like_progress_is_text(line):
    assert read_event(mark_line(line, 7, "task")) == Event("text", line, 7)


def test_tasks_that_run_at_once_keep_their_lines_and_their_progress(tmp_path):
    output = io.StringIO()
    events, task = MarkedLines(output, "event"), MarkedLines(output, "task")
    in_step = threading.Barrier(2)

    def run(name: str) -> None:
        # In steps, so that the two do overlap.
        events.write("started run-trials\n")
        for word in ("half", " a line of ", name, "\n"):
            in_step.wait()
            task.write(word)
        events.write("finished run-trials\n")

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
    assert sorted(logs) == [f"half a line of {name}\n" for name in ("one", "other")]


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
