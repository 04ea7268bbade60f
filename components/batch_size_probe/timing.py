"""The training step on random pixels: how fast it is, and as much of that as there is time for.

Shapes: K steps in one call, B images a batch, images uint8 [K, B, H, W, C].
"""

import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from kfp_vision.components.shared.artifacts.probe_result import StepSpeed
from kfp_vision.components.shared.training.step_memory import held_memory_mib, peak_memory_mib
from kfp_vision.components.shared.training.trainer import Trainer

__all__ = [
    "FLAT",
    "OTHER_CALLS",
    "ThroughputRequest",
    "Timer",
    "look_again",
    "steps_per_call",
    "time_steps",
]

# Number of images -> targets of that many.
Example = Callable[[int], Mapping[str, np.ndarray]]
# A doubled batch that is no faster than this ends the search upward: larger ones only cost more.
FLAT = 1.02
# Steps per call that are timed beside those of `steps_per_call`.
OTHER_CALLS = (1, 32)
# A size is timed for this long, in at least so many calls.
_TIMED_S = 0.15
_TIMED_CALLS = 3


def steps_per_call(batch_size: int) -> int:
    """Returns K, at most 8 steps and 256 images: a call then costs a few percent of its steps."""
    return max(1, min(8, 256 // batch_size))


def _timed_images(batch_size: int, num_steps: int) -> int:
    """Returns how many images `time_steps` trains on at least."""
    return _TIMED_CALLS * num_steps * batch_size


def time_steps(
    trainer: Trainer,
    example: Example,
    batch_size: int,
    num_steps: int,
) -> float:
    """Returns the images per second of the fastest call of `num_steps` steps.

    What else the machine does, and compiling, can only slow a call down.
    """
    shape = (num_steps, batch_size, *trainer.model.input_shape[1:])
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    targets = {name: np.stack([value] * num_steps) for name, value in example(batch_size).items()}
    rates = np.full(num_steps, 1e-4, np.float32)
    times: list[float] = []
    # Without the slowest call, which may have compiled.
    while len(times) < _TIMED_CALLS or sum(times) - max(times) < _TIMED_S:
        began = time.monotonic()
        trainer.run_steps(images, targets, rates)
        times.append(time.monotonic() - began)
    return num_steps * batch_size / min(times)


def look_again(row: StepSpeed, again: StepSpeed | None) -> StepSpeed:
    """Returns a measurement with a second one of the same, or as it is where there is none.

    The faster of the two counts, and the ratio of their speeds tells how far to trust it.
    """
    if again is None:
        return row
    speeds = row.images_per_second, again.images_per_second
    scatter = math.log(max(speeds) / min(speeds))
    return dataclasses.replace(row, images_per_second=max(speeds), scatter=scatter)


@dataclasses.dataclass(frozen=True)
class ThroughputRequest:
    """What is to be measured.

    Attributes:
        dataset_dir: Folder of the dataset.
        recipe_path: A complete recipe.
        batch_sizes: Rising.
        reference_batch: One of them; steps per call and XLA are timed at it.
        time_limit_images: The search ends when it has taken the time in which `reference_batch`
            trains so many images; what it has measured counts.
        memory_limit_mib: None for what the machine has free.
    """

    dataset_dir: Path
    recipe_path: Path
    batch_sizes: Sequence[int]
    reference_batch: int
    time_limit_images: float
    memory_limit_mib: float | None = None


class Timer:
    """Times the steps in this process, as long as there is time for it.

    Attributes:
        first: Of the reference batch.
        deadline: On the clock of `time.monotonic`; it is known once the reference is timed.
        skipped: Whether there was no time for something.
    """

    def __init__(
        self,
        trainer: Trainer,
        example: Example,
        reference_batch: int,
        time_limit_images: float,
    ) -> None:
        """Times the reference, with the targets of so many images that `example` returns.

        The limit is the time in which it trains `time_limit_images`.
        """
        self._trainer, self._example = trainer, example
        self._held_mib = held_memory_mib()
        self.first = self._time(reference_batch, steps_per_call(reference_batch))
        left = time_limit_images - _timed_images(reference_batch, self.first.steps_per_call)
        self.deadline = time.monotonic() + left / self.first.images_per_second
        self.skipped = False

    def measure(self, batch_size: int, num_steps: int) -> StepSpeed | None:
        """Returns a measurement, or None where it would not end before the deadline."""
        expected_s = _timed_images(batch_size, num_steps) / self.first.images_per_second
        if time.monotonic() + expected_s > self.deadline:
            self.skipped = True
            return None
        return self._time(batch_size, num_steps)

    def measure_upward(self, sizes: Iterable[int]) -> tuple[list[StepSpeed], bool]:
        """Returns the measurements while they are faster, and whether larger ones may be too."""
        rows: list[StepSpeed] = []
        before = self.first
        for size in sizes:
            row = self.measure(size, steps_per_call(size))
            if row is None:
                return rows, False
            rows.append(row)
            if row.images_per_second < FLAT * before.images_per_second:
                return rows, False
            before = row
        return rows, True

    def _time(self, batch_size: int, num_steps: int) -> StepSpeed:
        speed = time_steps(self._trainer, self._example, batch_size, num_steps)
        memory_mib = peak_memory_mib() - self._held_mib
        return StepSpeed(batch_size, speed, memory_mib, num_steps, False)
