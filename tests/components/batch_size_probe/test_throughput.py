"""The fastest batch in closed form, and a child process that dies of its memory."""

from pathlib import Path

import psutil
import pytest

from kfp_vision.components.batch_size_probe.throughput import (
    Measurement,
    Throughput,
    choose_batch_size,
    measure_throughput,
)
from kfp_vision.components.shared.artifacts import DatasetInfo, read_json
from kfp_vision.components.shared.recipe import Recipe, Setting, write_recipe
from kfp_vision.components.shared.training.setup import UserChoices, complete_recipe


def _row(batch_size: int, speed: float, memory_mib: float = 100.0) -> Measurement:
    return Measurement(batch_size, speed, memory_mib, 8, False)


def test_a_device_that_is_no_faster_with_larger_batches_wants_small_ones() -> None:
    flat = [_row(size, 1000.0) for size in (16, 64, 256)]
    assert next(iter(choose_batch_size(flat, noise_scale=100.0))) == 16


def test_a_device_that_scales_wants_batches_near_the_noise_scale() -> None:
    linear = [_row(size, 10.0 * size) for size in (16, 64, 256, 1024)]
    # r ~ B: time is 1 + B_noise / B, and the gain beyond the noise scale is below 5 %.
    assert next(iter(choose_batch_size(linear, noise_scale=10.0))) == 256
    assert next(iter(choose_batch_size(linear, noise_scale=1e5))) == 1024


def test_memory_needs_headroom_and_the_smallest_size_always_counts() -> None:
    rows = [_row(16, 1.0, 500.0), _row(32, 1.0, 790.0), _row(64, 1.0, 990.0)]
    assert Throughput(rows, [], "", 1000.0, "CPU").feasible() == rows[:2]
    assert Throughput(rows, [], "", 100.0, "CPU").feasible() == rows[:1]
    ended = "a batch of 128 did not fit into memory"
    assert Throughput(rows, [], ended, None, "1 GPU").feasible() == rows[:2]


@pytest.fixture
def recipe_path(digits_dir: Path, tmp_path: Path) -> Path:
    data = {"class_weights": Setting(None, "test"), "primary_metric": Setting("accuracy", "test")}
    info = read_json(DatasetInfo, digits_dir / "dataset.json")
    recipe = complete_recipe(Recipe().with_settings("data", data), info, UserChoices())
    write_recipe(recipe, tmp_path / "recipe.json")
    return tmp_path / "recipe.json"


def test_the_first_batch_that_does_not_fit_ends_the_child_and_leaves_nothing(
    digits_dir: Path, recipe_path: Path
) -> None:
    sizes = [16, 64, 2**20]
    found = measure_throughput(digits_dir, recipe_path, sizes, 64, 1e9, memory_limit_mib=1500)
    assert [row.batch_size for row in found.by_batch] == [16, 64]
    assert found.ended == f"a batch of {2**20} did not fit into memory"
    assert all(0 < row.memory_mib < 1500 for row in found.by_batch)
    assert psutil.Process().children() == []


def test_a_model_that_fits_no_batch_is_a_named_error(digits_dir: Path, recipe_path: Path) -> None:
    with pytest.raises(MemoryError, match="smallest batch must fit into memory"):
        measure_throughput(digits_dir, recipe_path, [2**21], 64, 1e9, memory_limit_mib=1500)


def test_a_child_that_runs_out_of_time_keeps_what_it_has_measured(
    digits_dir: Path, recipe_path: Path
) -> None:
    found = measure_throughput(digits_dir, recipe_path, [16, 32, 64], 16, 0.0)
    assert [row.batch_size for row in found.by_batch] == [16]
    assert found.ended == "the time for it was over after a batch of 16"
