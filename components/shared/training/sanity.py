"""Checks that stop a broken set-up in seconds: can the model learn one batch by heart?

The step that is checked is the step that trains, so the check also pays for its compilation.
"""

import time
from collections.abc import Mapping

import numpy as np

from kfp_vision.components.shared.training.trainer import Trainer

__all__ = ["DivergenceError", "MemorizationError", "NotFiniteError", "check_one_batch"]

_MAX_STEPS = 96
_STEPS_PER_CALL = 8


class NotFiniteError(ArithmeticError):
    """The loss of the untrained model is NaN or infinite: no learning rate helps."""


class DivergenceError(ArithmeticError):
    """The loss has become NaN, infinite or far larger than that of a model that knows nothing."""


class MemorizationError(ValueError):
    """The model does not learn one batch by heart."""


def check_one_batch(
    trainer: Trainer,
    images: np.ndarray,
    targets: Mapping[str, np.ndarray],
    learning_rate: float,
    expected_loss: float,
) -> dict[str, float]:
    """Trains on one batch until its loss has halved, then puts the trainer back as it was.

    Args:
        trainer: A trainer that has not taken a step.
        images: uint8 [B, H, W, C].
        targets: {name: [B, ...]}.
        learning_rate: The rate of the training, constant here.
        expected_loss: Mean loss in nats of a model that knows nothing.

    Returns:
        `initial_loss`, `expected_initial_loss`, `overfit_loss`, `overfit_steps` and
        `seconds_per_step` once compiled.

    Raises:
        NotFiniteError: The loss is not finite from the start.
        MemorizationError: The loss of the batch cannot be halved.
    """
    before = trainer.state()
    repeated = {name: np.stack([value] * _STEPS_PER_CALL) for name, value in targets.items()}
    rates = np.full(_STEPS_PER_CALL, learning_rate, np.float32)
    losses = np.empty(0, np.float32)
    while len(losses) < _MAX_STEPS:
        called = time.monotonic()
        figures = trainer.run_steps(np.stack([images] * _STEPS_PER_CALL), repeated, rates)
        seconds_per_step = (time.monotonic() - called) / _STEPS_PER_CALL
        losses = np.append(losses, figures.losses)
        if not np.isfinite(losses[0]):
            trainer.restore(before)
            raise NotFiniteError(
                "The loss of the untrained model must be finite. "
                f"Received: {losses[0]} on the first batch. Check the weights of the architecture "
                "for NaN and that it takes pixels from 0 to 255."
            )
        # The first call compiles: the second one at least is timed.
        if losses[-1] < 0.5 * losses[0] and len(losses) > _STEPS_PER_CALL:
            break
    trainer.restore(before)
    if not losses[-1] < 0.5 * losses[0]:
        raise MemorizationError(
            "A model must be able to learn one batch by heart: its loss must halve within "
            f"{_MAX_STEPS} steps. Received: {losses[0]:.4g} -> {losses[-1]:.4g} on {len(images)} "
            f"images at learning rate {learning_rate:g}. Check that the labels belong to the "
            "images, that the images are not all alike, and try a lower `learning_rate`."
        )
    return {
        "initial_loss": float(losses[0]),
        "expected_initial_loss": expected_loss,
        "overfit_loss": float(losses[-1]),
        "overfit_steps": len(losses),
        "seconds_per_step": seconds_per_step,
    }
