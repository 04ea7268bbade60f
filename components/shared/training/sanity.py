"""Checks that stop a broken set-up in seconds: does the loss of one batch fall?

The step that is checked is the step that trains, so the check also pays for its compilation.
"""

import dataclasses
import math
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from kfp_vision.components.shared.training.trainer import Trainer

__all__ = [
    "TRAINING_FAILURES",
    "DivergenceError",
    "MemorizationError",
    "NotFiniteError",
    "RateTooHighError",
    "check_one_batch",
    "describe_check",
    "failure_reason",
]

_MAX_STEPS = 96
_STEPS_PER_CALL = 8
# Large batches get fewer steps: 96 of 4096 images take longer than many a training.
_MAX_IMAGES, _LEAST_STEPS = 128 * 1024, 32
# So many times the steps before a loss counts as one that does not fall: networks of a few filters
# start slowly, and their own augmentation hides it.
_PATIENCE = 4
# A loss has fallen when it is lower by this share and by this many standard errors.
_LEAST_FALL, _SIGMAS = 0.005, 3.0
# When it has not, rates lower and higher by this factor are tried.
_OTHER_RATES = 10.0


class NotFiniteError(ArithmeticError):
    """The loss of the untrained model is NaN or infinite: no learning rate helps."""


class DivergenceError(ArithmeticError):
    """The loss has become NaN, infinite or far larger than that of a model that knows nothing."""


# Of a training that may fail without harm: there is a model without it.
TRAINING_FAILURES = (DivergenceError, MemoryError, tf.errors.ResourceExhaustedError)


def failure_reason(error: Exception) -> str:
    """Returns why a training has failed: the first line of what the error says, as a sentence.

    Of memory that is lacking Python may say nothing, and TensorFlow "Graph execution error:".
    """
    first = str(error).strip().partition("\n")[0]
    if first and not first.endswith(":"):
        return f"{first.rstrip('.')}."
    is_memory = isinstance(error, MemoryError | tf.errors.ResourceExhaustedError)
    return "It does not fit into memory." if is_memory else f"{type(error).__name__}."


class MemorizationError(ValueError):
    """The loss does not fall when the model trains on one batch alone."""


class RateTooHighError(MemorizationError):
    """The loss of one batch does not fall at this learning rate, but may at a lower one."""


@dataclasses.dataclass(frozen=True)
class _Losses:
    """Losses of one batch, in nats.

    Attributes:
        start: Of the untrained model, mean of eight steps at rate 0.
        scatter: Standard deviation among these: of dropout and the like.
        steps: Of the steps taken, [T].
        end: The lower of the mean of the last eight and what inference says, which has no dropout.
    """

    start: float
    scatter: float
    steps: np.ndarray
    end: float

    @property
    def has_halved(self) -> bool:
        return self.end < 0.5 * self.start

    @property
    def has_exploded(self) -> bool:
        return not np.isfinite(self.steps).all() or self.end > 2 * self.start

    def has_fallen(self, blind: float) -> bool:
        """Returns whether it ends below its start and below `blind`, or is falling at the end.

        Args:
            blind: What the frequencies of the labels reach, which are learned without an image.
        """
        if self.has_halved or not np.isfinite(self.steps).all():
            return self.has_halved
        error = self.scatter * math.sqrt(2 / _STEPS_PER_CALL)

        def is_below(lower: float, upper: float) -> bool:
            return upper - lower > max(_LEAST_FALL * upper, _SIGMAS * error)

        late = self.steps[-_STEPS_PER_CALL:].mean()
        earlier = self.steps[-3 * _STEPS_PER_CALL : -2 * _STEPS_PER_CALL].mean()
        return is_below(self.end, min(self.start, blind)) or (
            is_below(self.end, self.start) and is_below(late, earlier)
        )


def check_one_batch(
    trainer: Trainer,
    images: np.ndarray,
    targets: Mapping[str, np.ndarray],
    learning_rate: float,
    expected_loss: float,
) -> dict[str, float]:
    """Trains on one batch until its loss has halved, then puts the trainer back as it was.

    There is no augmentation, label smoothing or weight decay, and dropout cannot hide what the
    model has learned. A loss that falls without halving is enough; `describe_check` warns of it.

    Args:
        trainer: A trainer that has not taken a step.
        images: uint8 [B, H, W, C].
        targets: {name: [B, ...]}.
        learning_rate: The rate of the training, constant here.
        expected_loss: Mean loss in nats of a model that knows nothing.

    Returns:
        `initial_loss`, `expected_initial_loss`, `overfit_loss` and `overfit_steps`.

    Raises:
        NotFiniteError: The loss is not finite from the start.
        RateTooHighError: The loss explodes, or falls at a lower rate only.
        MemorizationError: The loss does not fall.
    """
    before = trainer.state()
    max_steps = max(_LEAST_STEPS, min(_MAX_STEPS, _MAX_IMAGES // len(images)))

    def train(rate: float, max_steps: int) -> _Losses:
        try:
            return _train(trainer, images, targets, rate, max_steps)
        finally:
            trainer.restore(before)

    with trainer.unregularised():
        losses, blind = train(learning_rate, max_steps), trainer.frequency_loss(targets)
        if not (losses.has_fallen(blind) or losses.has_exploded):
            losses = train(learning_rate, _PATIENCE * max_steps)
        if not losses.has_fallen(blind):
            others = {
                rate: train(rate, max_steps)
                for rate in (learning_rate / _OTHER_RATES, learning_rate * _OTHER_RATES)
                if rate < learning_rate or not losses.has_exploded
            }
            raise _not_learned(trainer, images, losses, learning_rate, others, blind)
    return {
        "initial_loss": losses.start,
        "expected_initial_loss": expected_loss,
        "overfit_loss": losses.end,
        "overfit_steps": len(losses.steps),
    }


def _train(
    trainer: Trainer,
    images: np.ndarray,
    targets: Mapping[str, np.ndarray],
    rate: float,
    max_steps: int,
) -> _Losses:
    """Returns the losses of steps at a constant rate, until they have halved or are not finite."""
    many = np.stack([images] * _STEPS_PER_CALL)
    repeated = {name: np.stack([value] * _STEPS_PER_CALL) for name, value in targets.items()}

    def run(rate: float) -> np.ndarray:
        rates = np.full(_STEPS_PER_CALL, rate, np.float32)
        return trainer.run_steps(many, repeated, rates).losses

    untrained = run(0.0)
    if not np.isfinite(untrained[0]):
        raise NotFiniteError(
            "The loss of the untrained model must be finite. "
            f"Received: {untrained[0]} on the first batch. Check the weights of the architecture "
            "for NaN and that it takes pixels from 0 to 255."
        )
    steps, end = np.empty(0, np.float32), float("inf")
    while len(steps) < max_steps and np.isfinite(steps).all():
        steps = np.append(steps, run(rate))
        end = float(steps[-_STEPS_PER_CALL:].mean())
        end = min(end, trainer.mean_loss(images, targets))
        if end < 0.5 * untrained.mean():
            break
    return _Losses(float(untrained.mean()), float(untrained.std()), steps, end)


def _not_learned(
    trainer: Trainer,
    images: np.ndarray,
    losses: _Losses,
    learning_rate: float,
    others: Mapping[float, _Losses],
    blind: float,
) -> MemorizationError:
    """Returns the error that names the cause, as far as it was measured."""
    received = (
        "A model must learn one batch by heart: its loss must fall when it trains on that batch "
        "alone. Received: "
        f"{losses.start:.4g} -> {losses.steps[-1]:.4g} in {len(losses.steps)} steps on "
        f"{len(images)} images at learning rate {learning_rate:g}"
    )
    better = [
        rate
        for rate, found in others.items()
        # A loss that is not finite is above any other.
        if found.has_fallen(blind) and not found.end >= losses.end
    ]
    if better:
        direction = "lower" if better[0] < learning_rate else "higher"
        kind = RateTooHighError if direction == "lower" else MemorizationError
        end = others[better[0]].end
        return kind(
            f"{received}; at {better[0]:g} it falls to {end:.4g}. Set a {direction} "
            f"`learning_rate`, such as {better[0]:g}."
        )
    if losses.has_exploded:
        return RateTooHighError(f"{received}: it explodes. Set a lower `learning_rate`.")
    tried = f"{received}, nor at {' or '.join(f'{rate:g}' for rate in others)}. "
    if (images == images[0]).all():
        return MemorizationError(f"{tried}The images of the batch are all alike.")
    if _is_frozen(trainer):
        return MemorizationError(
            f"{tried}The network is frozen: nothing below its head can train, and what it computes "
            "does not tell these images apart. Set `trainable = True` on its layers."
        )
    return MemorizationError(
        f"{tried}Check that the labels belong to the images, and that what the network computes "
        "depends on the image (dead activations, pixels scaled twice)."
    )


def _is_frozen(trainer: Trainer) -> bool:
    """Returns whether nothing below the last layer of the model can train, though there is some."""
    head = {id(weight) for weight in trainer.model.layers[-1].weights}
    below = [weight for weight in trainer.model.weights if id(weight) not in head]
    return bool(below) and not any(weight.trainable for weight in below)


def describe_check(trainer: Trainer, checks: Mapping[str, float]) -> list[str]:
    """Returns what the user should know of a check that has not stopped the training.

    Args:
        trainer: What was checked.
        checks: From `check_one_batch`.
    """
    warnings = []
    initial, expected = checks["initial_loss"], checks["expected_initial_loss"]
    if initial > 3 * expected:
        warnings.append(
            f"The untrained model's loss was {initial:.3g}; {expected:.3g} is what a model that "
            "knows nothing has. Check the head and the pixel range of the architecture."
        )
    if "overfit_loss" in checks and not checks["overfit_loss"] < 0.5 * initial:
        warnings.append(
            f"The loss of one batch fell from {initial:.3g} to {checks['overfit_loss']:.3g} only, "
            f"in {checks['overfit_steps']:.0f} steps on that batch alone: the network learns "
            "slowly or is small for these images. If the training loss still falls at the end, "
            "set more `epochs`."
        )
    if _is_frozen(trainer):
        warnings.append(
            "The network is frozen: nothing below its head can train. Set `trainable = True` on "
            "its layers to train all of it."
        )
    return warnings
