"""Trainings of a search: a rate for each step, no evaluation, no averaging."""

import time
from collections.abc import Iterator, Mapping

import numpy as np

from kfp_vision.components.shared.datasets.labelled import LabelledImages
from kfp_vision.components.shared.datasets.loader import BatchOrder
from kfp_vision.components.shared.training.trainer import Trainer

__all__ = ["run_steps", "seconds_per_step"]

_STEPS_PER_CALL = 16
_TIMED_CALLS, _TIMED_STEPS = 3, 4


def run_steps(
    trainer: Trainer,
    images: LabelledImages,
    rows: np.ndarray,
    rates: np.ndarray,
    batch_size: int,
    seed: int,
    start: int = 0,
) -> Iterator[tuple[int, np.ndarray]]:
    """Trains on some of the images, several steps a call.

    Args:
        trainer: Goes on from where it is.
        images: Training images.
        rows: Positions of those that are used, [N].
        rates: Learning rate of every step, [T].
        batch_size: Images a step.
        seed: Of the order of the images.
        start: Steps that have been taken before.

    Yields:
        After every call the number of steps taken, of T, and the losses of its steps.
    """
    order = BatchOrder(len(rows), batch_size, seed)
    for step in range(start, len(rates), _STEPS_PER_CALL):
        chunk = rates[step : step + _STEPS_PER_CALL].astype(np.float32)
        pixels, targets = images.take(rows[order.indices(step, len(chunk))])
        yield step + len(chunk), trainer.run_steps(pixels, targets, chunk).losses


def seconds_per_step(
    trainer: Trainer, images: np.ndarray, targets: Mapping[str, np.ndarray]
) -> float:
    """Returns what a step of one batch takes once it is compiled, and puts the trainer back.

    The fastest of three short calls: what else the machine does only ever adds.

    Args:
        trainer: Goes on from where it is, at a rate of 0.
        images: uint8 [B, H, W, C].
        targets: {name: [B, ...]}.
    """
    before = trainer.state()
    repeated = {name: np.stack([value] * _TIMED_STEPS) for name, value in targets.items()}
    batches, rates = np.stack([images] * _TIMED_STEPS), np.zeros(_TIMED_STEPS, np.float32)
    seconds = []
    # The first call may compile.
    for _ in range(1 + _TIMED_CALLS):
        began = time.monotonic()
        trainer.run_steps(batches, repeated, rates)
        seconds.append((time.monotonic() - began) / _TIMED_STEPS)
    trainer.restore(before)
    return min(seconds[1:])
