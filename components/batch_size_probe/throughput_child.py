"""Measurements in a process of their own, which may die of a batch that does not fit."""

import dataclasses
import functools
import multiprocessing
import resource
import time
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from typing import Any

import tensorflow as tf

from kfp_vision.components.batch_size_probe.timing import (
    FLAT,
    ThroughputRequest,
    steps_per_call,
    time_steps,
)
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json
from kfp_vision.components.shared.artifacts.probe_result import StepSpeed
from kfp_vision.components.shared.recipe.document import read_recipe
from kfp_vision.components.shared.runtime.memory import MIB, available_memory_bytes
from kfp_vision.components.shared.training.replicas import share_gpus
from kfp_vision.components.shared.training.setup import build_trainer, example_targets
from kfp_vision.components.shared.training.step_memory import held_memory_mib, peak_memory_mib
from kfp_vision.components.shared.training.trainer import Trainer

__all__ = ["Orders", "run_child"]

# A day: a pipe cannot be waited for longer than a month.
_LONGEST_S = 86_400.0
# Exit status of glibc's loader when a thread that starts finds no memory for its variables.
_NO_THREAD = 127


@dataclasses.dataclass(frozen=True)
class Orders:
    """The part of a request that the child measures.

    Attributes:
        request: The whole request.
        batch_sizes: Rising.
        other_calls: Numbers of steps per call to time at the reference batch.
        speed_before: Images per second of the batch size below the first; 0 when unknown.
    """

    request: ThroughputRequest
    batch_sizes: Sequence[int]
    other_calls: Sequence[int]
    speed_before: float


def run_child(orders: Orders, time_limit_s: float | None) -> Iterator[tuple[str, Any]]:
    """Yields the messages of a child process, each a kind and a value, and ends the process.

    The kinds are `device` (name, MiB free), `start` (what may not fit), `batch`, `again` and
    `variant` (a `StepSpeed`); the last message is `done`, `out_of_memory`, `killed` or `time_over`.

    Args:
        orders: What it measures.
        time_limit_s: Since the start of the process; None where the child times the reference
            batch, whose speed decides.

    Raises:
        RuntimeError: The child has failed for a reason other than memory.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_measure_all, args=(orders, sender))
    child.start()
    sender.close()
    started, kind = time.monotonic(), ""
    try:
        while kind not in ("done", "out_of_memory"):
            limit_s = _LONGEST_S if time_limit_s is None else min(time_limit_s, _LONGEST_S)
            if not receiver.poll(max(0.0, started + limit_s - time.monotonic())):
                yield "time_over", None
                return
            kind, value = receiver.recv()
            if kind == "batch" and value.batch_size == orders.request.reference_batch:
                time_limit_s = orders.request.time_limit_images / value.images_per_second
            yield kind, value
    except EOFError:
        child.join()
        if child.exitcode is None or (child.exitcode >= 0 and child.exitcode != _NO_THREAD):
            raise RuntimeError(
                "The throughput measurement must end with a result. Received: exit status "
                f"{child.exitcode}; the log of this stage has its error."
            ) from None
        # A signal has killed it, at an allocation, or the kernel, short of memory; or the loader.
        yield "killed", None
    finally:
        child.kill()
        child.join()


def _measure_all(orders: Orders, results: Connection) -> None:
    """Measures in the child, and sends the messages of `run_child`."""

    def say(kind: str, value: Any = None) -> None:
        results.send((kind, value))

    request = orders.request
    limit_mib = _limit_memory(request.memory_limit_mib)
    info = read_json(DatasetInfo, request.dataset_dir / "dataset.json")
    recipe = read_recipe(request.recipe_path)
    gpus = tf.config.list_physical_devices("GPU")
    # As in the pilot, whose trainer times what needs no process of its own.
    trainer, _, _ = build_trainer(recipe, info, seed=0, ema_momentum=0.0)
    held_mib = held_memory_mib()
    device = f"{len(gpus)} GPU(s)" if gpus else "CPU"
    say("device", (device, limit_mib if limit_mib is None else limit_mib - held_mib))

    example = functools.partial(example_targets, request.dataset_dir, recipe)

    def measure(trainer: Trainer, batch_size: int, num_steps: int, jit: bool) -> StepSpeed:
        speed = time_steps(trainer, example, batch_size, num_steps)
        memory_mib = _gpu_peak_mib(gpus) if gpus else peak_memory_mib() - held_mib
        return StepSpeed(batch_size, speed, memory_mib, num_steps, jit)

    reference, before = request.reference_batch, orders.speed_before
    rows = []
    try:
        for batch_size in orders.batch_sizes:
            say("start", f"a batch of {batch_size}")
            row = measure(trainer, batch_size, steps_per_call(batch_size), False)
            say("batch", row)
            rows.append(row)
            if batch_size > reference and row.images_per_second < FLAT * before:
                break
            before = row.images_per_second
        for row in rows:
            say("again", measure(trainer, row.batch_size, row.steps_per_call, False))
        for num_steps in orders.other_calls:
            say("variant", measure(trainer, reference, num_steps, False))
        # Several replicas are not compiled by XLA.
        if len(gpus) < 2:
            say("start", f"XLA at a batch of {reference}")
            compiled, _, _ = build_trainer(recipe, info, seed=0, ema_momentum=0.0, jit_compile=True)
            say("variant", measure(compiled, reference, steps_per_call(reference), True))
    except (tf.errors.ResourceExhaustedError, MemoryError):
        say("out_of_memory")
    else:
        say("done")


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
