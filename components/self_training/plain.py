"""A network that learns from labels alone: it teaches students where few images judge.

Shapes: N training images, N' of them learned.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kfp_vision.components.self_training.student import first_history
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.datasets.labelled import LabelledImages
from kfp_vision.components.shared.recipe.document import Recipe
from kfp_vision.components.shared.recipe.hyperparameters import Hyperparameters
from kfp_vision.components.shared.runtime.identity import training_identity
from kfp_vision.components.shared.training.checkpoints import Stopwatch
from kfp_vision.components.shared.training.fit import STATISTICS_BATCHES, fit
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

__all__ = ["train_plain"]


def train_plain(
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
) -> tuple[Trainer, History]:
    """Returns the network of a recipe, trained on some of the images with labels, and how it went.

    As long as by the recipe, in passes over the images, or as there is time; the last weights
    count.

    Args:
        dataset_dir: Folder of the dataset.
        recipe: Complete; every layer learns.
        info: Of the dataset.
        train: Training images.
        validation: Of the evaluations in between, which decide nothing.
        rows: Which of the training images are learned, int [N'].
        weights: Of a pretraining that the training has started from; None for none.
        checkpoint_dir: Outlives a killed task.
        seed: Of weights, order and augmentation.
        ends: When it has to be over, in seconds of the stage; infinite where time is no limit.
        watch: Of the stage.
    """
    policy = recipe_policy(recipe)
    trainer, task, settings = build_trainer(recipe, info, seed, policy, ema_momentum=0.0)
    read = train.read_targets
    learned = LabelledImages(train.source, lambda positions: read(rows[positions]), rows)

    def start(settings: Hyperparameters) -> History:
        if weights is not None:
            start_from(trainer, weights, recipe, info, train, rows)
        elif fits_head(recipe, info):
            few, features = head_rows(rows, trainer.model), checkpoint_dir / "features"
            start_from_features(trainer, recipe, info, dataset_dir, few, features)
        steps = max(2, round(settings.steps * len(rows) / len(train)))
        given = (trainer, learned, len(validation), settings, steps, seed)
        return first_history(*given, ends, watch)

    about = {"plain": weights_digest(weights or []), "known": weights_digest([rows])}
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
    history = fit(run, settings)
    sample = rows[: STATISTICS_BATCHES * settings.batch_size]
    trainer.recalibrate_batch_norm(images for images, _ in train.batches_of(sample))
    return trainer, history
