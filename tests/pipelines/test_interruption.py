"""`kill -9` at any moment: nothing survives, nothing collides, nothing is lost."""

import json
import os
import signal
import subprocess
import time

import pytest


def descendants_of(output):
    """Returns the command lines of the processes that work for an output folder."""
    listing = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    return [line for line in listing.stdout.splitlines() if str(output) in line]


def wait_until(condition, seconds):
    deadline = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return met


def results(output):
    report = json.loads((output / "report.json").read_text())
    return report["metrics"], (output / "predictions.parquet").read_bytes()


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


def test_a_killed_launcher_takes_its_processes_along(start, tmp_path):
    output = tmp_path / "out"
    launcher = start(output)
    assert wait_until(lambda: (output / "logs" / "import-dataset.log").exists(), 60)
    os.kill(launcher.pid, signal.SIGKILL)
    assert wait_until(lambda: not descendants_of(output), 10)


@pytest.mark.slow
def test_a_killed_training_goes_on_to_the_same_result(start, tmp_path):
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    assert start(straight, "--no-search-augmentation").wait() == 0
    launcher = start(killed, "--no-search-augmentation")
    assert wait_until(lambda: training_is_under_way(killed), 200)
    os.kill(launcher.pid, signal.SIGKILL)
    second = start(killed, "--no-search-augmentation")
    assert second.wait() == 0
    stages = json.loads((killed / "run.json").read_text())["stages"]
    done = {stage["name"]: stage["outcome"] for stage in stages}
    names = list(done)
    assert [name for name, outcome in done.items() if outcome == "cached"] == names[
        : names.index("train-model")
    ]
    assert results(killed) == results(straight)


def tried(output):
    """Returns candidate and seed of every trial that was run, in the journals of the workers."""
    journals = output.glob(".kfp-vision/checkpoints/trials-*/*.jsonl")
    trials = [json.loads(line) for path in journals for line in path.read_text().splitlines()]
    return [json.dumps([trial["candidate"], trial["seed"]]) for trial in trials]


@pytest.mark.slow
def test_a_killed_search_repeats_no_trial(start, tmp_path):
    output = tmp_path / "out"
    launcher = start(output, "--trial-workers", "2")
    assert wait_until(lambda: len(tried(output)) > 2, 300)
    os.kill(launcher.pid, signal.SIGKILL)
    assert wait_until(lambda: not descendants_of(output), 10)
    before = tried(output)
    second = start(output, "--trial-workers", "2")
    assert second.wait() == 0
    trials = json.loads((output / "report.json").read_text())["search"]["trials"]
    after = tried(output)
    assert set(before) <= set(after)
    assert sorted(after) == sorted(
        json.dumps([trial["candidate"], trial["seed"]]) for trial in trials
    )
