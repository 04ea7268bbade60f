"""Signals and `kill -9` at any moment: nothing survives, nothing collides, nothing is lost."""

import json
import os
import signal
import subprocess
import sys

import pytest
from waiting import wait_until

pytestmark = pytest.mark.long


def descendants_of(output):
    """Returns the command lines of the processes that work for an output folder."""
    listing = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    return [line for line in listing.stdout.splitlines() if str(output) in line]


def results(output):
    report = json.loads((output / "report.json").read_text())
    return report["metrics"], (output / "predictions.parquet").read_bytes()


def hear_signals():
    """Undoes what the caller of the tests ignores: SIGHUP under `nohup`, SIGINT behind `&`."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture
def start(command, digits_folder):
    """Starts a run of many epochs in a process group of its own; ends what is left of it."""
    started = []

    def run(output, *options):
        arguments = ["--dataset-uri", digits_folder, "--output", output, "--epochs", "80", *options]
        process = subprocess.Popen(
            [*command, "run", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=hear_signals,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.wait()


def training_is_under_way(output):
    checkpoints = list((output / ".kfp-vision" / "checkpoints").glob("*/state.npz"))
    return bool(checkpoints)


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """The folder for temporary files of every process that the test starts."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


def leftovers(scratch):
    # Libraries have files of their own there.
    return list(scratch.glob("kfp-vision-*"))


def test_a_killed_launcher_takes_its_processes_along(start, tmp_path, scratch):
    output = tmp_path / "out"
    launcher = start(output)
    assert wait_until(lambda: (output / "logs" / "import-dataset.log").exists(), 300)
    assert leftovers(scratch)
    os.kill(launcher.pid, signal.SIGKILL)
    assert wait_until(lambda: not descendants_of(output), 60)
    assert wait_until(lambda: not leftovers(scratch), 60)
    assert json.loads((output / "run.json").read_text())["status"] == "running"


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_launcher_that_is_asked_to_end_says_so_and_leaves_nothing(start, tmp_path, scratch, sent):
    output = tmp_path / "out"
    launcher = start(output)
    assert wait_until(lambda: (output / "logs" / "import-dataset.log").exists(), 300)
    half = output / ".kfp-vision" / "artifacts" / "run" / "import-dataset" / "1" / ".dataset-x1"
    half.mkdir(parents=True)
    launcher.send_signal(sent)
    launcher.send_signal(sent)  # The impatient second Ctrl-C.
    said, _ = launcher.communicate(timeout=60)
    assert said.rstrip().splitlines()[-1] == (
        f"kfp-vision: stopped by {sent.name}. The same command continues."
    )
    assert launcher.returncode == 128 + sent
    assert "Traceback" not in said
    assert not descendants_of(output)
    assert not leftovers(scratch)
    assert not list((output / ".kfp-vision").glob("artifacts/**/.dataset-*"))
    run = json.loads((output / "run.json").read_text())
    assert (run["status"], run["reason"]) == ("stopped", f"stopped by {sent.name}")
    assert [(each["name"], each["outcome"]) for each in run["stages"]] == [
        ("list-sources", "done"),
        ("import-dataset", "stopped"),
    ]


_INTERRUPTED_IMPORT = """
import os, signal, sys

class Interrupt:
    def find_spec(self, name, *_):
        if name == "kfp_vision.pipelines.cli":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupt())
from kfp_vision.pipelines.main import main
main()
"""


def test_a_command_that_is_stopped_while_it_imports_prints_no_traceback():
    answer = subprocess.run(
        [sys.executable, "-c", _INTERRUPTED_IMPORT],
        capture_output=True,
        text=True,
        preexec_fn=hear_signals,
    )
    assert (answer.returncode, answer.stderr) == (-signal.SIGINT, "")


_LISTENER = """
import signal, sys, time
from kfp_vision.pipelines.local.processes import Stopped, raise_on_signals
for number in map(int, sys.argv[1:]):
    signal.signal(number, signal.SIG_IGN)
raise_on_signals()
try:
    print("ready", flush=True)
    time.sleep(60)
except Stopped as stop:
    print(stop, flush=True)
    time.sleep(0.5)
    print("cleared", flush=True)
"""


@pytest.mark.parametrize("ignored", [[], [signal.SIGHUP], [signal.SIGINT, signal.SIGHUP]])
def test_what_the_caller_ignores_stays_ignored_and_clearing_is_not_disturbed(ignored):
    arguments = [sys.executable, "-c", _LISTENER, *map(str, map(int, ignored))]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        for number in ignored:
            process.send_signal(number)
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "stopped by SIGTERM\n"
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            process.send_signal(number)
        assert process.stdout.readline() == "cleared\n"


@pytest.fixture
def trained(small_model):
    """Options of a run that trains by steps, and has the time for a search on a busy machine."""
    return "--architecture", small_model, "--preset", "best"


@pytest.mark.slow
def test_a_killed_training_goes_on_to_the_same_result(start, trained, tmp_path):
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    options = (*trained, "--no-search-augmentation")
    assert start(straight, *options).wait() == 0
    launcher = start(killed, *options)
    assert wait_until(lambda: training_is_under_way(killed), 1200)
    os.kill(launcher.pid, signal.SIGKILL)
    second = start(killed, *options)
    assert second.wait() == 0
    stages = json.loads((killed / "run.json").read_text())["stages"]
    done = {stage["name"]: stage["outcome"] for stage in stages}
    names = list(done)
    # What lies behind the sources is asked anew by every run.
    before = names[names.index("list-sources") + 1 : names.index("train-model")]
    assert [name for name, outcome in done.items() if outcome == "cached"] == before
    assert results(killed) == results(straight)


def tried(output):
    """Returns candidate and seed of every trial that was run, in the journals of the workers."""
    journals = output.glob(".kfp-vision/checkpoints/trials-*/*.jsonl")
    trials = [json.loads(line) for path in journals for line in path.read_text().splitlines()]
    return [json.dumps([trial["candidate"], trial["seed"]]) for trial in trials]


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_killed_search_repeats_no_trial(start, trained, tmp_path, workers):
    output = tmp_path / "out"
    launcher = start(output, *trained, "--trial-workers", workers)
    assert wait_until(lambda: len(tried(output)) > 2, 1200)
    os.kill(launcher.pid, signal.SIGKILL)
    assert wait_until(lambda: not descendants_of(output), 60)
    before = tried(output)
    second = start(output, *trained, "--trial-workers", workers)
    assert second.wait() == 0
    trials = json.loads((output / "report.json").read_text())["search"]["trials"]
    after = tried(output)
    assert set(before) <= set(after)
    assert sorted(after) == sorted(
        json.dumps([trial["candidate"], trial["seed"]]) for trial in trials
    )
