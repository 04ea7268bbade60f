"""A worker that runs out of memory, and one that shares its GPU."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from kfp_vision.components.shared.artifacts.augmentation_table import AugmentationTable
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json, write_json
from kfp_vision.components.shared.recipe.document import Recipe, Setting, write_recipe
from kfp_vision.components.shared.search.plan import SearchPlan
from kfp_vision.components.shared.training.replicas import share_gpus
from kfp_vision.components.shared.training.setup import UserChoices, complete_recipe
from kfp_vision.components.trial_search import trial
from kfp_vision.components.trial_search.beam import PLAIN, Trial
from kfp_vision.components.trial_search.proposing import merge_results
from kfp_vision.components.trial_search.regularisation import Regularisation
from kfp_vision.components.trial_search.selecting import select_policy
from kfp_vision.components.trial_search.working import run_trials

_MIRROR = {"transform": "horizontal_flip", "low": 1.0, "high": 1.0, "probability": 0.5}


class _Full:
    """A runner that memory is too small for, as often as it says, where there is a policy.

    Memory does run out on no machine at will: it raises what TensorFlow raises then.
    """

    failures = 0
    plain = False
    spared = 0

    def __init__(self, *_: object) -> None:
        pass

    def run(self, regularisation: Regularisation, seed: int, confirming: bool) -> tuple[float, ...]:
        if (regularisation.policy.always or _Full.plain) and _Full.failures:
            _Full.failures -= 1
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
        return 1.0, 1.1

    def spare_memory(self) -> None:
        _Full.spared += 1


@pytest.fixture
def search(
    digits_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[str, Path, Path, Path, Path]:
    """Arguments of `run_trials` for two trials."""
    monkeypatch.setattr(trial, "TrialRunner", _Full)
    data = {"class_weights": Setting(None, "test"), "primary_metric": Setting("accuracy", "test")}
    info = read_json(DatasetInfo, digits_dir / "dataset.json")
    recipe = Recipe().with_settings("data", data)
    recipe = recipe.with_settings("training", {"epochs": Setting(400, "test")})
    write_recipe(complete_recipe(recipe, info, UserChoices()), tmp_path / "recipe.json")
    groups = [{"name": "horizontal_flip", "levels": [[_MIRROR]], "always": True}]
    (tmp_path / "table").mkdir()
    write_json(AugmentationTable(groups=groups), tmp_path / "table/table.json")
    trials = [Trial("screening", each, 0) for each in (PLAIN, PLAIN.adding("horizontal_flip", 0))]
    work = json.dumps({"done": [], "trials": [each.to_json() for each in trials]})
    folders = (tmp_path / name for name in ("recipe.json", "table", "ck"))
    recipe_path, table, checkpoints = folders
    _Full.spared, _Full.plain = 0, False
    return work, digits_dir, recipe_path, table, checkpoints


def _journalled(checkpoints: Path) -> list[dict[str, Any]]:
    files = checkpoints.glob("trials-*/*.jsonl")
    return [json.loads(line) for path in files for line in path.read_text().splitlines()]


def test_a_trial_that_runs_out_of_memory_once_is_tried_again_with_less(search) -> None:
    _Full.failures = 1
    results = merge_results([run_trials(*search)])
    assert [each.error for each in results] == ["", ""]
    assert not any(each.out_of_memory for each in results)
    assert _Full.spared == 1
    assert len(_journalled(search[-1])) == 2


def test_a_trial_out_of_memory_is_named_and_not_final(search, tmp_path: Path) -> None:
    _Full.failures = 2
    answer = run_trials(*search)
    plain, mirror = merge_results([answer])
    assert plain.losses
    assert (mirror.loss, mirror.out_of_memory) == (None, True)
    assert "out of memory: OOM when allocating" in mirror.error
    assert [row["candidate"]["levels"] for row in _journalled(search[-1])] == [{}]
    _, digits, recipe, table, _ = search
    summary = select_policy(digits, recipe, table, [answer], tmp_path / "out", 0)
    assert summary.notes == [
        "1 of 2 trials ran out of memory, once more when alone in it, which says nothing of what "
        "they tried: horizontal flip."
    ]
    # The same task again, on a machine that has the memory.
    resumed = merge_results([run_trials(*search)])
    assert [each.losses for each in resumed] == [(1.0, 1.1)] * 2
    assert resumed[0] == plain
    assert len(_journalled(search[-1])) == 2


def test_a_plain_trial_out_of_memory_fails_its_task_which_can_be_repeated(search) -> None:
    _Full.failures, _Full.plain = 2, True
    with pytest.raises(MemoryError, match="must fit into memory. Received: out of memory: OOM"):
        run_trials(*search)
    assert _journalled(search[-1]) == []
    assert all(each.losses for each in merge_results([run_trials(*search)]))


def test_few_held_out_images_are_said(search, tmp_path: Path) -> None:
    from kfp_vision.components.trial_search import selecting

    plan = SearchPlan(64, 16, 0.1, 64, 100, 100, 0, 4, 0, 0)
    trials = [Trial("screening", PLAIN, 0, (1.0, 1.0))]
    assert "Only 100 images are held out, too few" in selecting._presumption(None, plan)
    short = dataclasses.replace(plan, num_held_out=600, num_scored=384, num_confirming=216)
    (note,) = selecting._notes(trials, short)
    assert "600 images are held out: 384 to choose by and 216 to confirm" in note


def test_a_worker_takes_no_more_of_a_gpu_than_it_needs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No machine of the tests has a GPU: what is set is what TensorFlow is told."""
    told: dict[str, bool] = {}
    gpus = [tf.config.PhysicalDevice(f"/physical_device:GPU:{n}", "GPU") for n in range(3)]

    def set_growth(device: tf.config.PhysicalDevice, enable: bool) -> None:
        if device == gpus[2]:
            raise RuntimeError("Physical devices cannot be modified after being initialized")
        told[device.name] = enable

    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: gpus * (kind == "GPU"))
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", set_growth)
    share_gpus()
    assert told == {gpu.name: True for gpu in gpus[:2]}
    assert f"The memory of {gpus[2].name} stays reserved" in capsys.readouterr().out


def test_devices_are_still_to_be_had_when_a_worker_says_what_it_takes() -> None:
    """TensorFlow refuses to change devices once anything has used one."""
    code = """
import tensorflow as tf
from kfp_vision.components.shared.training.replicas import share_gpus
from kfp_vision.components.trial_search import trial, working
share_gpus()
(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
assert len(tf.config.list_logical_devices("CPU")) == 2
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
