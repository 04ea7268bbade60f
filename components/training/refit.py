"""The second training: on the training and the validation images, as long as the first was good.

Nothing is held out from it. What the validation images have decided, the length and the
temperature, comes from the first one (Goodfellow et al., 2016, section 7.8, algorithm 7.2).
"""

import dataclasses
from pathlib import Path

import keras
import numpy as np

from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.datasets.image_cache import ImageCache
from kfp_vision.components.shared.recipe import budget
from kfp_vision.components.shared.recipe.document import Recipe
from kfp_vision.components.shared.recipe.hyperparameters import Hyperparameters
from kfp_vision.components.shared.runtime.identity import training_identity
from kfp_vision.components.shared.runtime.progress import Progress
from kfp_vision.components.shared.training.checkpoints import Stopwatch
from kfp_vision.components.shared.training.fit import fit
from kfp_vision.components.shared.training.history import History
from kfp_vision.components.shared.training.pretrained_head import (
    fits_head,
    head_rows,
    start_from_features,
)
from kfp_vision.components.shared.training.run import TrainingRun
from kfp_vision.components.shared.training.setup import build_trainer, open_split, recipe_policy
from kfp_vision.components.training.opening import repair

__all__ = ["Refit", "fit_again", "fit_head_again"]

_JOINED = "train+validation"


@dataclasses.dataclass(frozen=True)
class Refit:
    """The second training.

    Attributes:
        model: Trained on all labelled images but those of the test.
        images: Number of these images.
        steps: Steps; 0 where only a head was fitted.
        planned_steps: Steps where time had been no limit.
    """

    model: keras.Model
    images: int
    steps: int = 0
    planned_steps: int = 0


def fit_head_again(
    dataset_dir: Path, recipe: Recipe, info: DatasetInfo, features: Path, seed: int
) -> Refit:
    """Returns a pretrained network whose head fits the features of both splits.

    A model file with its own head is returned as it is.
    """
    trainer, _, _ = build_trainer(recipe, info, seed)
    if not fits_head(recipe, info):
        return Refit(trainer.model, 0)
    rows = head_rows(np.arange(info.splits["train"] + info.splits["validation"]), trainer.model)
    start_from_features(trainer, recipe, info, dataset_dir, rows, features, _JOINED)
    return Refit(trainer.model, len(rows))


def fit_again(
    dataset_dir: Path,
    recipe: Recipe,
    info: DatasetInfo,
    first: History,
    checkpoint_dir: Path,
    seed: int,
    cache: ImageCache | None,
    watch: Stopwatch,
) -> Refit:
    """Trains a network on both splits for as many epochs as the best checkpoint had seen.

    Where time limits the first training, it limits this one, too.

    Args:
        dataset_dir: Folder of the dataset.
        recipe: Complete.
        info: Of the dataset.
        first: The training that was judged.
        checkpoint_dir: As of `train_model`.
        seed: Of weights, order and augmentation.
        cache: As of `train_model`.
        watch: Stopwatch of the stage.
    """
    features, best_step = checkpoint_dir / "features", first.best[0]["step"]
    if not best_step:
        return fit_head_again(dataset_dir, recipe, info, features, seed)
    trainer, task, _ = build_trainer(recipe, info, seed, recipe_policy(recipe))
    joined = open_split(dataset_dir, _JOINED, recipe, cache)
    with Progress("read all labelled images"):
        joined.source.load_all()
    share = len(joined) / info.splits["train"]
    steps = max(2, round(best_step * share))

    def start(settings: Hyperparameters) -> History:
        if fits_head(recipe, info):
            rows = head_rows(np.arange(len(joined)), trainer.model)
            start_from_features(trainer, recipe, info, dataset_dir, rows, features, _JOINED)
        ends = _end(first, share)
        if ends is not None:
            ends = max(ends, watch.seconds + budget.least_training_seconds(recipe))
        return History(
            settings, steps, first.checks, num_evaluations=first.num_evaluations, ends=ends
        )

    identity = training_identity(dataset_dir, recipe, seed=seed, steps=steps, split=_JOINED)
    run = TrainingRun(
        trainer,
        task,
        joined,
        # Where the loop looks it writes a checkpoint; what it sees decides nothing.
        open_split(dataset_dir, "validation", recipe, cache),
        primary_metric=recipe.value("data", "primary_metric"),
        checkpoint_dir=checkpoint_dir / identity,
        start=start,
        keeps_last=True,
        halve=repair(recipe),
        seed=seed,
        watch=watch,
    )
    history = fit(run, first.settings)
    return Refit(trainer.model, len(joined), history.total_steps, history.planned_steps)


def _end(first: History, share: float) -> float | None:
    """Returns when the second training has to be over, in seconds of the stage; None for no limit.

    The first one was given its part of the time of both, see `stage_times.training_share`: what it
    has left over is there for the second, and what it has taken too much is not.

    Args:
        first: The training that was judged.
        share: Images of the second over those of the first.
    """
    if first.ends is None:
        return None
    return first.ends + share * (first.ends - first.setup_seconds)
