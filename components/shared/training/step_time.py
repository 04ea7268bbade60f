"""Seconds of a step and of a forward pass, on which length and cost of a training are based."""

import time
from collections.abc import Callable, Mapping

import numpy as np

from kfp_vision.components.shared.tasks import Task
from kfp_vision.components.shared.training.trainer import Trainer

__all__ = ["seconds_per_forward", "seconds_per_loss", "seconds_per_record", "seconds_per_step"]

_TIMED_CALLS, _TIMED_STEPS = 3, 4
# Slow steps need fewer repetitions.
_ENOUGH_SECONDS = 3.0


def seconds_per_step(
    trainer: Trainer, images: np.ndarray, targets: Mapping[str, np.ndarray]
) -> float:
    """Returns what a step of one batch takes once it is compiled, and puts the trainer back.

    The fastest of up to three calls: what else the machine does only ever adds. Slow steps are
    called one by one.

    Args:
        trainer: Goes on from where it is, at a rate of 0.
        images: uint8 [B, H, W, C].
        targets: {name: [B, ...]}.
    """
    before = trainer.state()

    def seconds_of(num_steps: int) -> float:
        repeated = {name: np.stack([value] * num_steps) for name, value in targets.items()}
        batches, rates = np.stack([images] * num_steps), np.zeros(num_steps, np.float32)
        began = time.monotonic()
        trainer.run_steps(batches, repeated, rates)
        return (time.monotonic() - began) / num_steps

    # The first call may compile.
    seconds_of(1)
    seconds = [seconds_of(1)]
    num_steps = 1 if seconds[0] * _TIMED_STEPS > _ENOUGH_SECONDS else _TIMED_STEPS
    while len(seconds) < _TIMED_CALLS and sum(seconds) * num_steps < _ENOUGH_SECONDS:
        seconds.append(seconds_of(num_steps))
    trainer.restore(before)
    return min(seconds)


def seconds_per_forward(trainer: Trainer, images: np.ndarray) -> float:
    """Returns what a batch takes in inference mode, the fastest of three calls.

    Args:
        trainer: Is not changed.
        images: uint8 [B, H, W, C].
    """
    seconds = []
    # The first call may compile.
    for _ in range(1 + _TIMED_CALLS):
        began = time.monotonic()
        trainer.outputs(images)
        seconds.append(time.monotonic() - began)
    return min(seconds[1:])


def seconds_per_record(
    trainer: Trainer, task: Task, images: np.ndarray, targets: Mapping[str, np.ndarray]
) -> float:
    """Returns what the record of an image takes beyond its forward pass: masks cost more than both.

    Args:
        trainer: Is not changed.
        task: That of the trainer.
        images: uint8 [B, H, W, C].
        targets: {name: [B, ...]}.
    """
    outputs = trainer.outputs(images)
    return _seconds(lambda: task.record(targets, task.decode(outputs))) / len(images)


def seconds_per_loss(
    trainer: Trainer, task: Task, images: np.ndarray, targets: Mapping[str, np.ndarray]
) -> float:
    """Returns what the loss of an image takes in an evaluation; arguments of `seconds_per_record`.

    Of every pixel it takes half as long as the forward pass.
    """
    outputs = trainer.outputs(images)
    return _seconds(lambda: np.asarray(task.loss(targets, outputs))) / len(images)


def _seconds(call: Callable[[], object]) -> float:
    """Returns what the second call takes."""
    call()
    began = time.monotonic()
    call()
    return time.monotonic() - began
