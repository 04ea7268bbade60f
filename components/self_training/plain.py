"""A network that learns from labels alone: it teaches students where few images judge.

Shapes: N training images, N' of them learned.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.datasets.labelled import LabelledImages
from kfp_vision.components.shared.recipe.document import Recipe
from kfp_vision.components.shared.recipe.evaluations import STATISTICS_BATCHES
from kfp_vision.components.shared.training.checkpoints import Stopwatch
from kfp_vision.components.shared.training.history import History
from kfp_vision.components.shared.training.part_training import train_part
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
    given = (dataset_dir, recipe, info, train, validation, rows, weights, checkpoint_dir, seed)
    trainer, _, history = train_part(*given, ends, watch, "plain", ema_momentum=0.0)
    sample = rows[: STATISTICS_BATCHES * history.settings.batch_size]
    trainer.recalibrate_batch_norm(images for images, _ in train.batches_of(sample))
    return trainer, history
