"""A training on some of the images with labels, whose network serves to judge or to teach.

Shapes: N training images, N' of them learned.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.datasets.labelled import LabelledImages
from kfp_vision.components.shared.datasets.loader import BatchOrder
from kfp_vision.components.shared.recipe.document import Recipe
from kfp_vision.components.shared.recipe.hyperparameters import Hyperparameters
from kfp_vision.components.shared.runtime.identity import training_identity
from kfp_vision.components.shared.tasks import Task
from kfp_vision.components.shared.training.checkpoints import Stopwatch
from kfp_vision.components.shared.training.fit import fit
from kfp_vision.components.shared.training.history import History
from kfp_vision.components.shared.training.length import measure_pace
from kfp_vision.components.shared.training.pretrained_head import (
    fits_head,
    head_rows,
    start_from_features,
)
from kfp_vision.components.shared.training.run import TrainingRun
from kfp_vision.components.shared.training.setup import build_trainer, recipe_policy
from kfp_vision.components.shared.training.start_weights import start_from, weights_digest
from kfp_vision.components.shared.training.trainer import Trainer

__all__ = ["TrainedPart", "first_history", "select_rows", "train_part"]

_EVALUATIONS = 3


class TrainedPart(NamedTuple):
    """A trainer at its last step, its task, and how the training went."""

    trainer: Trainer
    task: Task
    history: History


def select_rows(train: LabelledImages, rows: np.ndarray) -> LabelledImages:
    """Returns some of the training images, int [N'], as all that are learned."""
    read = train.read_targets
    return LabelledImages(train.source, lambda positions: read(rows[positions]), rows)


def first_history(
    trainer: Trainer,
    images: LabelledImages,
    num_validation: int,
    settings: Hyperparameters,
    steps: int,
    seed: int,
    ends: float,
    watch: Stopwatch,
) -> History:
    """Returns the history of a training before its first step, as long as there is time for.

    Args:
        trainer: At its start.
        images: That are learned.
        num_validation: Validation images.
        settings: Of the training.
        steps: Where time is no limit.
        seed: Of the order of the images.
        ends: When it has to be over, in seconds of the stage; infinite where time is no limit.
        watch: Of the stage.
    """
    order = BatchOrder(len(images), settings.batch_size, seed)
    pixels, targets = images.take(order.indices(0)[0])
    checks = {"initial_loss": trainer.mean_loss(pixels, targets)}
    if ends == math.inf:
        return History(settings, steps, checks, num_evaluations=_EVALUATIONS)
    pace = measure_pace(trainer, pixels, targets, len(images), num_validation)
    length = pace.length_within(ends - watch.seconds, steps, _EVALUATIONS)
    return History(settings, length[0], checks, num_evaluations=length[1], ends=ends)


def train_part(
    dataset_dir: Path,
    recipe: Recipe,
    info: DatasetInfo,
    train: LabelledImages,
    validation: LabelledImages,
    rows: np.ndarray,
    weights: Sequence[np.ndarray] | None,
    checkpoint_dir: Path,
    seed: int,
    ends: float,
    watch: Stopwatch,
    name: str,
    most_steps: float = math.inf,
    **changes: Any,
) -> TrainedPart:
    """Trains by a recipe on some of the images with labels; the last weights count.

    As long as by the recipe, in passes over the images, or as there is time.

    Args:
        dataset_dir: Folder of the dataset.
        recipe: Complete.
        info: Of the dataset.
        train: Training images.
        validation: Of the evaluations in between, which decide nothing.
        rows: Which of the training images are learned, int [N'].
        weights: Of a pretraining, to start from; None for the start that the recipe has without.
        checkpoint_dir: Outlives a killed task.
        seed: Of weights, order and augmentation.
        ends: When it has to be over, in seconds of the stage; infinite where time is no limit.
        watch: Of the stage.
        name: Tells its checkpoints from those of other trainings on the same images.
        most_steps: At most so many.
        changes: As of `build_trainer`.
    """
    trainer, task, settings = build_trainer(recipe, info, seed, recipe_policy(recipe), **changes)
    learned = select_rows(train, rows)

    def start(settings: Hyperparameters) -> History:
        if weights is not None:
            start_from(trainer, weights, recipe, info, train, rows)
        elif fits_head(recipe, info):
            few, features = head_rows(rows, trainer.model), checkpoint_dir / "features"
            start_from_features(trainer, recipe, info, dataset_dir, few, features)
        steps = max(2, round(settings.steps * len(rows) / len(train)))
        length = round(min(steps, most_steps))
        given = (trainer, learned, len(validation), settings, length, seed)
        return first_history(*given, ends, watch)

    about = {name: weights_digest(weights or []), "known": weights_digest([rows])}
    run = TrainingRun(
        trainer,
        task,
        learned,
        validation,
        primary_metric=recipe.value("data", "primary_metric"),
        checkpoint_dir=checkpoint_dir / training_identity(dataset_dir, recipe, seed=seed, **about),
        start=start,
        keeps_last=True,
        seed=seed,
        watch=watch,
    )
    return TrainedPart(trainer, task, fit(run, settings))
