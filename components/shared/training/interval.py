"""The steps between two evaluations: batches go to the device in chunks, divergence is noticed."""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from kfp_vision.components.shared.datasets.labelled import LabelledImages
from kfp_vision.components.shared.datasets.loader import BatchOrder, prefetch
from kfp_vision.components.shared.recipe.hyperparameters import Hyperparameters
from kfp_vision.components.shared.runtime.progress import Progress
from kfp_vision.components.shared.training.history import History
from kfp_vision.components.shared.training.run import TrainingRun
from kfp_vision.components.shared.training.sanity import DivergenceError
from kfp_vision.components.shared.training.schedules import warmup_cosine

__all__ = ["train_until"]

# A chunk of batches on its way to the device; two exist at a time.
_CHUNK_BYTES = 32 * 2**20


def train_until(
    end: int, run: TrainingRun, order: BatchOrder, history: History
) -> dict[str, float]:
    """Takes steps `history.step` to `end` and returns the training figures of that interval.

    Raises:
        DivergenceError: The loss is NaN or infinite, or ten times the initial one.
    """
    settings = history.settings
    progress = Progress("train", history.total_steps, "steps", history.step)
    losses, norms, rates = np.empty(0), np.empty(0), np.empty(0)
    began, before = time.monotonic(), history.step_seconds
    for steps, images, targets in _chunks(run.train, order, settings, history.step, end):
        rates = warmup_cosine(
            steps,
            settings.learning_rate,
            min(settings.warmup_steps, history.total_steps // 2),
            history.total_steps,
        )
        figures = run.trainer.run_steps(images, targets, rates)
        _check_finite(figures.losses, history.checks["initial_loss"], steps, rates)
        losses = np.append(losses, figures.losses)
        norms = np.append(norms, figures.gradient_norms)
        history.step = int(steps[-1]) + 1
        history.step_seconds = before + time.monotonic() - began
        progress.update(
            history.step,
            images_per_second=round(history.step * settings.batch_size / history.step_seconds),
            loss=round(float(losses[-100:].mean()), 4),
        )
    return {
        "loss": float(losses.mean()),
        "gradient_norm": float(norms.mean()),
        "gradient_norm_p90": float(np.quantile(norms, 0.9)),
        "learning_rate": float(rates[-1]),
    }


def _chunks(
    train: LabelledImages, order: BatchOrder, settings: Hyperparameters, step: int, end: int
) -> Iterator[tuple[Any, ...]]:
    """Yields step numbers [K], images [K, B, H, W, C] and targets of the steps up to `end`."""
    batch_bytes = train.source.take(np.zeros(settings.batch_size, np.int64)).nbytes
    per_call = max(1, min(settings.steps_per_call, _CHUNK_BYTES // batch_bytes))

    def load(start: int) -> tuple[Any, ...]:
        steps = np.arange(start, min(start + per_call, end))
        return (steps, *train.take(order.indices(start, len(steps))))

    return prefetch(load, iter(range(step, end, per_call)))


def _check_finite(
    losses: np.ndarray, initial_loss: float, steps: np.ndarray, rates: np.ndarray
) -> None:
    broken = ~np.isfinite(losses) | (losses > 10 * max(initial_loss, 1.0))
    if broken.any():
        first = int(broken.argmax())
        raise DivergenceError(
            f"The training loss must stay finite and below ten times its start "
            f"({initial_loss:.3g}). Received: {losses[first]} at step {steps[first]} with learning "
            f"rate {rates[first]:.3g}. Lower `learning_rate`."
        )
