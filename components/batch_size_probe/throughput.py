"""Images per second and peak memory of the real training step, over powers of two.

The measuring is done by a child process (`throughput_child.py`): a batch that does not fit ends the
child, and nothing of it stays behind.
"""

import dataclasses
import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["Measurement", "Throughput", "choose_batch_size", "measure_throughput"]

# Share of the memory that a batch may use: fragmentation and evaluation need the rest.
_HEADROOM = 0.8


@dataclasses.dataclass(frozen=True)
class Measurement:
    """One line of the child.

    Attributes:
        batch_size: B, over all replicas.
        images_per_second: Of the compiled loop once it is warm.
        memory_mib: Peak of the process on a CPU, of the fullest device on GPUs.
        steps_per_call: Steps in one call of the loop.
        jit_compile: Whether XLA compiled the step.
    """

    batch_size: int
    images_per_second: float
    memory_mib: float
    steps_per_call: int
    jit_compile: bool


@dataclasses.dataclass(frozen=True)
class Throughput:
    """What was measured, and why it ended.

    Attributes:
        by_batch: One measurement per batch size, rising.
        variants: Of the last asked-for batch: other numbers of steps per call, and XLA.
        ended: Empty when everything asked for was measured, else what stopped it.
        memory_limit_mib: Of the process; None on a GPU, which does not say what it has.
        device: `CPU` or the number of GPUs.
    """

    by_batch: list[Measurement]
    variants: list[Measurement]
    ended: str
    memory_limit_mib: float | None
    device: str

    def feasible(self) -> list[Measurement]:
        """Returns the measurements that leave headroom; the smallest one always counts."""
        rows = self.by_batch
        if self.memory_limit_mib is not None:
            limit = _HEADROOM * self.memory_limit_mib
            rows = [row for row in rows if row.memory_mib <= limit]
        elif "memory" in self.ended:
            # The last size that fitted may have fitted barely.
            rows = rows[:-1]
        return rows or self.by_batch[:1]


def choose_batch_size(
    rows: Sequence[Measurement], noise_scale: float, gain: float = 0.05
) -> dict[int, float]:
    """Returns batch size -> relative time to target, the best first.

    Time is proportional to (1 + B_noise/B) B / r(B): steps (McCandlish et al., 2018, eq. 2.11)
    times seconds a step. Sizes within `gain` of the fastest count as equal, and the smaller goes
    first, because it needs fewer examples and less memory.

    Args:
        rows: Feasible measurements, at least one.
        noise_scale: B_noise in examples.
        gain: Relative difference below which timing noise decides.
    """
    times = {row.batch_size: (row.batch_size + noise_scale) / row.images_per_second for row in rows}
    best = min(times.values())
    ordered = sorted(times, key=lambda size: (times[size] > best * (1 + gain), size))
    return {size: times[size] / best for size in ordered}


def measure_throughput(
    dataset_dir: Path,
    recipe_path: Path,
    batch_sizes: Sequence[int],
    variant_batch: int,
    time_limit_images: float,
    memory_limit_mib: float | None = None,
) -> Throughput:
    """Runs the child and collects its lines; it ends at the first batch that does not fit.

    Args:
        dataset_dir: The `dataset` artifact.
        recipe_path: A complete recipe.
        batch_sizes: Rising.
        variant_batch: Steps per call and XLA are timed at this one.
        time_limit_images: The child ends when it has taken the time in which `variant_batch` trains
            so many images; what it has measured counts.
        memory_limit_mib: None for what the machine has free.

    Raises:
        MemoryError: Not even the smallest batch fits.
        RuntimeError: The child failed for another reason.
    """
    request = {
        "dataset_dir": str(dataset_dir),
        "recipe_path": str(recipe_path),
        "batch_sizes": list(batch_sizes),
        "variant_batch": variant_batch,
        "time_limit_images": time_limit_images,
        "memory_limit_mib": memory_limit_mib,
    }
    child = subprocess.run(
        [sys.executable, "-m", f"{__package__}.throughput_child", json.dumps(request)],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    lines = [json.loads(line) for line in child.stdout.splitlines() if line.startswith("{")]
    return _collect(lines, child.returncode, child.stderr)


def _collect(lines: list[dict[str, Any]], returncode: int, errors: str) -> Throughput:
    head = next((line for line in lines if line["kind"] == "device"), None)
    rows, variants = (
        [Measurement(**line["row"]) for line in lines if line["kind"] == kind]
        for kind in ("batch", "variant")
    )
    kinds = {line["kind"] for line in lines}
    started = [line["batch_size"] for line in lines if line["kind"] == "start"]
    # What kills a process from outside or from within at an allocation.
    killed = returncode in (-signal.SIGKILL, -signal.SIGABRT, -signal.SIGSEGV)
    if "done" in kinds:
        ended = ""
    elif started and ("out_of_memory" in kinds or killed):
        ended = f"a batch of {started[-1]} did not fit into memory"
    elif returncode == -signal.SIGALRM:
        ended = f"the time for it was over after a batch of {rows[-1].batch_size}"
    else:
        raise RuntimeError(
            "The throughput measurement must end with a result. Received exit status "
            f"{returncode}: {errors.strip()[-2000:]}"
        )
    if head is None or not rows:
        raise MemoryError(
            f"The smallest batch must fit into memory. Received: {ended}. Use a smaller "
            "`image_size` or a smaller `architecture`, or a machine with more memory."
        )
    return Throughput(rows, variants, ended, head["memory_limit_mib"], head["device"])
