"""A training on some of the images with labels, whose network serves to judge or to teach.

Shapes: N training images, N' of them learned.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.datasets.labelled import LabelledImages
from kfp_vision.components.shared.recipe.document import Recipe
from kfp_vision.components.shared.recipe.hyperparameters import Hyperparameters
from kfp_vision.components.shared.runtime.identity import training_identity
from kfp_vision.components.shared.tasks import Task
from kfp_vision.components.shared.training.checkpoints import Stopwatch
from kfp_vision.components.shared.training.fit import fit
from kfp_vision.components.shared.training.history import History
from kfp_vision.components.shared.training.pretrained_head import (
    fits_head,
    head_rows,
    start_from_features,
)
from kfp_vision.components.shared.training.run import TrainingRun
from kfp_vision.components.shared.training.setup import build_trainer, recipe_policy
from kfp_vision.components.shared.training.start_weights import start_from, weights_digest
from kfp_vision.components.shared.training.trainer import Trainer

__all__ = ["TrainedPart", "select_rows", "train_part"]


class TrainedPart(NamedTuple):
    """A trainer at its last step, its task, and how the training went."""

    trainer: Trainer
    task: Task
    history: History


def select_rows(train: LabelledImages, rows: np.ndarray) -> LabelledImages:
    """Returns some of the training images, int [N'], as all that are learned."""
    read = train.read_targets
    return LabelledImages(train.source, lambda positions: read(rows[positions]), rows)


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
    watch: Stopwatch,
    name: str,
    begin: Callable[[Trainer, LabelledImages, Hyperparameters], History],
    **changes: Any,
) -> TrainedPart:
    """Trains by a recipe on some of the images with labels; the last weights count.

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
        watch: Of the stage.
        name: Tells its checkpoints from those of other trainings on the same images.
        begin: Returns the history before the first step; called when there is no checkpoint.
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
        return begin(trainer, learned, settings)

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
