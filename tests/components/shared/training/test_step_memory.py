"""The estimate of a training step's memory in closed form."""

import subprocess
import sys

import keras
import numpy as np
import psutil
import pytest
from keras import layers

from kfp_vision.components.shared.runtime.memory import MIB
from kfp_vision.components.shared.training.step_memory import (
    estimate_memory_mib,
    held_memory_mib,
    least_memory_mib,
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


def test_a_process_has_held_at_least_what_it_holds() -> None:
    total_mib = psutil.virtual_memory().total / MIB
    assert 0 < held_memory_mib() <= peak_memory_mib() * 1.01 < total_mib


def test_the_least_grows_by_the_outputs_of_the_layers_that_know_their_size() -> None:
    growth = least_memory_mib(_convolution(8), 20) - least_memory_mib(_convolution(8), 10)
    assert growth == pytest.approx(0.65 * 10 * (64 + 128) * 4 / MIB)
    assert 0 < least_memory_mib(_convolution(None), 1) < 1


@pytest.mark.long
def test_what_a_parent_has_held_is_no_memory_of_the_program_it_starts() -> None:
    code = (
        "from kfp_vision.components.shared.training.step_memory import peak_memory_mib\n"
        "print(peak_memory_mib())"
    )
    held = np.ones(2**27)  # 1 GiB, written.
    own = peak_memory_mib()
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert own > held.nbytes / MIB
    assert 10 < float(answer.stdout) < 1000
