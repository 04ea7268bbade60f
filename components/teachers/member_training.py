"""The training of a member, by its own recipe and with the augmentation of the model."""

import dataclasses
import hashlib
import json
import math
from pathlib import Path

import keras
import numpy as np

from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.augmentation.policy import Policy
from kfp_vision.components.shared.datasets.image_cache import ImageCache
from kfp_vision.components.shared.datasets.labelled import LabelledImages
from kfp_vision.components.shared.datasets.loader import BatchOrder
from kfp_vision.components.shared.recipe.evaluations import EVALUATIONS
from kfp_vision.components.shared.recipe.hyperparameters import Hyperparameters
from kfp_vision.components.shared.recipe.initial_weights import starts_pretrained
from kfp_vision.components.shared.runtime.identity import training_identity
from kfp_vision.components.shared.training.checkpoints import Stopwatch
from kfp_vision.components.shared.training.fit import fit
from kfp_vision.components.shared.training.history import History
from kfp_vision.components.shared.training.length import measure_pace
from kfp_vision.components.shared.training.precision import set_precision
from kfp_vision.components.shared.training.pretrained_head import (
    fits_head,
    head_rows,
    start_from_features,
)
from kfp_vision.components.shared.training.run import TrainingRun
from kfp_vision.components.shared.training.setup import build_trainer, open_split
from kfp_vision.components.shared.training.step_time import seconds_per_forward
from kfp_vision.components.teachers.members import PlannedMember

__all__ = ["NoTimeError", "TrainedMember", "train_member"]

# With less time than this nothing is learned.
_LEAST_SECONDS = 5.0


class NoTimeError(RuntimeError):
    """There is no time for a network."""


@dataclasses.dataclass(frozen=True)
class TrainedMember:
    """A network and what its training took.

    Attributes:
        model: Works in float32.
        images_seen: With repetition.
        seconds: Of all processes that it took.
        forward_s: Of one image.
    """

    model: keras.Model
    images_seen: int
    seconds: float
    forward_s: float


def train_member(
    dataset_dir: Path,
    info: DatasetInfo,
    planned: PlannedMember,
    policy: Policy | None,
    rows: np.ndarray | None,
    checkpoint_dir: Path,
    seconds: float,
    num_later: int,
    cache: ImageCache | None,
) -> TrainedMember:
    """Returns a member, the best of its checkpoints on the validation images.

    Args:
        dataset_dir: Folder of the dataset.
        info: Of the dataset.
        planned: Which one.
        policy: Of the augmentation: what the search has kept for the model does no harm to these
            images.
        rows: Training images that it sees, with repetition, int [N]; None for all.
        checkpoint_dir: Outlives a killed task; one that had ended is not trained again.
        seconds: For everything.
        num_later: Images that pass through it later, in the same time.
        cache: Keeps decoded images for other stages and runs; None keeps none.

    Raises:
        DivergenceError: The loss became NaN or exploded.
        NoTimeError: The time is not enough, because it is slow.
        MemoryError, tf.errors.ResourceExhaustedError: It does not fit into memory.
    """
    watch, recipe, seed = Stopwatch(), planned.recipe, planned.seed
    trainer, task, settings = build_trainer(recipe, info, seed, policy)
    train, validation = (
        open_split(dataset_dir, split, recipe, cache) for split in ("train", "validation")
    )
    images = train if rows is None else _drawn(train, rows)
    every = np.arange(len(train)) if rows is None else np.unique(rows)
    augmented = None if policy is None else json.dumps(policy.to_json(), sort_keys=True)
    digest = hashlib.sha256(every.tobytes() if rows is None else rows.tobytes()).hexdigest()
    identity = training_identity(
        dataset_dir, recipe, seed=seed, member=planned.kind, rows=digest, policy=augmented
    )

    def start(settings: Hyperparameters) -> History:
        order = BatchOrder(len(images), settings.batch_size, seed)
        pixels, targets = images.take(order.indices(0)[0])
        if fits_head(recipe, info):
            known, features = head_rows(every, trainer.model), checkpoint_dir / "features"
            start_from_features(trainer, recipe, info, dataset_dir, known, features)
        checks = {"initial_loss": trainer.mean_loss(pixels, targets)}
        steps, evaluations, ends = settings.steps, EVALUATIONS, None
        if seconds < math.inf:
            pace = measure_pace(trainer, pixels, targets, len(images), len(validation))
            ends = seconds - num_later * pace.forward_s
            if num_later and ends - watch.seconds < _LEAST_SECONDS:
                raise NoTimeError(
                    f"its evaluation and export, {num_later:,} images, take {seconds - ends:.0f} s "
                    "and leave no time to train it; `max_minutes` gives it more"
                )
            steps, evaluations = pace.length_within(ends - watch.seconds, steps)
        return History(settings, steps, checks, num_evaluations=evaluations, ends=ends)

    run = TrainingRun(
        trainer,
        task,
        images,
        validation,
        primary_metric=recipe.value("data", "primary_metric"),
        checkpoint_dir=checkpoint_dir / f"teacher-{identity}",
        start=start,
        evaluates_start=starts_pretrained(recipe),
        seed=seed,
        watch=watch,
    )
    history = fit(run, settings)
    seen, taken = history.step * history.settings.batch_size, watch.seconds
    pixels = images.pixels(np.arange(min(len(images), history.settings.batch_size)))
    forward_s = seconds_per_forward(trainer, pixels) / len(pixels)
    set_precision(trainer.model, "float32")
    return TrainedMember(trainer.model, seen, taken, forward_s)


def _drawn(images: LabelledImages, rows: np.ndarray) -> LabelledImages:
    """Returns some images, with repetition."""
    return LabelledImages(images.source, lambda places: images.read_targets(rows[places]), rows)
