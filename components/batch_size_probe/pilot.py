"""The training steps of the probe: the range test and the trials, one compiled step for all.

Every step accumulates two micro-batches, so that the gradient noise scale costs only the norms.
"""

import dataclasses
import math

import numpy as np

from kfp_vision.components.batch_size_probe import learning_rate
from kfp_vision.components.batch_size_probe.micro_batches import GradientFigures, MicroBatchSteps
from kfp_vision.components.batch_size_probe.noise_scale import (
    estimate_noise_scale,
    moving_noise_scale,
    unbiased_estimates,
)
from kfp_vision.components.shared.artifacts.probe_result import NoiseScale, RangeTest
from kfp_vision.components.shared.datasets.labelled import LabelledImages
from kfp_vision.components.shared.datasets.loader import BatchOrder
from kfp_vision.components.shared.runtime.progress import Progress
from kfp_vision.components.shared.training.sanity import NotFiniteError
from kfp_vision.components.shared.training.trainer import Trainer

__all__ = ["Lengths", "Pilot", "plan_lengths", "run_pilot"]

_MICRO_BATCHES = 2
_STEPS_PER_CALL = 8
_MAX_TRIALS = 6
_WARMUP_STEPS = 10


@dataclasses.dataclass(frozen=True)
class Lengths:
    """Steps of the reference batch: of the range test, of one trial, and of everything."""

    range_steps: int
    trial_steps: int
    total: int


@dataclasses.dataclass(frozen=True)
class Pilot:
    """What the steps showed.

    Attributes:
        rates, losses: Of the range test, [T].
        range_test: What it says.
        trials: Rate -> losses [T].
        choice: The best constant rate.
        norms: Gradient norms of the best trial, [T].
        noise_scale: Of the gradients as the optimizer scales them, in the last half of the best
            trial: measured, it is what the steps of AdamW and LAMB follow. For SGD they are raw.
        raw_noise_scale: Of the raw gradients there.
        raw, scaled: Noise scale at every step of the best trial; scaled by the optimizer's second
            moments.
        images_seen: In all steps.
    """

    rates: np.ndarray
    losses: np.ndarray
    range_test: RangeTest
    trials: dict[float, np.ndarray]
    choice: learning_rate.RateChoice
    norms: np.ndarray
    noise_scale: NoiseScale
    raw_noise_scale: NoiseScale
    raw: list[float | None]
    scaled: list[float | None]
    images_seen: int


def plan_lengths(plain_images: int, batch_size: int, share: float) -> Lengths | None:
    """Returns lengths that see at most `share` of the images of a plain training.

    None when that is too few steps to tell rates apart: 40 for the range and 24 for each of four
    trials.
    """
    total = math.floor(share * plain_images / batch_size)
    range_steps = min(max(40, round(0.3 * total)), 100)
    trial_steps = min((total - range_steps) // 4, 100)
    return None if trial_steps < 24 else Lengths(range_steps, trial_steps, total)


def run_pilot(
    trainer: Trainer,
    images: LabelledImages,
    optimizer: str,
    batch_size: int,
    lengths: Lengths,
    seed: int,
) -> Pilot:
    """Runs the range test and then trials until the best rate has a neighbour on either side.

    Args:
        trainer: Has not taken a step; is put back afterwards.
        images: Training images.
        optimizer: Of the trainer.
        batch_size: B_ref, even.
        lengths: What `plan_lengths` returned.
        seed: Of the order of the images.

    Raises:
        NotFiniteError: The loss is not finite from the start.
        ValueError: No rate keeps the loss finite.
    """
    low, high = learning_rate.RANGES[optimizer]
    rates = learning_rate.exponential_rates(low, high, lengths.range_steps)
    with Progress("try learning rates", lengths.total, "steps") as progress:
        steps = _Steps(trainer, images, batch_size, lengths.total, progress)
        losses = steps.run(rates, seed).losses
        if not np.isfinite(losses[0]):
            raise NotFiniteError(
                "The loss of the untrained model must be finite. "
                f"Received: {losses[0]} on the first batch. Check the weights of the architecture "
                "for NaN and that it takes pixels from 0 to 255."
            )
        test = learning_rate.read_range_test(rates[: len(losses)], losses)
        trials = _try_rates(steps, test.plateau_rate, lengths, seed + 1)
    choice = learning_rate.choose_rate({key: value.losses for key, value in trials.items()})
    best = trials[min(choice.losses, key=lambda key: choice.losses[key])]
    micro_batch = batch_size // _MICRO_BATCHES
    sq_norm, trace = unbiased_estimates(best.micro_sq_norms, best.sq_norms, micro_batch)
    scaled = unbiased_estimates(best.scaled_micro_sq_norms, best.scaled_sq_norms, micro_batch)
    # Before that the second moments are those of a few gradients.
    scaled_curve: list[float | None] = [None] * _WARMUP_STEPS
    scaled_curve += moving_noise_scale(scaled[0][_WARMUP_STEPS:], scaled[1][_WARMUP_STEPS:])
    half = len(sq_norm) // 2
    return Pilot(
        rates=rates[: len(losses)],
        losses=losses,
        range_test=test,
        trials={key: value.losses for key, value in trials.items()},
        choice=choice,
        norms=best.gradient_norms[half:],
        noise_scale=estimate_noise_scale(scaled[0][half:], scaled[1][half:]),
        raw_noise_scale=estimate_noise_scale(sq_norm[half:], trace[half:]),
        raw=moving_noise_scale(sq_norm, trace),
        scaled=scaled_curve,
        images_seen=steps.num_taken * batch_size,
    )


class _Steps:
    """Runs of steps, each from the weights at the beginning; counts all of them."""

    def __init__(
        self,
        trainer: Trainer,
        images: LabelledImages,
        batch_size: int,
        total: int,
        progress: Progress,
    ) -> None:
        self._trainer, self._initial = trainer, trainer.state()
        self._steps = MicroBatchSteps(trainer)
        self._images, self._batch_size = images, batch_size
        self._total, self._progress = total, progress
        self.num_taken = 0

    def run(self, rates: np.ndarray, seed: int) -> GradientFigures:
        """Takes one step per rate; ends early, with what it has, when the loss is not finite."""
        order = BatchOrder(len(self._images), self._batch_size, seed)
        chunks: list[GradientFigures] = []
        for start in range(0, len(rates), _STEPS_PER_CALL):
            chunk = rates[start : start + _STEPS_PER_CALL]
            pixels, targets = self._images.take(order.indices(start, len(chunk)))
            figures = self._steps.run(
                _split(pixels), {name: _split(value) for name, value in targets.items()}, chunk
            )
            chunks.append(figures)
            self.num_taken += len(chunk)
            self._progress.update(min(self.num_taken, self._total))
            if not np.isfinite(figures.losses).all():
                break
        self._trainer.restore(self._initial)
        names = [field.name for field in dataclasses.fields(GradientFigures)]
        return GradientFigures(
            **{name: np.concatenate([getattr(chunk, name) for chunk in chunks]) for name in names}
        )


def _try_rates(
    steps: _Steps, first: float, lengths: Lengths, seed: int
) -> dict[float, GradientFigures]:
    """Returns rate -> figures of its trial, until the best rate has a neighbour on either side.

    Args:
        steps: Has done the range test.
        first: Rate of the first trial.
        lengths: As of `run_pilot`.
        seed: Of the order of all trials, another than that of the range test.
    """
    warmup = np.minimum(1.0, np.arange(1, lengths.trial_steps + 1) / _WARMUP_STEPS)
    trials: dict[float, GradientFigures] = {}
    rate: float | None = first
    while rate is not None and len(trials) < _MAX_TRIALS:
        if trials and steps.num_taken + lengths.trial_steps > lengths.total:
            break
        trials[rate] = steps.run((rate * warmup).astype(np.float32), seed)
        rate = learning_rate.next_rate({key: value.losses for key, value in trials.items()})
    return trials


def _split(values: np.ndarray) -> np.ndarray:
    """Returns [K, B, ...] as [K, M, B / M, ...]."""
    steps, batch = values.shape[:2]
    return values.reshape(steps, _MICRO_BATCHES, batch // _MICRO_BATCHES, *values.shape[2:])
