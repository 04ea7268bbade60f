"""Trials: a few steps from a common checkpoint, scored by the calibrated loss on held-out images.

The checkpoint overfits a part of the images, as a whole training overfits all of them at its end,
and the trials go on with these images: what a technique prevents shows within a hundredth of a
training. All trials of one seed share the checkpoint, the order of the images and the random
numbers, so that they differ in the technique alone. The confirmation has seeds and held-out images
of its own.
"""

import gc
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from kfp_vision.components.shared.artifacts.augmentation_table import SearchPlan
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json
from kfp_vision.components.shared.augmentation.policy import IDENTITY
from kfp_vision.components.shared.datasets.image_cache import ImageCache
from kfp_vision.components.shared.recipe.document import Recipe
from kfp_vision.components.shared.recipe.hyperparameters import SECTION
from kfp_vision.components.shared.search.held_out import divide_held_out
from kfp_vision.components.shared.search.scoring import scored_losses
from kfp_vision.components.shared.search.short_training import run_steps
from kfp_vision.components.shared.tasks import task_of
from kfp_vision.components.shared.training.checkpoints import read_checkpoint
from kfp_vision.components.shared.training.setup import (
    build_trainer,
    open_split,
    recipe_class_weights,
)
from kfp_vision.components.shared.training.trainer import Trainer
from kfp_vision.components.trial_search.regularisation import Regularisation

__all__ = ["TrialRunner"]

# The held-out images are scored in so many parts: their scatter tells what other images would.
_PARTS = 8
# Hyperparameters that are part of the compiled step; the others are its variables.
_COMPILED = ("dropout", "stochastic_depth")


class TrialRunner:
    """One process with one compiled step for every trial.

    A dropout rate and a stochastic depth are part of the network: each pair of them has a compiled
    step of its own, from the same weights.
    """

    def __init__(
        self,
        dataset_dir: Path,
        recipe: Recipe,
        table_dir: Path,
        plan: SearchPlan,
        cache: ImageCache | None = None,
    ) -> None:
        """Reads the checkpoint; compiles at the first trial.

        Args:
            dataset_dir: Folder of the dataset.
            recipe: Complete.
            table_dir: Holds the checkpoint and which images it has learned.
            plan: Lengths of a trial.
            cache: Keeps decoded images for other stages and runs; None keeps none.

        Raises:
            FileNotFoundError: There is no checkpoint.
        """
        self._info = read_json(DatasetInfo, dataset_dir / "dataset.json")
        self._recipe, self._plan = recipe, plan
        self._train, self._validation = (
            open_split(dataset_dir, split, recipe, cache) for split in ("train", "validation")
        )
        self._known = np.load(table_dir / "subset.npy", allow_pickle=False)
        # The images lie in the order of their classes.
        self._recalibrating = np.random.default_rng(0).permutation(self._known)[
            : plan.num_recalibrating
        ]
        checkpoint = read_checkpoint(table_dir / "checkpoint.npz")
        if checkpoint is None:
            raise FileNotFoundError(f"The checkpoint must exist. Received: none in {table_dir}")
        held_out = divide_held_out(
            self._validation, self._train, self._known, plan.num_scored, plan.num_confirming
        )
        # Those of the confirmation come second.
        self._scored = held_out.selecting(plan.num_scored), held_out.confirming
        self._scoring_batch = self._validation.source.images_per_batch
        self._task = task_of(self._info)
        self._baseline = self._build({})
        self._baseline.restore(checkpoint[0])
        # Compiled hyperparameters -> trainer, and its state at the checkpoint.
        self._trainers: dict[tuple[tuple[str, float], ...], tuple[Trainer, list[np.ndarray]]] = {
            (): (self._baseline, checkpoint[0])
        }

    def run(
        self, regularisation: Regularisation, seed: int, confirming: bool = False
    ) -> tuple[float, ...]:
        """Returns the mean calibrated losses of eight parts of the held-out images in nats.

        Every image is in one of the parts, drawn once for all trials. Nothing where a loss is not
        finite.

        Args:
            regularisation: What is tried.
            seed: Seed of the order of the images and of all random numbers.
            confirming: Whether the images of the confirmation score the trial.
        """
        plan, trainer = self._plan, self._at_checkpoint(regularisation)
        trainer.reseed(seed)
        rates = plan.peak_rate * (1 - np.arange(plan.steps) / plan.steps)
        for _ in run_steps(trainer, self._train, self._known, rates, plan.batch_size, seed):
            pass
        # As a whole training ends: the statistics of the last steps are those of a few augmented
        # images, and scatter more than techniques differ.
        trainer.recalibrate_batch_norm(
            images for images, _ in self._train.batches_of(self._recalibrating)
        )
        batches = self._scored_batches(confirming)
        losses = scored_losses(
            self._task,
            ((targets, trainer.outputs(images)) for images, targets in batches),
            recipe_class_weights(self._recipe),
        )
        # The images lie in the order of their classes.
        order = np.random.default_rng(0).permutation(len(losses))
        parts = np.array_split(order, min(_PARTS, len(order)))
        means = [float(losses[part].mean()) for part in parts]
        return tuple(means) if np.isfinite(means).all() else ()

    def spare_memory(self) -> None:
        """Forgets what other trials have compiled, and scores fewer images at once."""
        self._trainers = {(): self._trainers[()]}
        self._scoring_batch = min(self._scoring_batch, self._plan.batch_size)
        gc.collect()

    def _scored_batches(
        self, confirming: bool
    ) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
        splits = self._validation, self._train
        for split, rows in zip(splits, self._scored[confirming], strict=True):
            parts = math.ceil(len(rows) / self._scoring_batch)
            yield from map(split.take, np.array_split(rows, parts) if parts else [])

    def _build(self, changes: dict[str, Any]) -> Trainer:
        # Not the seed of a trial: no trial may depend on which one came first.
        trainer, _, _ = build_trainer(
            self._recipe, self._info, 0, IDENTITY, ema_momentum=0.0, **changes
        )
        return trainer

    def _at_checkpoint(self, regularisation: Regularisation) -> Trainer:
        """Returns a trainer at the checkpoint, with everything as the candidate wants it."""
        changes = regularisation.changes
        compiled = {name: value for name, value in changes.items() if name in _COMPILED}
        key = tuple(sorted(compiled.items()))
        if key not in self._trainers:
            self._baseline.restore(self._trainers[()][1])
            other = self._build(compiled)
            # Their random states differ in number, the weights do not.
            pairs = [
                *zip(other.model.weights, self._baseline.model.weights, strict=True),
                *zip(other.optimizer.variables, self._baseline.optimizer.variables, strict=True),
            ]
            for variable, value in pairs:
                variable.assign(value)
            self._trainers[key] = other, other.state()
        trainer, start = self._trainers[key]
        trainer.restore(start)
        trainer.use_policy(regularisation.policy)
        trainer.regularise(
            *(
                changes.get(name, self._recipe.value(SECTION, name))
                for name in ("label_smoothing", "weight_decay")
            )
        )
        return trainer
