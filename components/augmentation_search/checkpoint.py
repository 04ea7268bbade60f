"""The common checkpoint of the trials: a short training, and whether it has learned anything."""

import math
from pathlib import Path

import numpy as np
import tensorflow as tf

from kfp_vision.components.shared.artifacts.augmentation_table import CheckpointPlan
from kfp_vision.components.shared.datasets.labelled import LabelledImages
from kfp_vision.components.shared.datasets.loader import images_per_batch
from kfp_vision.components.shared.runtime.progress import Progress
from kfp_vision.components.shared.search.short_training import run_steps
from kfp_vision.components.shared.tasks import Outputs, Records, Targets, Task
from kfp_vision.components.shared.tasks.records import whole_set_metrics
from kfp_vision.components.shared.training.checkpoints import (
    Stopwatch,
    read_checkpoint,
    write_checkpoint,
)
from kfp_vision.components.shared.training.trainer import Trainer

__all__ = ["metric_above_chance", "train_checkpoint"]

_SAVES = 6
# A checkpoint whose metric is within so many standard deviations of that of shuffled predictions
# has not learned enough to say what keeps a label.
_SIGMAS, _SHUFFLES = 3.0, 32


def train_checkpoint(
    trainer: Trainer,
    train: LabelledImages,
    subset: np.ndarray,
    plan: CheckpointPlan,
    watch: Stopwatch,
    seed: int,
    checkpoint_dir: Path,
) -> str:
    """Trains without augmentation at a warmed-up rate; a killed training is resumed.

    Returns:
        Why the checkpoint is of no use; empty where it is.

    Args:
        trainer: Has not taken a step.
        train: Training images.
        subset: Rows of `train` that are learned.
        plan: Length of the training.
        watch: Seconds of the processes before this one are added to it.
        seed: Seed of the order of the images.
        checkpoint_dir: Outlives a killed task; belongs to this search alone.
    """
    path = checkpoint_dir / "search.npz"
    restored, step = read_checkpoint(path), 0
    if restored is not None:
        trainer.restore(restored[0])
        step = restored[1]["step"]
        watch.resume(restored[1]["seconds"])
    steps = plan.steps
    rates = plan.peak_rate * np.minimum(1.0, np.arange(1, steps + 1) / plan.warmup_steps)
    with Progress("train the checkpoint", steps, "steps", step) as progress:
        for done, losses in run_steps(trainer, train, subset, rates, plan.batch_size, seed, step):
            if not np.isfinite(losses).all():
                return (
                    f"the loss of its checkpoint was no longer finite after {done:,} of "
                    f"{steps:,} steps"
                )
            progress.update(done)
            if done * _SAVES // steps > step * _SAVES // steps:
                write_checkpoint(path, trainer.state(), {"step": done, "seconds": watch.seconds})
            step = done
    return ""


def metric_above_chance(
    trainer: Trainer,
    task: Task,
    checked: tuple[np.ndarray, dict[str, np.ndarray]],
    primary: str,
    seed: int,
) -> tuple[float, str]:
    """Returns how far the checkpoint's metric is above that of shuffled predictions.

    The second value says why the checkpoint is too weak to measure with; empty when it is not.

    Args:
        trainer: Holds the checkpoint.
        task: Task of the images.
        checked: Held-out images and their targets.
        primary: The metric.
        seed: Seed of the shuffling.
    """
    images, targets = checked
    parts = np.array_split(images, math.ceil(len(images) / images_per_batch(*images.shape[1:3])))
    batches = [task.decode(trainer.outputs(pixels)) for pixels in parts]
    predictions = tf.nest.map_structure(lambda *each: np.concatenate(each), *batches)
    if not all(np.isfinite(each).all() for each in tf.nest.flatten(predictions)):
        return 0.0, "what its checkpoint says of held-out images is not finite"
    known = whole_set_metrics(task, task.record(targets, predictions)).get(primary)
    if known is None:
        return 0.0, f"the {primary} of its {len(images)} images is not defined"
    chance, scatter = _chance(task, targets, predictions, primary, seed)
    if known <= chance + _SIGMAS * scatter:
        return 0.0, (
            f"the {primary} on {len(images)} held-out images is {known:.3g}, not significantly "
            f"above the {chance:.3g} of shuffled predictions"
        )
    return known - chance, ""


def _chance(
    task: Task, targets: Targets, predictions: Outputs, primary: str, seed: int
) -> tuple[float, float]:
    """Returns mean and standard deviation of the metric where no prediction is of its image."""
    generator = np.random.default_rng(seed)
    found = [
        whole_set_metrics(task, _shuffled(task, targets, predictions, generator)).get(primary, 0)
        for _ in range(_SHUFFLES)
    ]
    return float(np.mean(found)), float(np.std(found))


def _shuffled(
    task: Task, targets: Targets, predictions: Outputs, generator: np.random.Generator
) -> Records:
    """Returns the records of images with the predictions of others."""
    order = generator.permutation(len(tf.nest.flatten(predictions)[0]))
    return task.record(targets, tf.nest.map_structure(lambda each: each[order], predictions))
