"""The estimate of a training step's memory in closed form, and the limits of containers."""

from pathlib import Path

import keras
import psutil
import pytest
from keras import layers

from kfp_vision.components.batch_size_probe.memory import (
    MIB,
    estimate_memory_mib,
    free_memory_mib,
    held_memory_mib,
    peak_memory_mib,
)


def _convolution(side: int | None) -> keras.Model:
    pixels = keras.Input((side, side, 1))
    return keras.Model(pixels, layers.Conv2D(2, 3, padding="same")(pixels))


def test_the_estimate_grows_by_the_outputs_of_all_layers() -> None:
    model = _convolution(8)
    growth = estimate_memory_mib(model, 20) - estimate_memory_mib(model, 10)
    # 64 pixels and 2 x 64 outputs in float32, each four times.
    assert growth == pytest.approx(10 * (64 + 128) * 4 * 4 / MIB)


def test_what_a_model_inside_a_model_puts_out_counts() -> None:
    pixels = keras.Input((8, 8, 1))
    outer = keras.Model(pixels, _convolution(8)(pixels))
    assert estimate_memory_mib(outer, 512) > estimate_memory_mib(_convolution(8), 512)


def test_a_layer_of_unknown_size_cannot_be_estimated() -> None:
    assert estimate_memory_mib(_convolution(None), 1) == float("inf")


@pytest.mark.parametrize(
    ("limit_file", "used_file"),
    [
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ],
)
def test_the_limit_of_a_container_counts(limit_file: str, used_file: str, tmp_path: Path) -> None:
    (tmp_path / limit_file).parent.mkdir(exist_ok=True)
    (tmp_path / limit_file).write_text(f"{50 * MIB}\n")
    (tmp_path / used_file).write_text(f"{20 * MIB}\n")
    assert free_memory_mib(tmp_path) == 30


def test_without_a_limit_the_machine_counts(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("max\n")
    total_mib = psutil.virtual_memory().total / MIB
    assert 30 < free_memory_mib(tmp_path) <= total_mib
    assert 0 < held_memory_mib() <= peak_memory_mib() * 1.01 < total_mib
