"""What a user sees of a stage, on a terminal and in a log file."""

import io

import pytest
from rich.console import Console
from rich.progress import Progress

from kfp_vision.pipelines.local import display
from kfp_vision.pipelines.local.display import open_display

COMPILE = {"stage": "compile", "seconds": 12.3}
TRAIN = {
    "stage": "train",
    "seconds": 8.0,
    "done": 16,
    "total": 64,
    "unit": "steps",
    "per_second": 2.0,
    "loss": 0.41,
}


@pytest.fixture
def log(monkeypatch):
    """Returns a function: lines of progress -> what a log file gets."""
    monkeypatch.setattr(display, "_PLAIN_INTERVAL_S", 0.0)

    def show(*all_figures):
        written = io.StringIO()
        with open_display(Console(file=written, width=200)) as shown:
            shown.start("train-model")
            for figures in all_figures:
                shown.advance("train-model", figures)
        return written.getvalue().splitlines()[1:]

    return show


def test_what_is_counted_says_how_long_it_takes(log):
    (line,) = log(TRAIN)
    assert line.endswith("train 16/64 steps, 24.0 s left, 2.0 steps/s, loss 0.41")


def test_what_is_slow_says_what_is_left_and_no_rate(log):
    (line,) = log({**TRAIN, "per_second": 0.02})
    assert line.endswith("train 16/64 steps, 40:00 left, loss 0.41")


def test_what_is_not_counted_says_how_long_it_has_been(log):
    (line,) = log(COMPILE)
    assert line.endswith("compile, 12.3 s so far")


def test_a_narrow_terminal_cuts_the_note_alone():
    written = io.StringIO()
    with open_display(Console(file=written, force_terminal=True, width=80)) as shown:
        shown.start("train-model")
        shown.advance("train-model", TRAIN)
    last = written.getvalue().rsplit("\r", 1)[-1]
    for part in ("train-model", "━", "0:00:00", "train 16/64 steps, 24.0 s left"):
        assert part in last


def test_a_live_bar_forgets_the_phase_before():
    bars = Progress(console=Console(file=io.StringIO()))
    shown = display._LiveDisplay(bars)
    shown.start("train-model")
    [task] = bars.tasks
    shown.advance("train-model", {**TRAIN, "done": 64})
    assert task.percentage == 100
    # Its clock goes on: the stage is not over.
    assert not task.finished
    shown.advance("train-model", COMPILE)
    assert task.total is None
    assert task.fields["note"] == "compile"
