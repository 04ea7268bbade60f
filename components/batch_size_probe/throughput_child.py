"""The process that measures: it may die of a batch, and says before each one what it is at.

Writes JSON lines to standard output: `device`, then `start` and `batch` for each size, `variant`
for each other way to run the step, `out_of_memory` or `done`.
"""

import dataclasses
import json
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import tensorflow as tf

from kfp_vision.components.batch_size_probe.throughput import Measurement
from kfp_vision.components.shared.artifacts import DatasetInfo, read_json
from kfp_vision.components.shared.recipe import read_recipe
from kfp_vision.components.shared.training.setup import build_trainer
from kfp_vision.components.shared.training.trainer import Trainer

# A size is timed for this long, in at least three calls.
_TIMED_S = 0.3
# A doubled batch that is no faster than this ends the search upward: larger ones only cost more.
_FLAT = 1.02
_MIB = 2**20


def main(request: dict[str, Any]) -> None:
    """Measures what the request of `measure_throughput` asks for."""
    limit_mib = _limit_memory(request["memory_limit_mib"])
    info = read_json(DatasetInfo, Path(request["dataset_dir"]) / "dataset.json")
    recipe = read_recipe(Path(request["recipe_path"]))
    gpus = tf.config.list_physical_devices("GPU")
    _say("device", device=f"{len(gpus)} GPU(s)" if gpus else "CPU", memory_limit_mib=limit_mib)
    trainer, task, _ = build_trainer(recipe, info, seed=0)
    shape = trainer.model.input_shape[1:]

    def measure(trainer: Trainer, batch_size: int, per_call: int, jit: bool) -> Measurement:
        images = np.random.default_rng(0).integers(0, 256, (per_call, batch_size, *shape), np.uint8)
        labels = [[index % len(info.classes)] for index in range(batch_size)]
        targets = {
            name: np.stack([value] * per_call)
            for name, value in task.encode(labels, len(info.classes)).items()
        }
        rates = np.full(per_call, 1e-4, np.float32)
        trainer.run_steps(images, targets, rates)
        times: list[float] = []
        while len(times) < 3 or sum(times) < _TIMED_S:
            began = time.monotonic()
            trainer.run_steps(images, targets, rates)
            times.append(time.monotonic() - began)
        # What else the machine does can only slow a call down: the fastest says what it can do.
        speed = per_call * batch_size / min(times)
        return Measurement(batch_size, speed, _peak_mib(gpus), per_call, jit)

    variant, before = request["variant_batch"], 0.0
    try:
        for batch_size in request["batch_sizes"]:
            _say("start", batch_size=batch_size)
            row = measure(trainer, batch_size, max(1, min(8, 512 // batch_size)), False)
            _say("batch", row=dataclasses.asdict(row))
            if batch_size == variant:
                # By default the signal ends the process: what has been said stays said.
                limit = request["time_limit_images"] / row.images_per_second
                left = limit - (time.time() - psutil.Process().create_time())
                signal.setitimer(signal.ITIMER_REAL, max(left, 1e-3))
            if batch_size > variant and row.images_per_second < _FLAT * before:
                break
            before = row.images_per_second
        for per_call in (1, 32):
            row = measure(trainer, variant, per_call, False)
            _say("variant", row=dataclasses.asdict(row))
        # Several replicas are not compiled by XLA.
        if len(gpus) < 2:
            compiled, _, _ = build_trainer(recipe, info, seed=0, jit_compile=True)
            row = measure(compiled, variant, max(1, min(8, 512 // variant)), True)
            _say("variant", row=dataclasses.asdict(row))
    except (tf.errors.ResourceExhaustedError, MemoryError):
        _say("out_of_memory")
        return
    _say("done")


def _limit_memory(limit_mib: float | None) -> float | None:
    """Limits what this process may allocate, so that it fails before the machine does; MiB."""
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    if gpus:
        return limit_mib
    available = psutil.virtual_memory().available / _MIB
    limit = min(available, limit_mib or available)
    resource.setrlimit(resource.RLIMIT_DATA, (int(limit * _MIB), int(limit * _MIB)))
    return limit


def _peak_mib(gpus: list[Any]) -> float:
    if gpus:
        names = [f"GPU:{index}" for index in range(len(gpus))]
        return max(tf.config.experimental.get_memory_info(name)["peak"] for name in names) / _MIB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _say(kind: str, **values: Any) -> None:
    print(json.dumps({"kind": kind, **values}), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
