"""Short trainings of a search: a rate for each step, no evaluation, no averaging."""

from collections.abc import Iterator

import numpy as np

from kfp_vision.components.shared.datasets.labelled import LabelledImages
from kfp_vision.components.shared.datasets.loader import BatchOrder
from kfp_vision.components.shared.training.trainer import Trainer

__all__ = ["run_steps"]

_STEPS_PER_CALL = 16


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
        seed: Seed of the order of the images.
        start: Steps that have been taken before.

    Yields:
        After every call the number of steps taken, of T, and the losses of its steps.
    """
    order = BatchOrder(len(rows), batch_size, seed)
    for step in range(start, len(rates), _STEPS_PER_CALL):
        chunk = rates[step : step + _STEPS_PER_CALL].astype(np.float32)
        pixels, targets = images.take(rows[order.indices(step, len(chunk))])
        yield step + len(chunk), trainer.run_steps(pixels, targets, chunk).losses
