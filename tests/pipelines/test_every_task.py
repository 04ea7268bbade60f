"""Whole runs of every task whose targets lie in the image: killed, continued, and served again."""

import json
import signal
import subprocess

import pytest
from scenes import write_mask_scenes, write_scenes
from waiting import wait_until

from kfp_vision.components.shared.tasks import TASKS

_COUNTS = {"train": 48, "val": 16, "test": 16}
_NEVER_CACHED = {"list-sources", "publish"}


def _outcomes(output):
    stages = json.loads((output / "run.json").read_text())["stages"]
    return {stage["name"]: stage["outcome"] for stage in stages}


@pytest.mark.slow
@pytest.mark.parametrize("task", [name for name, facts in TASKS.items() if facts.is_spatial])
def test_a_killed_run_goes_on_and_the_same_again_repeats_no_stage(task, command, tmp_path):
    has_masks = task == "semantic_segmentation"
    source = (write_mask_scenes if has_masks else write_scenes)(tmp_path / "scenes", _COUNTS)
    output = tmp_path / "out"
    arguments = [*command, "run", "--dataset-uri", source, "--output", output, "--task", task]
    arguments += ["--architecture", "separable", "--batch-size", 8, "--epochs", 8]
    arguments += ["--learning-rate", 0.01, "--preset", "best", "--no-search-augmentation"]

    def start():
        return subprocess.Popen(
            list(map(str, arguments)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    launcher = start()
    try:
        checkpoints = output / ".kfp-vision/checkpoints"
        assert wait_until(lambda: any(checkpoints.glob("*/state.npz")), 1200)
    finally:
        launcher.send_signal(signal.SIGKILL)
        launcher.wait()
    assert not (output / "report.json").exists()
    # A model that is rejected ends with 1; it is judged all the same.
    assert start().wait() in (0, 1)
    after_kill = _outcomes(output)
    names = list(after_kill)
    before = set(names[: names.index("train-model")]) - _NEVER_CACHED
    assert {name for name, outcome in after_kill.items() if outcome == "cached"} == before
    first = json.loads((output / "report.json").read_text())["metrics"]
    assert start().wait() in (0, 1)
    repeated = {name for name, outcome in _outcomes(output).items() if outcome != "cached"}
    assert repeated <= _NEVER_CACHED | {"check-model"}
    assert json.loads((output / "report.json").read_text())["metrics"] == first
