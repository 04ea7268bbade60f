"""Real timings, and a child process that dies of its memory."""

import functools
import multiprocessing
import resource
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kfp_vision.components.batch_size_probe.throughput import (
    Throughput,
    measure_in_child,
    measure_throughput,
)
from kfp_vision.components.batch_size_probe.timing import ThroughputRequest, steps_per_call
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json
from kfp_vision.components.shared.artifacts.probe_result import StepSpeed
from kfp_vision.components.shared.recipe.document import Recipe, Setting, read_recipe, write_recipe
from kfp_vision.components.shared.recipe.user_choices import UserChoices
from kfp_vision.components.shared.training.setup import build_trainer, complete_recipe
from kfp_vision.components.shared.training.step_memory import estimate_memory_mib
from kfp_vision.components.shared.training.trainer import Trainer


def _row(batch_size: int, speed: float, memory_mib: float = 100.0) -> StepSpeed:
    return StepSpeed(batch_size, speed, memory_mib, 8, False)


def test_memory_needs_headroom_and_the_smallest_size_always_counts() -> None:
    rows = [_row(16, 1.0, 500.0), _row(32, 1.0, 790.0), _row(64, 1.0, 990.0)]
    assert Throughput(rows, [], "", 1000.0, "CPU").feasible() == rows[:2]
    assert Throughput(rows, [], "", 100.0, "CPU").feasible() == rows[:1]
    ended = "a batch of 128 did not fit into memory"
    assert Throughput(rows, [], ended, None, "1 GPU").feasible() == rows[:2]


def _recipe(digits_dir: Path, path: Path, architecture: str = "auto") -> Path:
    data = {"class_weights": Setting(None, "test"), "primary_metric": Setting("accuracy", "test")}
    info = read_json(DatasetInfo, digits_dir / "dataset.json")
    choices = UserChoices(architecture=architecture)
    write_recipe(complete_recipe(Recipe().with_settings("data", data), info, choices), path)
    return path


@pytest.fixture
def recipe_path(digits_dir: Path, small_model: str, tmp_path: Path) -> Path:
    return _recipe(digits_dir, tmp_path / "recipe.json", small_model)


@pytest.fixture
def trainer(digits_dir: Path, recipe_path: Path) -> Trainer:
    info = read_json(DatasetInfo, digits_dir / "dataset.json")
    return build_trainer(read_recipe(recipe_path), info, seed=0, ema_momentum=0.0)[0]


@pytest.fixture
def request_of(digits_dir: Path, recipe_path: Path) -> Callable[..., ThroughputRequest]:
    return functools.partial(ThroughputRequest, digits_dir, recipe_path)


def _children_s() -> float:
    """Returns the processor time of all children that have ended."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime


def test_what_surely_fits_is_timed_without_a_child_and_leaves_the_trainer_as_it_was(
    trainer: Trainer, request_of: Callable[..., ThroughputRequest]
) -> None:
    before, children_s = trainer.state(), _children_s()
    # So many images are trained on in seconds: too short to start a process.
    found = measure_throughput(trainer, request_of([16, 32, 64, 128], 64, 5_000))
    assert _children_s() == children_s
    sizes = [row.batch_size for row in found.by_batch]
    assert sizes == sorted(sizes)
    assert {64} <= {*sizes} <= {16, 32, 64, 128}
    assert all(row.images_per_second > 0 for row in found.by_batch)
    assert all(row.scatter is None or row.scatter >= 0 for row in found.by_batch)
    memory = [row.memory_mib for row in found.by_batch]
    assert memory == sorted(memory)
    assert found.feasible() == found.by_batch
    assert "the time for it was over" in found.ended
    after = trainer.state()
    assert all(np.array_equal(one, other) for one, other in zip(before, after, strict=True))


def test_without_time_the_reference_alone_is_timed(
    trainer: Trainer, request_of: Callable[..., ThroughputRequest]
) -> None:
    found = measure_throughput(trainer, request_of([16, 32, 64, 128], 64, 0.0))
    assert [row.batch_size for row in found.by_batch] == [64]
    assert found.variants == []
    assert found.ended == "the time for it was over after a batch of 64"


@pytest.mark.long
def test_with_time_left_a_child_compiles_with_xla(
    trainer: Trainer, request_of: Callable[..., ThroughputRequest]
) -> None:
    found = measure_throughput(trainer, request_of([16, 64], 64, 1e9))
    assert [row.batch_size for row in found.by_batch] == [16, 64]
    assert all(row.scatter is not None for row in found.by_batch)
    ways = [(row.steps_per_call, row.jit_compile) for row in found.variants]
    assert ways == [(1, False), (32, False), (steps_per_call(64), True)]
    assert found.ended == ""


@pytest.mark.long
def test_a_batch_that_may_not_fit_goes_to_a_child_which_it_ends(
    trainer: Trainer, request_of: Callable[..., ThroughputRequest]
) -> None:
    request = request_of([16, 64, 2**20], 64, 1e9, memory_limit_mib=3000)
    assert estimate_memory_mib(trainer.model, 64) < 3000 / 4
    found = measure_throughput(trainer, request)
    assert [row.batch_size for row in found.by_batch] == [16, 64]
    assert len(found.variants) == 2
    assert found.ended == f"a batch of {2**20} did not fit into memory"
    assert multiprocessing.active_children() == []


@pytest.mark.long
def test_with_little_memory_the_child_measures_everything(
    trainer: Trainer, request_of: Callable[..., ThroughputRequest]
) -> None:
    request = request_of([16, 64, 2**20], 64, 1e9, memory_limit_mib=1500)
    before, children_s = trainer.state(), _children_s()
    found = measure_throughput(trainer, request)
    assert _children_s() > children_s
    assert [row.batch_size for row in found.by_batch] == [16, 64]
    assert found.ended == f"a batch of {2**20} did not fit into memory"
    assert all(0 < row.memory_mib < 1500 for row in found.by_batch)
    assert multiprocessing.active_children() == []
    assert all(np.array_equal(a, b) for a, b in zip(before, trainer.state(), strict=True))


@pytest.mark.long
def test_a_model_that_fits_no_batch_is_a_named_error(
    trainer: Trainer, request_of: Callable[..., ThroughputRequest]
) -> None:
    request = request_of([2**21], 2**21, 1e9, memory_limit_mib=1500)
    with pytest.raises(MemoryError, match="smallest batch must fit into memory"):
        measure_throughput(trainer, request)


# In the process of the test: `test_without_time_the_reference_alone_is_timed`.
@pytest.mark.slow
def test_a_child_that_runs_out_of_time_keeps_what_it_has_measured(
    request_of: Callable[..., ThroughputRequest],
) -> None:
    found = measure_in_child(request_of([16, 32, 64], 16, 0.0))
    assert [row.batch_size for row in found.by_batch] == [16]
    assert found.ended == "the time for it was over after a batch of 16"


@pytest.mark.long
@pytest.mark.parametrize("name", ["small", pytest.param("auto", marks=pytest.mark.slow)])
def test_the_estimate_of_the_memory_is_above_what_a_process_takes(
    name: str, digits_dir: Path, small_model: str, tmp_path: Path
) -> None:
    architecture = small_model if name == "small" else name
    path = _recipe(digits_dir, tmp_path / "recipe.json", architecture)
    info = read_json(DatasetInfo, digits_dir / "dataset.json")
    model = build_trainer(read_recipe(path), info, seed=0)[0].model
    # In a process of its own: memory that other tests have freed would hide the growth.
    found = measure_in_child(ThroughputRequest(digits_dir, path, [64, 2048], 64, 1e9))
    assert [row.batch_size for row in found.by_batch] == [64, 2048]
    small, large = found.by_batch
    for row in found.by_batch:
        assert 0 < row.memory_mib < estimate_memory_mib(model, row.batch_size)
    # Also without what the program takes, which does not depend on the batch.
    estimated = [estimate_memory_mib(model, row.batch_size) for row in found.by_batch]
    assert large.memory_mib - small.memory_mib < estimated[1] - estimated[0]
