"""The process that measures: it may die of a batch, and says before each one what it is at.

Writes JSON lines to standard output: `device`, then `start` and `batch` for each size, `variant`
for each other way to run the step (`start` before XLA), `out_of_memory` or `done`.
"""

import dataclasses
import json
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import tensorflow as tf

from kfp_vision.components.batch_size_probe.step_memory import held_memory_mib, peak_memory_mib
from kfp_vision.components.batch_size_probe.timing import (
    FLAT,
    steps_per_call,
    time_steps,
)
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json
from kfp_vision.components.shared.artifacts.probe_result import StepSpeed
from kfp_vision.components.shared.recipe.document import read_recipe
from kfp_vision.components.shared.runtime.memory import MIB, available_memory_bytes
from kfp_vision.components.shared.training.replicas import share_gpus
from kfp_vision.components.shared.training.setup import build_trainer
from kfp_vision.components.shared.training.trainer import Trainer


def main(request: dict[str, Any]) -> None:
    """Measures what the request of `throughput.py` asks for."""
    if request["time_limit_s"] is not None:
        _end_after(request["time_limit_s"])
    limit_mib = _limit_memory(request["memory_limit_mib"])
    info = read_json(DatasetInfo, Path(request["dataset_dir"]) / "dataset.json")
    recipe = read_recipe(Path(request["recipe_path"]))
    gpus = tf.config.list_physical_devices("GPU")
    # As in the pilot, whose trainer times what needs no process of its own.
    trainer, task, _ = build_trainer(recipe, info, seed=0, ema_momentum=0.0)
    held_mib = held_memory_mib()
    _say(
        "device",
        device=f"{len(gpus)} GPU(s)" if gpus else "CPU",
        memory_limit_mib=limit_mib if limit_mib is None else limit_mib - held_mib,
    )

    def measure(trainer: Trainer, batch_size: int, num_steps: int, jit: bool) -> StepSpeed:
        speed = time_steps(trainer, task, len(info.classes), batch_size, num_steps)
        memory_mib = _gpu_peak_mib(gpus) if gpus else peak_memory_mib() - held_mib
        return StepSpeed(batch_size, speed, memory_mib, num_steps, jit)

    reference, before = request["reference_batch"], request["speed_before"]
    try:
        for batch_size in request["batch_sizes"]:
            _say("start", what=f"a batch of {batch_size}")
            row = measure(trainer, batch_size, steps_per_call(batch_size), False)
            _say("batch", row=dataclasses.asdict(row))
            if batch_size == reference:
                _end_after(request["time_limit_images"] / row.images_per_second)
            if batch_size > reference and row.images_per_second < FLAT * before:
                break
            before = row.images_per_second
        for num_steps in request["other_calls"]:
            row = measure(trainer, reference, num_steps, False)
            _say("variant", row=dataclasses.asdict(row))
        # Several replicas are not compiled by XLA.
        if len(gpus) < 2:
            _say("start", what=f"XLA at a batch of {reference}")
            compiled, _, _ = build_trainer(recipe, info, seed=0, ema_momentum=0.0, jit_compile=True)
            row = measure(compiled, reference, steps_per_call(reference), True)
            _say("variant", row=dataclasses.asdict(row))
    except (tf.errors.ResourceExhaustedError, MemoryError):
        _say("out_of_memory")
        return
    _say("done")


def _end_after(seconds: float) -> None:
    """Lets a signal end this process so long after its creation: what it has said stays said."""
    left = seconds - (time.time() - psutil.Process().create_time())
    signal.setitimer(signal.ITIMER_REAL, max(left, 1e-3))


def _limit_memory(limit_mib: float | None) -> float | None:
    """Limits what this process may allocate, so that it fails before the machine does; MiB."""
    share_gpus()
    if tf.config.list_physical_devices("GPU"):
        return limit_mib
    available = available_memory_bytes() / MIB
    limit = min(available, limit_mib or available)
    resource.setrlimit(resource.RLIMIT_DATA, (int(limit * MIB), int(limit * MIB)))
    return limit


def _gpu_peak_mib(gpus: list[Any]) -> float:
    names = [f"GPU:{index}" for index in range(len(gpus))]
    peak: int = max(tf.config.experimental.get_memory_info(name)["peak"] for name in names)
    return peak / MIB


def _say(kind: str, **values: Any) -> None:
    print(json.dumps({"kind": kind, **values}), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
