"""The one training loop: fixed length, N best checkpoints, exact resume.

The loop is a pure function of (state, step): killed at any moment, it goes on from the last
checkpoint and ends with the very weights of an uninterrupted run.
"""

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from kfp_vision.components.shared.datasets.labelled import LabelledImages
from kfp_vision.components.shared.datasets.loader import BatchOrder, prefetch
from kfp_vision.components.shared.recipe.hyperparameters import Hyperparameters
from kfp_vision.components.shared.runtime.progress import Progress
from kfp_vision.components.shared.tasks import Task
from kfp_vision.components.shared.training.checkpoints import (
    Stopwatch,
    read_checkpoint,
    write_checkpoint,
)
from kfp_vision.components.shared.training.sanity import DivergenceError, RateTooHighError
from kfp_vision.components.shared.training.schedules import warmup_cosine
from kfp_vision.components.shared.training.trainer import Trainer

__all__ = ["History", "evaluate", "fit"]

_EVALUATIONS = 20
_KEPT_CHECKPOINTS = 3
# A chunk of batches on its way to the device; two exist at a time.
_CHUNK_BYTES = 32 * 2**20
_STATISTICS_BATCHES = 32
_MIN_REPAIRED_BATCH = 8
# What a smaller batch, and the lower rate that belongs to it, can mend.
_REPAIRABLE = (DivergenceError, RateTooHighError, tf.errors.ResourceExhaustedError)

CurveRow = dict[str, Any]


@dataclasses.dataclass
class History:
    """What a run has done so far; travels in the checkpoint.

    Attributes:
        settings: What the run trains by; a repair changes them.
        step: Steps done.
        total_steps: Steps to do, fixed when the run starts.
        seconds, step_seconds: Of the loop, and of the optimizer steps in it.
        curves: Rows `{"step", "split", "metric", "value"}`.
        best: The kept evaluations, best first: `{"step", "metrics", "file"}`.
        checks: What the sanity checks measured.
        repairs: What went wrong and what was done about it, one sentence each.
        num_passed_over: Evaluations whose loss was not finite.
        setup_seconds: Until the first step.
        plain_share: Of `step_seconds`, what the steps of a plain training take.
        stage_seconds: Of all processes of the stage until the last checkpoint.
    """

    settings: Hyperparameters
    step: int
    total_steps: int
    seconds: float
    step_seconds: float
    curves: list[CurveRow]
    best: list[dict[str, Any]]
    checks: dict[str, float]
    repairs: list[str] = dataclasses.field(default_factory=list)
    num_passed_over: int = 0
    setup_seconds: float = 0.0
    plain_share: float = 1.0
    stage_seconds: float = 0.0

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> "History":
        """Returns what `dataclasses.asdict` made a document of."""
        return cls(**{**document, "settings": Hyperparameters(**document["settings"])})

    def double_steps(self) -> None:
        """Counts everything in steps of half as many images.

        The files of the best evaluations keep their names, which no later one can be given.
        """
        self.step, self.total_steps = 2 * self.step, 2 * self.total_steps
        for row in (*self.curves, *self.best):
            row["step"] *= 2


def evaluate(trainer: Trainer, task: Task, images: LabelledImages) -> dict[str, float]:
    """Returns the metrics of the task and the mean `loss` (unweighted, unsmoothed).

    There are none where the loss is not finite.
    """
    logits = np.concatenate([trainer.logits(batch) for batch in images.image_batches()])
    loss = float(np.asarray(task.loss(images.targets, logits)).mean())
    if not np.isfinite(loss):
        return {}
    return {"loss": loss, **task.metrics(images.targets, np.asarray(task.activate(logits)))}


def fit(
    trainer: Trainer,
    task: Task,
    train: LabelledImages,
    validation: LabelledImages,
    settings: Hyperparameters,
    *,
    start: Callable[[Hyperparameters], History],
    halve: Callable[[Hyperparameters], Hyperparameters] | None,
    primary_metric: str,
    seed: int,
    checkpoint_dir: Path,
    watch: Stopwatch,
    on_curves: Callable[[Sequence[CurveRow], bool], None],
) -> History:
    """Trains to the end, then loads the best checkpoint into the model.

    Args:
        trainer: Has not taken a step.
        task: Of the images.
        train: What is learned.
        validation: What chooses the checkpoint.
        settings: The learning-rate schedule follows them.
        start: Runs the checks and fixes the length; called when there is no checkpoint.
        halve: Returns settings for half the batch; called when memory runs out or the loss
            diverges, which then goes on from the last checkpoint. None: the error is raised.
        primary_metric: The higher the better.
        seed: Of the order of the images.
        checkpoint_dir: Belongs to this run alone.
        watch: Of the stage; the processes before this one are added to it.
        on_curves: Called with new rows of the curves, and with whether they replace all rows
            before: so it is at the start, and after a repair, which changes their steps.

    Raises:
        DivergenceError: The loss is NaN or infinite, or ten times the initial one; or no evaluation
            has a finite one.
        MemorizationError: The model does not learn one batch.
        tf.errors.ResourceExhaustedError: The batch does not fit into memory.
    """
    state_path = checkpoint_dir / "state.npz"
    resumed = state_path.exists()
    repairs: list[str] = []
    initial = trainer.state()
    while not state_path.exists():
        try:
            history = start(settings)
        except _REPAIRABLE as error:
            trainer.restore(initial)
            settings = _halved(settings, halve, error, repairs)
            continue
        history.repairs = repairs
        _save(trainer, history, watch, state_path)
    history = _restore(trainer, state_path)
    if resumed:
        watch.resume(history.stage_seconds)
    on_curves(history.curves, True)
    while history.step < history.total_steps:
        try:
            rows = _advance(
                trainer, task, train, validation, history, primary_metric, seed, checkpoint_dir
            )
        except _REPAIRABLE as error:
            history = _restore(trainer, state_path)
            history.settings = _halved(history.settings, halve, error, history.repairs)
            # The same position in the same order of images: twice the steps of half the size.
            history.double_steps()
            on_curves(history.curves, True)
        else:
            on_curves(rows, False)
        _save(trainer, history, watch, state_path)
        _drop_others(history, checkpoint_dir)
    if not history.best:
        raise DivergenceError(
            "The loss on the validation images must be finite. "
            f"Received: NaN or infinity in all {history.num_passed_over} evaluations, while that "
            "of the training images was finite. Lower `learning_rate`."
        )
    best = read_checkpoint(checkpoint_dir / history.best[0]["file"])
    if best is None:
        raise FileNotFoundError(f"The best checkpoint must exist. Received: {checkpoint_dir}")
    trainer.set_variables(best[0])
    return history


def _save(trainer: Trainer, history: History, watch: Stopwatch, state_path: Path) -> None:
    history.stage_seconds = watch.seconds
    write_checkpoint(state_path, trainer.state(), dataclasses.asdict(history))


def _restore(trainer: Trainer, state_path: Path) -> History:
    checkpoint = read_checkpoint(state_path)
    if checkpoint is None:
        raise FileNotFoundError(f"The checkpoint must exist. Received: {state_path}")
    trainer.restore(checkpoint[0])
    return History.from_document(checkpoint[1])


def _halved(
    settings: Hyperparameters,
    halve: Callable[[Hyperparameters], Hyperparameters] | None,
    error: Exception,
    repairs: list[str],
) -> Hyperparameters:
    """Returns the settings of half the batch, or raises `error` when they may not be changed."""
    if halve is None or settings.batch_size < 2 * _MIN_REPAIRED_BATCH:
        raise error
    repaired = halve(settings)
    repairs.append(
        f"The batch was halved to {repaired.batch_size} and the learning rate lowered to "
        f"{repaired.learning_rate:.3g}, because of: {str(error).splitlines()[0]}"
    )
    return repaired


def _advance(
    trainer: Trainer,
    task: Task,
    train: LabelledImages,
    validation: LabelledImages,
    history: History,
    primary_metric: str,
    seed: int,
    checkpoint_dir: Path,
) -> list[CurveRow]:
    """Trains up to the next evaluation, evaluates, and returns what that adds to the curves."""
    began = time.monotonic()
    order = BatchOrder(len(train), history.settings.batch_size, seed)
    interval = max(1, history.total_steps // _EVALUATIONS)
    end = min((history.step // interval + 1) * interval, history.total_steps)
    figures = _train_until(end, trainer, train, order, history)
    metrics, weights = _evaluate_average(trainer, task, train, validation, order, end)
    rows = [
        {"step": end, "split": split, "metric": metric, "value": value}
        for split, values in (("train", figures), ("validation", metrics))
        for metric, value in values.items()
        # The gradient of a finite loss can be beyond float32.
        if np.isfinite(value)
    ]
    history.curves += rows
    if metrics:
        entry = {"step": end, "metrics": metrics, "file": f"best-{end}.npz"}
        _keep_best(history, entry, weights, primary_metric, checkpoint_dir)
    else:
        history.num_passed_over += 1
    history.seconds += time.monotonic() - began
    return rows


def _train_until(
    end: int, trainer: Trainer, train: LabelledImages, order: BatchOrder, history: History
) -> dict[str, float]:
    """Takes steps `history.step` to `end` and returns the training figures of that interval."""
    settings = history.settings
    progress = Progress("train", history.total_steps, "steps", history.step)
    batch_bytes = train.source.take(np.zeros(settings.batch_size, np.int64)).nbytes
    per_call = max(1, min(settings.steps_per_call, _CHUNK_BYTES // batch_bytes))
    chunks = ((step, min(step + per_call, end)) for step in range(history.step, end, per_call))

    def load(chunk: tuple[int, int]) -> tuple[Any, ...]:
        step, chunk_end = chunk
        return (np.arange(step, chunk_end), *train.take(order.indices(step, chunk_end - step)))

    losses, norms = np.empty(0), np.empty(0)
    began, before = time.monotonic(), history.step_seconds
    rates = np.empty(0)
    for steps, images, targets in prefetch(load, chunks):
        rates = warmup_cosine(
            steps,
            settings.learning_rate,
            min(settings.warmup_steps, history.total_steps // 2),
            history.total_steps,
        )
        figures = trainer.run_steps(images, targets, rates)
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


def _evaluate_average(
    trainer: Trainer,
    task: Task,
    train: LabelledImages,
    validation: LabelledImages,
    order: BatchOrder,
    step: int,
) -> tuple[dict[str, float], list[np.ndarray]]:
    """Returns the metrics and the variables of the model a user would get at this step."""
    if not trainer.averages:
        return evaluate(trainer, task, validation), trainer.model_variables()
    batches = (
        train.source.take(order.indices(step + offset)[0]) for offset in range(_STATISTICS_BATCHES)
    )
    before = trainer.average_weights(batches)
    metrics, weights = evaluate(trainer, task, validation), trainer.model_variables()
    trainer.set_variables(before)
    return metrics, weights


def _keep_best(
    history: History,
    entry: dict[str, Any],
    weights: list[np.ndarray],
    primary_metric: str,
    checkpoint_dir: Path,
) -> None:
    """Writes the weights when they are among the best; on a tie the lower loss, then the later."""
    ranked = sorted(
        [*history.best, entry],
        key=lambda kept: (
            -kept["metrics"].get(primary_metric, -np.inf),
            kept["metrics"]["loss"],
            -kept["step"],
        ),
    )
    history.best = ranked[:_KEPT_CHECKPOINTS]
    if entry in history.best:
        write_checkpoint(checkpoint_dir / entry["file"], weights, entry)


def _drop_others(history: History, checkpoint_dir: Path) -> None:
    """Deletes weights that no checkpoint names any more; only after the state has been written."""
    kept = {entry["file"] for entry in history.best}
    for path in checkpoint_dir.glob("best-*.npz"):
        if path.name not in kept:
            path.unlink()
