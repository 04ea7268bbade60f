"""The steps between two evaluations: batches go to the device in chunks, divergence is noticed."""

import time
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from kfp_vision.components.shared.datasets.loader import BatchOrder, prefetch
from kfp_vision.components.shared.runtime.progress import Progress
from kfp_vision.components.shared.training.deadline import Deadline
from kfp_vision.components.shared.training.history import History, next_evaluation
from kfp_vision.components.shared.training.run import TrainingRun
from kfp_vision.components.shared.training.sanity import DivergenceError
from kfp_vision.components.shared.training.schedules import warmup_cosine

__all__ = [
    "Chunk",
    "read_chunks",
    "train_until",
    "wait_for_chunk",
]

# Of a step in the loss that must not explode: one image of a rare class may weigh as much as a
# hundred others.
_SHARE_OF_STEP = 0.05
# A chunk of batches on its way to the device; two exist at a time.
_CHUNK_BYTES = 32 * 2**20

# Step numbers [K], images [K, B, H, W, C] and targets {name: [K, B, ...]}.
Chunk = tuple[np.ndarray, tf.Tensor, dict[str, tf.Tensor]]


def train_until(
    run: TrainingRun,
    chunks: Iterator[Chunk],
    history: History,
    deadline: Deadline,
    progress: Progress,
) -> dict[str, float]:
    """Takes the steps up to the next evaluation and returns the training figures of these.

    Args:
        run: The training.
        chunks: From `history.step` on.
        history: Is kept up to date.
        deadline: Of the training, which may change its length.
        progress: Of the training.

    Raises:
        DivergenceError: The loss is NaN or infinite, or over many steps ten times the initial one.
    """
    settings = history.settings
    losses, norms, rates = np.empty(0), np.empty(0), np.empty(0)
    began, before = time.monotonic(), history.step_seconds
    end = history.next_evaluation()
    while history.step < end:
        steps, images, targets = wait_for_chunk(chunks, history)
        rates = warmup_cosine(
            steps, settings.learning_rate, history.warmup_steps, history.total_steps
        )
        figures = run.trainer.run_steps(images, targets, rates)
        usual, initial = history.usual_loss, history.checks["initial_loss"]
        usual = initial if usual is None else usual
        history.usual_loss = _check_loss(usual, figures.losses, initial, steps, rates)
        losses = np.append(losses, figures.losses)
        norms = np.append(norms, figures.gradient_norms)
        history.step = int(steps[-1]) + 1
        history.step_seconds = before + time.monotonic() - began
        if deadline.keep():
            progress.total, end = history.total_steps, history.next_evaluation()
        progress.update(history.step, loss=round(float(losses[-100:].mean()), 4))
    return {
        "loss": float(losses.mean()),
        "gradient_norm": float(norms.mean()),
        "gradient_norm_p90": float(np.quantile(norms, 0.9)),
        "learning_rate": float(rates[-1]),
    }


def wait_for_chunk(chunks: Iterator[Chunk], history: History) -> Chunk:
    """Returns the next chunk; adds the time until it is there to `history.wait_seconds`."""
    began = time.monotonic()
    try:
        return next(chunks)
    finally:
        history.wait_seconds += time.monotonic() - began


def read_chunks(run: TrainingRun, history: History) -> Iterator[Chunk]:
    """Yields the chunks of all steps from `history.step` on, each read before it is asked for.

    No chunk has steps before and after an evaluation, and one is read during every evaluation.
    """
    while history.step < history.total_steps:
        total = history.total_steps
        for chunk in _chunks_of_length(total, run, history):
            if history.total_steps != total:
                # It was read for a training of another length.
                break
            yield chunk


def _chunks_of_length(total: int, run: TrainingRun, history: History) -> Iterator[Chunk]:
    settings, train = history.settings, run.train
    order = BatchOrder(len(train), settings.batch_size, run.seed)
    images, targets = train.take(np.zeros(settings.batch_size, np.int64))
    batch_bytes = images.nbytes + sum(each.nbytes for each in targets.values())
    per_call = max(1, min(settings.steps_per_call, _CHUNK_BYTES // batch_bytes))

    def starts() -> Iterator[int]:
        step = history.step
        while step < total:
            yield step
            step = min(step + per_call, next_evaluation(step, total, history.num_evaluations))

    def read(start: int) -> Chunk:
        steps = np.arange(
            start, min(start + per_call, next_evaluation(start, total, history.num_evaluations))
        )
        batches = train.take(order.indices(start, len(steps)))
        # Copied to the device here, while it computes the steps before.
        return steps, *tf.nest.map_structure(tf.constant, batches)

    return prefetch(read, starts())


def _check_loss(
    usual: float, losses: np.ndarray, initial_loss: float, steps: np.ndarray, rates: np.ndarray
) -> float:
    """Returns the exponential mean of the losses, which must not explode.

    Args:
        usual: That of the steps before.
        losses: Of steps [K].
        initial_loss: That of the start.
        steps: Their numbers.
        rates: Their learning rates.
    """
    for loss, step, rate in zip(losses.tolist(), steps.tolist(), rates.tolist(), strict=True):
        usual += _SHARE_OF_STEP * (loss - usual)
        if not usual <= 10 * max(initial_loss, 1.0):
            raise DivergenceError(
                f"The training loss must stay finite and over many steps below ten times its start "
                f"({initial_loss:.3g}). Received: {loss} at step {step} with learning rate "
                f"{rate:.3g}. Lower `learning_rate`."
            )
    return usual
