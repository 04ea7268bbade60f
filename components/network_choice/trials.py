"""Short trainings of the candidates, and their calibrated losses on the held-out images.

Shapes: M held-out images.
"""

import dataclasses
import hashlib
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from kfp_vision.components.network_choice.candidates import Candidate
from kfp_vision.components.network_choice.images import Division
from kfp_vision.components.network_choice.time_left import TRAINED_PER_SECOND
from kfp_vision.components.shared.architectures.multiply_adds import count_multiply_adds
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.augmentation.known_policies import flip_and_crop
from kfp_vision.components.shared.augmentation.policy import IDENTITY
from kfp_vision.components.shared.datasets.image_cache import ImageCache
from kfp_vision.components.shared.datasets.labelled import LabelledImages
from kfp_vision.components.shared.recipe.document import Recipe
from kfp_vision.components.shared.recipe.evaluations import STATISTICS_BATCHES
from kfp_vision.components.shared.recipe.hyperparameters import Hyperparameters
from kfp_vision.components.shared.recipe.initial_weights import starts_pretrained
from kfp_vision.components.shared.runtime.memory import MIB, available_memory_bytes
from kfp_vision.components.shared.runtime.progress import Progress
from kfp_vision.components.shared.search.scoring import scored_losses
from kfp_vision.components.shared.search.short_training import run_steps
from kfp_vision.components.shared.tasks import task_of
from kfp_vision.components.shared.tasks.baselines import Samples
from kfp_vision.components.shared.tasks.frozen_baseline import LinearHead, fit_head
from kfp_vision.components.shared.training.checkpoints import (
    StageWatch,
    read_checkpoint,
    write_checkpoint,
)
from kfp_vision.components.shared.training.pretrained_head import (
    fits_head,
    read_samples,
    set_head,
)
from kfp_vision.components.shared.training.schedules import warmup_cosine
from kfp_vision.components.shared.training.setup import (
    build_trainer,
    open_split,
    recipe_class_weights,
)
from kfp_vision.components.shared.training.step_memory import least_memory_mib
from kfp_vision.components.shared.training.step_time import seconds_per_step
from kfp_vision.components.shared.training.trainer import Trainer

__all__ = ["NetworkSize", "TrialResult", "Trials"]

# A faster machine than that of `TRAINED_PER_SECOND` takes as many more steps, a slower one up to so
# many times as long.
_PATIENCE = 2.0


@dataclasses.dataclass(frozen=True)
class TrialResult:
    """What a trial showed.

    Attributes:
        losses: Calibrated, of each held-out image in nats, float [M]; NaN where it diverged.
        images_seen: In its steps.
        seconds: Of everything.
        seconds_per_image: Of its steps; 0 for a frozen network.
        multiply_adds: Of one image, in inference; 0 where it did not fit into memory.
    """

    losses: np.ndarray
    images_seen: int
    seconds: float
    seconds_per_image: float
    multiply_adds: int


class NetworkSize(NamedTuple):
    """What an image costs in a network and in the fit of its head, and to how many at most."""

    multiply_adds: int
    head_multiply_adds: int
    most_head_images: int


class _Prepared(NamedTuple):
    """A compiled trainer, its settings and state at the start, and seconds of an image."""

    trainer: Trainer
    settings: Hyperparameters
    start: list[np.ndarray]
    pace: float


class Trials:
    """Runs trials; those that had ended before the process was killed are read from their files."""

    def __init__(
        self,
        dataset_dir: Path,
        info: DatasetInfo,
        division: Division,
        seconds: float,
        seed: int,
        folder: Path,
        feature_dir: Path,
        size_of: Callable[[Candidate], NetworkSize],
        head_rows: int,
        watch: StageWatch,
        cache: ImageCache | None = None,
    ) -> None:
        """Runs nothing yet.

        Args:
            dataset_dir: Folder of the dataset.
            info: Of the dataset.
            division: Which images are learned and which judge.
            seconds: Of the steps of a trial of the first round.
            seed: Of weights and order.
            folder: Outlives a killed task; belongs to this choice alone.
            feature_dir: Keeps features of frozen networks.
            size_of: Returns the size of a frozen network.
            head_rows: Training images that heads are fitted on, at most; two a class in any case.
            watch: Of the stage; a speed is measured once.
            cache: Keeps decoded images for other stages and runs; None keeps none.
        """
        self._dataset_dir, self._info, self._division = dataset_dir, info, division
        self._seconds, self._seed = seconds, seed
        self._folder, self._feature_dir = folder, feature_dir
        self._cache, self._size_of, self._watch = cache, size_of, watch
        self._head_rows = division.known[: max(head_rows, 2 * len(info.classes))]
        self._heads: dict[tuple[str, bool], LinearHead] = {}
        self._prepared: dict[Candidate, _Prepared] = {}

    @property
    def num_held_out(self) -> int:
        """Images that judge."""
        return sum(map(len, self._division.held_out))

    @property
    def num_head_images(self) -> int:
        """Training images that heads are fitted on."""
        return len(self._head_rows)

    def run(
        self, candidate: Candidate, recipe: Recipe, factor: int, augmented: bool = False
    ) -> TrialResult:
        """Returns the result of a trial of `factor` times the length.

        Args:
            candidate: What is tried.
            recipe: Complete, of this candidate.
            factor: 1 in the first round.
            augmented: Whether its images are mirrored and shifted: the last trial of a
                pretrained network.
        """
        # The folder says of which model file; its path says nothing.
        about_it = json.dumps([candidate.values, factor, augmented])
        digest = hashlib.sha256(about_it.encode()).hexdigest()[:16]
        path = self._folder / f"{digest}.npz"
        held = read_checkpoint(path)
        if held is not None:
            return TrialResult(losses=held[0][0], **held[1])
        began = time.monotonic()
        try:
            if candidate.trainable == "head":
                losses, seen, pace = self.frozen_losses(recipe), self.num_head_images, 0.0
                cost = self._size_of(candidate).multiply_adds
            else:
                losses, seen, pace, cost = self._run_steps(candidate, recipe, factor, augmented)
        except (MemoryError, tf.errors.ResourceExhaustedError):
            seen, pace, cost = 0, 0.0, 0
            losses = np.full(self.num_held_out, math.nan)
        result = TrialResult(losses, seen, time.monotonic() - began, pace, cost)
        about = {k: v for k, v in dataclasses.asdict(result).items() if k != "losses"}
        write_checkpoint(path, [losses], about)
        self._watch.save()
        return result

    def frozen_losses(self, recipe: Recipe, *, is_shuffled: bool = False) -> np.ndarray:
        """Returns the losses of a head on the features of a network, float [M].

        Args:
            recipe: Complete, of that network.
            is_shuffled: As of `FrozenBackbone`.
        """
        head = self._fit_head(recipe, is_shuffled)
        held = [
            self._samples(recipe, split, rows, is_shuffled)
            for split, rows in zip(("validation", "train"), self._division.held_out, strict=True)
            if len(rows)
        ]
        said = (({"label": each.labels}, head(each.features)) for each in held)
        return scored_losses(task_of(self._info), said, recipe_class_weights(recipe))

    def _samples(self, recipe: Recipe, split: str, rows: np.ndarray, is_shuffled: bool) -> Samples:
        where = self._info, self._dataset_dir, split, rows, self._feature_dir
        return read_samples(recipe, *where, is_shuffled)

    def _fit_head(self, recipe: Recipe, is_shuffled: bool = False) -> LinearHead:
        key = str(recipe.value("model", "image_size")), is_shuffled
        if key not in self._heads:
            samples = self._samples(recipe, "train", self._head_rows, is_shuffled)
            if not np.isfinite(samples.features).all():
                # Shuffled kernels may let numbers grow from layer to layer.
                return LinearHead(np.full((samples.features.shape[1], 1), np.nan), np.zeros(1))
            balanced = recipe_class_weights(recipe) is not None
            self._heads[key] = fit_head(samples, None, len(self._info.classes), balanced)
        return self._heads[key]

    def _run_steps(
        self, candidate: Candidate, recipe: Recipe, factor: int, augmented: bool
    ) -> tuple[np.ndarray, int, float, int]:
        train, validation = (
            open_split(self._dataset_dir, split, recipe, self._cache)
            for split in ("train", "validation")
        )
        if candidate not in self._prepared:
            self._prepared[candidate] = self._prepare(candidate, recipe, train)
        trainer, settings, start, pace = self._prepared[candidate]
        trainer.restore(start)
        if augmented:
            trainer.use_policy(flip_and_crop())
        known, batch_size = self._division.known, settings.batch_size
        cost = count_multiply_adds(trainer.model)
        # Not more passes than the whole training makes.
        longest = settings.steps * batch_size * len(known) / len(train)
        # Forwards, and twice as much backwards.
        nominal = TRAINED_PER_SECOND / (3 * cost)
        speed = min(max(nominal, 1 / pace), _PATIENCE / pace)
        steps = max(2, round(min(factor * self._seconds * speed, longest) / batch_size))
        rates = warmup_cosine(
            np.arange(steps), settings.learning_rate, min(settings.warmup_steps, steps // 2), steps
        )
        with Progress(f"try {candidate.name}", steps, "steps") as progress:
            for done, losses in run_steps(trainer, train, known, rates, batch_size, self._seed):
                progress.update(done)
                if not np.isfinite(losses).all():
                    break
        sample = known[: min(len(known), STATISTICS_BATCHES * batch_size)]
        trainer.recalibrate_batch_norm(images for images, _ in train.batches_of(sample))
        with Progress(f"score {candidate.name}"):
            said = (
                (targets, trainer.outputs(images))
                for split, rows in zip((validation, train), self._division.held_out, strict=True)
                if len(rows)
                for images, targets in split.batches(rows)
            )
            losses = scored_losses(task_of(self._info), said, recipe_class_weights(recipe))
        return losses, steps * batch_size, pace, cost

    def _prepare(self, candidate: Candidate, recipe: Recipe, train: LabelledImages) -> _Prepared:
        policy = IDENTITY if starts_pretrained(recipe) else None
        trainer, _, settings = build_trainer(
            recipe, self._info, self._seed, policy, ema_momentum=0.0
        )
        # A system that kills for memory leaves nobody to catch an error.
        if least_memory_mib(trainer.model, settings.batch_size) > available_memory_bytes() / MIB:
            raise MemoryError(candidate.name)
        if fits_head(recipe, self._info):
            set_head(trainer.model, self._fit_head(recipe))
        known, batch_size = self._division.known, settings.batch_size
        images, targets = train.take(known[np.arange(batch_size) % len(known)])
        step_s = self._watch.once(
            f"step of {candidate.name}", lambda: seconds_per_step(trainer, images, targets)
        )
        return _Prepared(trainer, settings, trainer.state(), step_s / batch_size)
