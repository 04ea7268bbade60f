"""Images per second and memory of the real training step, over powers of two.

What surely fits is timed in this process. A batch that may not fit, and XLA, whose compilation
cannot be interrupted, get a process of their own (`throughput_child.py`): it may die of them, and
nothing of it stays behind.
"""

import dataclasses
import functools
import math
import time
from collections.abc import Sequence

from kfp_vision.components.batch_size_probe.throughput_child import Orders, run_child
from kfp_vision.components.batch_size_probe.timing import (
    OTHER_CALLS,
    ThroughputRequest,
    Timer,
    look_again,
    steps_per_call,
)
from kfp_vision.components.shared.artifacts.probe_result import StepSpeed
from kfp_vision.components.shared.recipe.document import read_recipe
from kfp_vision.components.shared.runtime.memory import MIB, available_memory_bytes
from kfp_vision.components.shared.training.setup import example_targets
from kfp_vision.components.shared.training.step_memory import estimate_memory_mib
from kfp_vision.components.shared.training.trainer import Trainer

__all__ = [
    "Throughput",
    "measure_in_child",
    "measure_throughput",
]

# Share of the memory that a batch may use: fragmentation and evaluation need the rest.
_HEADROOM = 0.8
# A batch is safe when a generous estimate needs no more than this share of the free memory.
_SAFE_SHARE = 0.25
# Importing TensorFlow and compiling the step.
_CHILD_START_S = 20.0


@dataclasses.dataclass(frozen=True)
class Throughput:
    """What was measured, and why it ended.

    Attributes:
        by_batch: One measurement per batch size, rising.
        variants: Of the reference batch: other numbers of steps per call, and XLA.
        ended: Empty when everything asked for was measured, else what stopped it.
        memory_limit_mib: What was free for it; None on a GPU, which does not say what it has.
        device: `CPU` or the number of GPUs.
    """

    by_batch: list[StepSpeed]
    variants: list[StepSpeed]
    ended: str
    memory_limit_mib: float | None
    device: str

    def feasible(self) -> list[StepSpeed]:
        """Returns the measurements that leave headroom; the smallest one always counts."""
        rows = self.by_batch
        if self.memory_limit_mib is not None:
            limit = _HEADROOM * self.memory_limit_mib
            rows = [row for row in rows if row.memory_mib <= limit]
        elif "memory" in self.ended:
            # The last size that fitted may have fitted barely.
            rows = rows[:-1]
        return rows or self.by_batch[:1]


def measure_throughput(trainer: Trainer, request: ThroughputRequest) -> Throughput:
    """Times what surely fits in this process, on a CPU, and leaves the rest to a child.

    First the reference, then larger sizes while they are faster, smaller ones, all of them again,
    other numbers of steps per call, and what the child is for: each when there is time for it.
    Where not even the reference surely fits, the child measures everything.

    Args:
        trainer: Without a moving average of the weights; is put back afterwards.
        request: What to measure.

    Raises:
        MemoryError: Not even the smallest batch fits.
        RuntimeError: The child failed for another reason.
    """
    free_mib = min(available_memory_bytes() / MIB, request.memory_limit_mib or math.inf)
    reference, sizes = request.reference_batch, request.batch_sizes
    safe_mib = _SAFE_SHARE * free_mib
    safe = [size for size in sizes if estimate_memory_mib(trainer.model, size) <= safe_mib]
    if reference not in safe:
        return measure_in_child(request)
    initial = trainer.state()
    recipe = read_recipe(request.recipe_path)
    example = functools.partial(example_targets, request.dataset_dir, recipe)
    timer = Timer(trainer, example, reference, request.time_limit_images)
    larger, rising = timer.measure_upward(size for size in safe if size > reference)
    smaller = [
        # The process has held more by now: a smaller batch needs no more than the reference.
        dataclasses.replace(row, memory_mib=timer.first.memory_mib)
        for size in reversed(safe)
        if size < reference and (row := timer.measure(size, steps_per_call(size)))
    ]
    rows = [
        # Seconds later: what else the machine does has changed.
        look_again(row, timer.measure(row.batch_size, row.steps_per_call))
        for row in (*reversed(smaller), timer.first, *larger)
    ]
    variants = [row for num in OTHER_CALLS if (row := timer.measure(reference, num))]
    trainer.restore(initial)
    ended = _time_over(rows) if timer.skipped else ""
    here = Throughput(rows, variants, ended, free_mib, "CPU")
    left_s = timer.deadline - time.monotonic()
    if left_s < _CHILD_START_S:
        return dataclasses.replace(here, ended=_time_over(rows))
    return _run_child(request, here, sizes[len(safe) :] if rising else [], left_s)


def measure_in_child(request: ThroughputRequest) -> Throughput:
    """Leaves everything to a child: on GPUs, before this process takes their memory.

    Raises:
        MemoryError: Not even the smallest batch fits.
        RuntimeError: The child failed for another reason.
    """
    return _run_child(request, Throughput([], [], "", None, ""), request.batch_sizes, None)


def _run_child(
    request: ThroughputRequest,
    before: Throughput,
    batch_sizes: Sequence[int],
    time_limit_s: float | None,
) -> Throughput:
    """Returns what was measured before and by the child, which ends at what does not fit.

    Args:
        request: What to measure.
        before: What this process has measured: all that the child need not, or nothing.
        batch_sizes: Rising.
        time_limit_s: None where the child has to time the reference to know it.
    """
    rows, variants = [*before.by_batch], [*before.variants]
    device, free_mib = before.device, before.memory_limit_mib
    orders = Orders(
        request,
        batch_sizes,
        other_calls=() if rows else OTHER_CALLS,
        speed_before=rows[-1].images_per_second if rows else 0.0,
    )
    attempted = kind = ""
    for kind, value in run_child(orders, time_limit_s):
        if kind == "device":
            device, free_mib = value
        elif kind == "start":
            attempted = value
        elif kind in ("batch", "variant"):
            (rows if kind == "batch" else variants).append(value)
        elif kind == "again":
            rows = [
                look_again(row, value) if row.batch_size == value.batch_size else row
                for row in rows
            ]
    ended = before.ended
    if kind == "time_over":
        ended = _time_over(rows)
    elif kind != "done":
        ended = f"{attempted or 'the model'} did not fit into memory"
    if not rows:
        raise MemoryError(
            f"The smallest batch must fit into memory. Received: {ended}. Use a smaller "
            "`image_size` or a smaller `architecture`, or a machine with more memory."
        )
    return Throughput(rows, variants, ended, free_mib, device)


def _time_over(rows: Sequence[StepSpeed]) -> str:
    return f"the time for it was over after a batch of {rows[-1].batch_size}"
