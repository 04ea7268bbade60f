"""The one training loop: fixed length, N best checkpoints, exact resume.

The loop is a pure function of (state, step): killed at any moment, it goes on from the last
checkpoint and ends with the very weights of an uninterrupted run.
"""

import dataclasses
import time
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from kfp_vision.components.shared.datasets.labelled import LabelledImages
from kfp_vision.components.shared.datasets.loader import BatchOrder
from kfp_vision.components.shared.metrics.acceptance import measure_gain
from kfp_vision.components.shared.recipe.evaluations import (
    evaluated_images,
    evaluations_of,
    statistics_batches,
)
from kfp_vision.components.shared.recipe.hyperparameters import Hyperparameters
from kfp_vision.components.shared.runtime.progress import Progress
from kfp_vision.components.shared.runtime.storage import kept_folder
from kfp_vision.components.shared.search.scoring import held_out_losses
from kfp_vision.components.shared.tasks import Task
from kfp_vision.components.shared.tasks.records import join_records, whole_set_metrics
from kfp_vision.components.shared.training.checkpoints import (
    read_checkpoint,
    write_checkpoint,
)
from kfp_vision.components.shared.training.deadline import Deadline
from kfp_vision.components.shared.training.history import CurveRow, History, KeptCheckpoint
from kfp_vision.components.shared.training.interval import (
    Chunk,
    read_chunks,
    train_until,
)
from kfp_vision.components.shared.training.run import TrainingRun
from kfp_vision.components.shared.training.sanity import (
    DivergenceError,
    RateTooHighError,
    failure_reason,
)
from kfp_vision.components.shared.training.trainer import Trainer

__all__ = ["evaluate", "fit"]

_KEPT_CHECKPOINTS = 3
# Of fewer validation images one more right answer is a percent and more, but for those with many
# answers each, as objects and pixels: `training/README.md` says what was tried.
_RANKED_BY_METRIC = 100
# A temperature is fitted on half of them.
_LEAST_JUDGES = 4
_MIN_REPAIRED_BATCH = 8
# What a smaller batch, and the lower rate that belongs to it, can mend.
_REPAIRABLE = (DivergenceError, RateTooHighError, tf.errors.ResourceExhaustedError)


def evaluate(trainer: Trainer, task: Task, images: LabelledImages) -> dict[str, float]:
    """Returns the metrics of the task and the mean `loss`, weighted as in the training, unsmoothed.

    There are none where the loss is not finite.
    """
    losses, records = [], []
    with Progress("validate", len(images), "images") as progress:
        done = 0
        for pixels, targets in images.batches():
            outputs = trainer.outputs(pixels)
            loss = task.loss(targets, outputs, class_weights=trainer.class_weights)
            losses.append(np.asarray(loss))
            if not np.isfinite(losses[-1]).all():
                return {}
            records.append(task.record(targets, task.decode(outputs)))
            done += len(pixels)
            progress.update(done)
    return {
        "loss": float(np.concatenate(losses).mean()),
        **whole_set_metrics(task, join_records(records)),
    }


def fit(run: TrainingRun, settings: Hyperparameters) -> History:
    """Trains to the end, then loads the best checkpoint into the model.

    Args:
        run: The training.
        settings: Hyperparameters, unless a checkpoint holds repaired ones.

    Raises:
        DivergenceError: The loss is NaN or infinite, or over many steps ten times the initial one;
            or no evaluation has a finite one.
        MemorizationError: The model does not learn one batch.
        tf.errors.ResourceExhaustedError: The batch does not fit into memory.
    """
    kept_folder(run.checkpoint_dir)
    history = _start_or_resume(run, settings)
    run.on_curves(history.curves, True)
    while history.step < history.total_steps:
        try:
            _train(run, history)
        except _REPAIRABLE as error:
            history = _restore(run)
            history.settings = _halved(run, history.settings, error, history.repairs)
            # The same position in the same order of images: twice the steps of half the size.
            history.double_steps()
            run.on_curves(history.curves, True)
            _save_and_tidy(run, history)
    _load_best(run, history)
    return history


def _train(run: TrainingRun, history: History) -> None:
    """Trains to the end, and keeps `history` and its checkpoint up to date."""
    chunks, deadline = read_chunks(run, history), Deadline(run, history)
    images = history.settings.batch_size
    with Progress("train", history.total_steps, "steps", history.step, images) as progress:
        while history.step < history.total_steps:
            run.on_curves(_advance(run, history, chunks, deadline, progress), False)
            _save_and_tidy(run, history)


def _start_or_resume(run: TrainingRun, settings: Hyperparameters) -> History:
    """Returns the history of the checkpoint, which is written first where there is none."""
    resumed = run.state_path.exists()
    repairs: list[str] = []
    initial = run.trainer.state()
    while not run.state_path.exists():
        try:
            history = run.start(settings)
        except _REPAIRABLE as error:
            run.trainer.restore(initial)
            settings = _halved(run, settings, error, repairs)
            continue
        history.repairs = repairs
        history.num_evaluations = min(history.num_evaluations, _most_evaluations(run, history))
        if run.evaluates_start:
            history.curves += _evaluate_and_keep(run, history, {})
        _save(run, history)
    history = _restore(run)
    if resumed:
        run.watch.resume(history.stage_seconds)
    return history


def _most_evaluations(run: TrainingRun, history: History) -> int:
    batch_size, num_validation = history.settings.batch_size, len(run.validation)
    with_statistics = run.trainer.needs_statistics
    evaluated = evaluated_images(len(run.train), num_validation, batch_size, with_statistics)
    return evaluations_of(history.total_steps * batch_size, evaluated)


def _load_best(run: TrainingRun, history: History) -> None:
    if not history.best:
        raise DivergenceError(
            "The loss on the validation images must be finite. "
            f"Received: NaN or infinity in all {history.num_passed_over} evaluations, while that "
            "of the training images was finite. Lower `learning_rate`."
        )
    if _prefers_last(run) and not run.keeps_last:
        _prefer_clearly_better(run, history)
    _load(run, history.best[0])


def _load(run: TrainingRun, kept: KeptCheckpoint) -> None:
    checkpoint = read_checkpoint(run.checkpoint_dir / kept["file"])
    if checkpoint is None:
        raise FileNotFoundError(f"The best checkpoint must exist. Received: {run.checkpoint_dir}")
    run.trainer.set_variables(checkpoint[0])


def _prefers_last(run: TrainingRun) -> bool:
    """Returns whether the weights of the last evaluation count, whatever its metric is."""
    cannot_tell = not run.task.is_spatial and len(run.validation) < _RANKED_BY_METRIC
    return run.keeps_last or cannot_tell


def _prefer_clearly_better(run: TrainingRun, history: History) -> None:
    """Puts the kept checkpoint first whose gain over the last one is the clearest, if one's is."""
    last, *others = history.best
    if not others or len(run.validation) < _LEAST_JUDGES:
        return
    rows = np.arange(len(run.validation))

    def losses(kept: KeptCheckpoint) -> np.ndarray:
        _load(run, kept)
        given = run.task, run.trainer.outputs, [(run.validation, rows)], run.trainer.class_weights
        return held_out_losses(*given)[None]

    reference = losses(last)
    lows = [measure_gain(reference, losses(kept), len(others)).low for kept in others]
    if max(lows) > 0:
        better = others[int(np.argmax(lows))]
        history.best = [better, *(kept for kept in history.best if kept is not better)]


def _save_and_tidy(run: TrainingRun, history: History) -> None:
    _save(run, history)
    _drop_others(run, history)


def _save(run: TrainingRun, history: History) -> None:
    history.stage_seconds = run.watch.seconds
    write_checkpoint(run.state_path, run.trainer.state(), dataclasses.asdict(history))


def _restore(run: TrainingRun) -> History:
    checkpoint = read_checkpoint(run.state_path)
    if checkpoint is None:
        raise FileNotFoundError(f"The checkpoint must exist. Received: {run.state_path}")
    run.trainer.restore(checkpoint[0])
    return History.from_document(checkpoint[1])


def _halved(
    run: TrainingRun, settings: Hyperparameters, error: Exception, repairs: list[str]
) -> Hyperparameters:
    """Returns the settings of half the batch, or raises `error` when they may not be changed."""
    if run.halve is None or settings.batch_size < 2 * _MIN_REPAIRED_BATCH:
        raise error
    repaired = run.halve(settings)
    repairs.append(
        f"The batch was halved to {repaired.batch_size} and the learning rate lowered to "
        f"{repaired.learning_rate:.3g}, because of: {failure_reason(error)}"
    )
    return repaired


def _advance(
    run: TrainingRun,
    history: History,
    chunks: Iterator[Chunk],
    deadline: Deadline,
    progress: Progress,
) -> list[CurveRow]:
    """Trains up to the next evaluation, evaluates, and returns the new rows of the curves."""
    began = time.monotonic()
    figures = train_until(run, chunks, history, deadline, progress)
    rows = _evaluate_and_keep(run, history, figures)
    history.curves += rows
    history.seconds += time.monotonic() - began
    return rows


def _evaluate_and_keep(
    run: TrainingRun, history: History, figures: dict[str, float]
) -> list[CurveRow]:
    """Evaluates the weights of this step, keeps them when they are good, and returns the rows.

    Args:
        run: The training.
        history: Changed where the weights are kept.
        figures: Of the steps before.
    """
    step = history.step
    metrics, weights = _evaluate_average(run, history.settings.batch_size, step)
    if metrics:
        kept = KeptCheckpoint(step=step, metrics=metrics, file=f"best-{step}.npz")
        _keep_best(run, history, kept, weights)
    else:
        history.num_passed_over += 1
    return [
        CurveRow(step=step, split=split, metric=metric, value=value)
        for split, values in (("train", figures), ("validation", metrics))
        for metric, value in values.items()
        # The gradient of a finite loss can be beyond float32.
        if np.isfinite(value)
    ]


def _evaluate_average(
    run: TrainingRun, batch_size: int, step: int
) -> tuple[dict[str, float], list[np.ndarray]]:
    """Returns the metrics and the variables of the model a user would get at this step."""
    trainer = run.trainer
    if not trainer.averages:
        return evaluate(trainer, run.task, run.validation), trainer.model_variables()
    order = BatchOrder(len(run.train), batch_size, run.seed)
    offsets = range(statistics_batches(len(run.train), batch_size))
    batches = (run.train.pixels(order.indices(step + offset)[0]) for offset in offsets)
    before = trainer.average_weights(batches)
    metrics, weights = evaluate(trainer, run.task, run.validation), trainer.model_variables()
    trainer.set_variables(before)
    return metrics, weights


def _keep_best(
    run: TrainingRun, history: History, entry: KeptCheckpoint, weights: list[np.ndarray]
) -> None:
    """Writes the weights when they are among the best; on a tie the lower loss, then the later.

    Where the last ones count, those of the lowest losses are kept beside them.
    """
    prefers_last = _prefers_last(run)
    ranked = sorted(
        [*history.best, entry],
        key=lambda kept: (
            prefers_last and kept is not entry,
            0.0 if prefers_last else -kept["metrics"].get(run.primary_metric, -np.inf),
            kept["metrics"]["loss"],
            -kept["step"],
        ),
    )
    history.best = ranked[:_KEPT_CHECKPOINTS]
    if entry in history.best:
        write_checkpoint(run.checkpoint_dir / entry["file"], weights, entry)


def _drop_others(run: TrainingRun, history: History) -> None:
    """Deletes weights that no checkpoint names any more; only after the state has been written."""
    kept = {entry["file"] for entry in history.best}
    for path in run.checkpoint_dir.glob("best-*.npz"):
        if path.name not in kept:
            path.unlink()
