"""What a process says of its phases."""

import json
import threading
from types import SimpleNamespace

import pytest
from waiting import wait_until

from kfp_vision.components.shared.runtime import progress
from kfp_vision.components.shared.runtime.progress import PREFIX, Progress


@pytest.fixture
def lines(capsys):
    """Returns a function: the progress lines so far, as objects."""
    heard = []

    def read():
        heard.extend(capsys.readouterr().out.splitlines())
        return [json.loads(line.removeprefix(PREFIX)) for line in heard]

    return read


@pytest.fixture
def talkative(monkeypatch):
    """No phase is too short to be named."""
    monkeypatch.setattr(progress, "_QUIET_S", 0.0)


def _speakers():
    return [thread for thread in threading.enumerate() if thread.name == "progress"]


def test_a_short_phase_is_not_named(lines):
    with Progress("train", 2, "steps") as phase:
        phase.update(1)
        phase.update(2)
    assert lines() == []


@pytest.mark.usefixtures("talkative")
def test_a_phase_without_counts_names_itself(lines):
    with Progress("compile"):
        (line,) = lines()
    assert set(line) == {"stage", "seconds"}
    assert line["stage"] == "compile"


@pytest.mark.usefixtures("talkative")
def test_counts_start_where_an_earlier_process_has_ended(lines):
    with Progress("train", 10, "steps", done=4) as phase:
        phase.update(6)
        phase.update(10, loss=0.5)
    first, last = lines()
    assert (first["done"], first["total"], first["per_second"]) == (4, 10, 0)
    assert (last["done"], last["loss"]) == (10, 0.5)
    assert last["per_second"] > 0


@pytest.mark.usefixtures("talkative")
def test_a_phase_of_which_nothing_is_heard_repeats_itself(lines, monkeypatch):
    monkeypatch.setattr(progress, "_REPEATED_S", 0.01)
    with Progress("compile"):
        assert wait_until(lambda: len(lines()) >= 3, 30)
    assert {line["stage"] for line in lines()} == {"compile"}


def test_a_phase_is_named_by_the_thread_where_it_takes_long(lines, monkeypatch):
    monkeypatch.setattr(progress, "_QUIET_S", 0.01)
    with Progress("compile"):
        assert wait_until(lines, 30)


@pytest.mark.usefixtures("talkative")
def test_the_innermost_phase_is_shown_and_then_the_one_around_it(lines):
    with Progress("evaluate"), Progress("intervals"):
        pass
    assert [line["stage"] for line in lines()] == ["evaluate", "intervals", "evaluate"]


@pytest.mark.usefixtures("talkative")
def test_the_thread_ends_with_the_outermost_phase_whatever_ends_it(lines):
    @Progress("evaluate")
    def evaluate():
        with Progress("intervals"):
            assert len(_speakers()) == 1
            raise ValueError("no test split")

    for _ in range(2):
        with pytest.raises(ValueError, match="no test split"):
            evaluate()
        assert not _speakers()
    assert len(lines()) == 6


@pytest.mark.usefixtures("talkative")
def test_threads_may_have_phases_of_their_own(lines):
    inside = threading.Barrier(2)

    def work(name):
        with Progress(name):
            inside.wait()

    threads = [threading.Thread(target=work, args=(name,)) for name in ("one", "other")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {line["stage"] for line in lines()} == {"one", "other"}
    assert not _speakers()


@pytest.mark.usefixtures("talkative")
def test_the_rate_begins_with_the_first_update_and_that_of_images_is_the_same(lines, monkeypatch):
    clock = {"now": 100.0}
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: clock["now"]))
    with Progress("train", 49, "steps", done=4, images=64) as phase:
        for now, done in ((212.0, 6), (214.0, 10), (220.0, 18)):
            clock["now"] = now
            phase.update(done)
    shown = {line["done"]: line for line in lines()}
    # Until the first update the network was compiled.
    assert shown[6]["per_second"] == 0
    assert "images_per_second" not in shown[6]
    assert (shown[10]["per_second"], shown[10]["images_per_second"]) == (2.0, 128)
    assert (shown[18]["per_second"], shown[18]["images_per_second"]) == (1.5, 96)
