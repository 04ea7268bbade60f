"""A student: the network is trained again, on all images, where there is no label by a teacher.

Shapes: N training images, K without labels.
"""

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kfp_vision.components.self_training.arm import Arm
from kfp_vision.components.self_training.pool import Pool
from kfp_vision.components.self_training.teacher import Teacher
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.augmentation.known_policies import shifts
from kfp_vision.components.shared.datasets.labelled import LabelledImages
from kfp_vision.components.shared.datasets.loader import BatchOrder
from kfp_vision.components.shared.recipe.document import Recipe
from kfp_vision.components.shared.recipe.hyperparameters import Hyperparameters
from kfp_vision.components.shared.recipe.unlabeled import lesson_images
from kfp_vision.components.shared.runtime.identity import training_identity
from kfp_vision.components.shared.runtime.progress import Progress
from kfp_vision.components.shared.search.short_training import run_steps
from kfp_vision.components.shared.training.checkpoints import Stopwatch
from kfp_vision.components.shared.training.fit import STATISTICS_BATCHES, fit
from kfp_vision.components.shared.training.history import History
from kfp_vision.components.shared.training.length import measure_pace
from kfp_vision.components.shared.training.pretrained_head import fits_head, start_from_features
from kfp_vision.components.shared.training.run import TrainingRun
from kfp_vision.components.shared.training.schedules import warmup_cosine
from kfp_vision.components.shared.training.setup import build_trainer, recipe_policy
from kfp_vision.components.shared.training.soft_targets import Views, taught_images
from kfp_vision.components.shared.training.start_weights import start_from
from kfp_vision.components.shared.training.trainer import Trainer

__all__ = ["soft_labels", "train_plain", "train_student"]

_EVALUATIONS = 3
_LARGEST = 6e4  # Of float16, nearly.


def soft_labels(
    outputs: np.ndarray, known: np.ndarray, num_labelled: int, rows: np.ndarray, arm: Arm
) -> Views:
    """Returns what a student sees: every image once a pass, and those with labels more often.

    Args:
        outputs: Of the teacher, for all images without labels, as they are to be taught, [U, C].
        known: Which of the images with labels, int [N'].
        num_labelled: N.
        rows: Which of the images without labels, int [K].
        arm: How often those with labels.
    """
    wanted = arm.labelled_share / (1 - arm.labelled_share) * len(rows)
    repeats = max(1, round(wanted / len(known)))
    labelled = np.tile(known, repeats)
    views = np.repeat(np.arange(repeats), len(known))
    taught = np.clip(outputs[rows], -_LARGEST, _LARGEST)
    return Views(
        np.concatenate([labelled, num_labelled + rows]).astype(np.int32),
        np.concatenate([views, np.zeros(len(rows), int)]).astype(np.int32),
        np.concatenate([np.zeros((len(labelled), outputs.shape[1])), taught]).astype(np.float16),
    )


def train_plain(
    dataset_dir: Path,
    recipe: Recipe,
    info: DatasetInfo,
    train: LabelledImages,
    rows: np.ndarray,
    feature_dir: Path,
    start: Sequence[np.ndarray] | None,
) -> Trainer:
    """Returns the network of a recipe, trained on some of the images with labels alone.

    As long as by the recipe, in passes over the images; the last weights count.

    Args:
        dataset_dir: Folder of the dataset.
        recipe: Of the training.
        info: Of the dataset.
        train: Training images.
        rows: Which of them, int [N'].
        feature_dir: As of `start_from_features`.
        start: Weights of a pretraining that the training has started from; None for none.
    """
    trainer, _, settings = build_trainer(recipe, info, 0, recipe_policy(recipe), ema_momentum=0.0)
    if start is not None:
        start_from(trainer, start, recipe, info, train, rows)
    elif fits_head(recipe, info):
        start_from_features(trainer, recipe, info, dataset_dir, rows, feature_dir)
    if recipe.value("model", "trainable") == "head":
        return trainer
    steps = max(2, round(settings.steps * len(rows) / len(train)))
    warmup = min(settings.warmup_steps, steps // 2)
    rates = warmup_cosine(np.arange(steps), settings.learning_rate, warmup, steps)
    with Progress("train on half of the labels", steps, "steps") as progress:
        for done, _ in run_steps(trainer, train, rows, rates, settings.batch_size, 0):
            progress.update(done)
    sample = rows[: STATISTICS_BATCHES * settings.batch_size]
    trainer.recalibrate_batch_norm(images for images, _ in train.batches_of(sample))
    return trainer


def train_student(
    dataset_dir: Path,
    recipe: Recipe,
    info: DatasetInfo,
    pool: Pool,
    teacher: Teacher,
    lesson: Views,
    arm: Arm,
    checkpoint_dir: Path,
    seed: int,
    seconds: float,
) -> tuple[Trainer, History]:
    """Returns the student at its last step, and how its training went.

    Args:
        dataset_dir: Folder of the dataset.
        recipe: Complete; every layer learns.
        info: Of the dataset.
        pool: The images of the lesson.
        teacher: Its weights are the start: a student from others would have to learn again what
            the teacher knows, in the time for what it does not.
        lesson: Of `soft_labels`.
        arm: How it learns.
        checkpoint_dir: Outlives a killed task.
        seed: Of weights, order and augmentation.
        seconds: For steps, evaluations and checkpoints.
    """
    policy = recipe_policy(recipe) or shifts()
    trainer, task, settings = build_trainer(recipe, info, seed, policy, arm.teaching, arm.trainer)
    taught = taught_images(pool.joined, pool.train, lesson)
    watch = Stopwatch()
    digest = hashlib.sha256(f"{arm.name} {teacher.digest}".encode())
    digest.update(lesson.rows.tobytes() + lesson.outputs.tobytes())

    def start(settings: Hyperparameters) -> History:
        order = BatchOrder(len(taught), settings.batch_size, seed)
        pixels, targets = taught.take(order.indices(0)[0])
        trainer.model.set_weights(teacher.model.get_weights())
        trainer.restart_average()
        checks = {"initial_loss": trainer.mean_loss(pixels, targets)}
        unlabeled = int((lesson.rows >= len(pool.train)).sum())
        planned = lesson_images(unlabeled, settings.steps * settings.batch_size)
        steps, evaluations = math.ceil(planned / settings.batch_size), _EVALUATIONS
        ends = None
        if seconds < math.inf:
            pace = measure_pace(trainer, pixels, targets, len(taught), len(pool.validation))
            steps, evaluations = pace.length_within(seconds - watch.seconds, steps, evaluations)
            ends = seconds
        return History(settings, steps, checks, num_evaluations=evaluations, ends=ends)

    run = TrainingRun(
        trainer,
        task,
        taught,
        pool.validation,
        primary_metric=recipe.value("data", "primary_metric"),
        checkpoint_dir=checkpoint_dir
        / training_identity(dataset_dir, recipe, seed=seed, lesson=digest.hexdigest()),
        start=start,
        keeps_last=True,
        seed=seed,
        watch=watch,
    )
    return trainer, fit(run, settings)
