"""A process that runs out of memory, and one that shares its GPU."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from kfp_vision.components.augmentation_search.planning import plan_search
from kfp_vision.components.shared.artifacts.augmentation_table import AugmentationTable, Group
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import json_text, read_json, write_json
from kfp_vision.components.shared.artifacts.search_result import BASELINE, Trial
from kfp_vision.components.shared.recipe.document import Recipe, Setting, write_recipe
from kfp_vision.components.shared.recipe.user_choices import UserChoices
from kfp_vision.components.shared.training.replicas import share_gpus
from kfp_vision.components.shared.training.setup import complete_recipe
from kfp_vision.components.trial_search import trial
from kfp_vision.components.trial_search.recording import summarise
from kfp_vision.components.trial_search.regularisation import Regularisation
from kfp_vision.components.trial_search.running import merge_trials
from kfp_vision.components.trial_search.search import Inputs, read_search, run_slice


class _Full:
    """A runner that memory is too small for, as often as it says, where there is a policy.

    Memory does run out on no machine at will: it raises what TensorFlow raises then.
    """

    failures = 0
    baseline = False
    spared = 0

    def __init__(self, *_: object) -> None:
        pass

    def run(self, regularisation: Regularisation, seed: int, confirming: bool) -> tuple[float, ...]:
        if (regularisation.policy.always or _Full.baseline) and _Full.failures:
            _Full.failures -= 1
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
        return 1.0, 1.1

    def spare_memory(self) -> None:
        _Full.spared += 1


@pytest.fixture
def search(
    digits_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Inputs, str, Path]:
    """Arguments of `run_slice` for two trials."""
    monkeypatch.setattr(trial, "TrialRunner", _Full)
    data = {"class_weights": Setting(None, "test"), "primary_metric": Setting("accuracy", "test")}
    info = read_json(DatasetInfo, digits_dir / "dataset.json")
    recipe = Recipe().with_settings("data", data)
    recipe = recipe.with_settings("training", {"epochs": Setting(400, "test")})
    recipe = complete_recipe(recipe, info, UserChoices())
    write_recipe(recipe, tmp_path / "recipe.json")
    groups = [Group("horizontal_flip", [{"horizontal_flip": 0.5}], always=True)]
    (tmp_path / "table").mkdir()
    table = AugmentationTable(plan=plan_search(recipe, info), groups=groups)
    write_json(table, tmp_path / "table/table.json")
    candidates = (BASELINE, BASELINE.adding(("horizontal_flip", 0)))
    work = json_text([Trial("screening", each, 0) for each in candidates])
    _Full.spared, _Full.baseline = 0, False
    inputs = Inputs(digits_dir, tmp_path / "recipe.json", tmp_path / "table")
    return inputs, work, tmp_path / "ck"


def _journalled(checkpoints: Path) -> list[dict[str, Any]]:
    files = checkpoints.glob("trials-*/*.jsonl")
    return [json.loads(line) for path in files for line in path.read_text().splitlines()]


def test_a_trial_that_runs_out_of_memory_once_is_run_again_with_less(
    search: tuple[Inputs, str, Path],
) -> None:
    _Full.failures = 1
    results = merge_trials([run_slice(*search)])
    assert [each.error for each in results] == ["", ""]
    assert not any(each.out_of_memory for each in results)
    assert _Full.spared == 1
    assert len(_journalled(search[-1])) == 2


def test_a_trial_out_of_memory_is_named_and_not_final(search: tuple[Inputs, str, Path]) -> None:
    _Full.failures = 2
    baseline, flip = merge_trials([run_slice(*search)])
    assert baseline.losses
    assert (flip.loss, flip.out_of_memory) == (None, True)
    assert "out of memory: OOM when allocating" in flip.error
    assert [row["candidate"]["levels"] for row in _journalled(search[-1])] == [[]]
    found = read_search(read_json(AugmentationTable, search[0].table / "table.json"))
    plan, space = found or pytest.fail("There is a search.")
    assert summarise([baseline, flip], plan, space.techniques).notes[:1] == [
        "1 of 2 trials ran out of memory, once more when alone in it, which says nothing of what "
        "they tried: horizontal flip."
    ]
    # The same task again, on a machine that has the memory.
    resumed = merge_trials([run_slice(*search)])
    assert [each.losses for each in resumed] == [(1.0, 1.1)] * 2
    assert resumed[0] == baseline
    assert len(_journalled(search[-1])) == 2


def test_a_baseline_out_of_memory_fails_its_task_which_can_be_repeated(
    search: tuple[Inputs, str, Path],
) -> None:
    _Full.failures, _Full.baseline = 2, True
    with pytest.raises(MemoryError, match="must fit into memory. Received: out of memory: OOM"):
        run_slice(*search)
    assert _journalled(search[-1]) == []
    assert all(each.losses for each in merge_trials([run_slice(*search)]))


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
from kfp_vision.components.trial_search import running, trial
share_gpus()
(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
assert len(tf.config.list_logical_devices("CPU")) == 2
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
