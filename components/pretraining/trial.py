"""What decides: two trainings of the same length, from the start without it and with it."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kfp_vision.components.pretraining.probes import HeldOutImages
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.datasets.labelled import LabelledImages
from kfp_vision.components.shared.datasets.loader import BatchOrder
from kfp_vision.components.shared.recipe.document import Recipe
from kfp_vision.components.shared.recipe.hyperparameters import Hyperparameters
from kfp_vision.components.shared.runtime.identity import training_identity
from kfp_vision.components.shared.search.scoring import held_out_losses
from kfp_vision.components.shared.training.checkpoints import Stopwatch
from kfp_vision.components.shared.training.fit import fit
from kfp_vision.components.shared.training.history import History
from kfp_vision.components.shared.training.length import measure_pace
from kfp_vision.components.shared.training.pretrained_head import fits_head, start_from_features
from kfp_vision.components.shared.training.run import TrainingRun
from kfp_vision.components.shared.training.setup import (
    build_trainer,
    recipe_class_weights,
    recipe_policy,
)
from kfp_vision.components.shared.training.start_weights import start_from, weights_digest

__all__ = ["Trial"]

_EVALUATIONS = 3


@dataclasses.dataclass(frozen=True)
class Trial:
    """Trainings by the recipe on some of the labels, judged by other images.

    Attributes:
        dataset_dir: Folder of the dataset.
        recipe: Complete.
        info: Of the dataset.
        train: All training images.
        known: Which of them are learned, int [N'].
        validation: Of the evaluations in between, which decide nothing.
        judges: Held-out images.
        checkpoint_dir: Outlives a killed task.
        seed: Of weights, order and augmentation.
    """

    dataset_dir: Path
    recipe: Recipe
    info: DatasetInfo
    train: LabelledImages
    known: np.ndarray
    validation: LabelledImages
    judges: HeldOutImages
    checkpoint_dir: Path
    seed: int

    @property
    def learned(self) -> LabelledImages:
        """The training images that are learned."""
        read = self.train.read_targets
        return LabelledImages(self.train.source, lambda rows: read(self.known[rows]), self.known)

    def run(
        self,
        weights: Sequence[np.ndarray] | None,
        most_steps: int,
        seconds: float,
        watch: Stopwatch,
    ) -> tuple[np.ndarray, History]:
        """Returns the calibrated losses on the judges at the last step, and how it went.

        Args:
            weights: To start from; None for the start that the recipe has without them.
            most_steps: The length, where the recipe's is not shorter.
            seconds: For this training; infinite where time is no limit.
            watch: Of the stage.
        """
        recipe, learned = self.recipe, self.learned
        trainer, task, settings = build_trainer(recipe, self.info, self.seed, recipe_policy(recipe))
        ends = watch.seconds + seconds if seconds < math.inf else None

        def start(settings: Hyperparameters) -> History:
            if weights is not None:
                start_from(trainer, weights, recipe, self.info, self.train, self.known)
            elif fits_head(recipe, self.info):
                features = self.checkpoint_dir / "features"
                given = (trainer, recipe, self.info, self.dataset_dir, self.known, features)
                start_from_features(*given)
            order = BatchOrder(len(learned), settings.batch_size, self.seed)
            pixels, targets = learned.take(order.indices(0)[0])
            checks = {"initial_loss": trainer.mean_loss(pixels, targets)}
            share = len(self.known) / len(self.train)
            steps = min(most_steps, max(2, round(share * settings.steps)))
            if ends is not None:
                pace = measure_pace(trainer, pixels, targets, len(learned), len(self.validation))
                steps, _ = pace.length_within(ends - watch.seconds, steps, _EVALUATIONS)
            return History(settings, steps, checks, num_evaluations=_EVALUATIONS, ends=ends)

        digest = weights_digest(weights or [])
        about = {"seed": self.seed, "trial": digest, "known": weights_digest([self.known])}
        run = TrainingRun(
            trainer,
            task,
            learned,
            self.validation,
            primary_metric=recipe.value("data", "primary_metric"),
            checkpoint_dir=self.checkpoint_dir
            / training_identity(self.dataset_dir, recipe, **about),
            start=start,
            keeps_last=True,
            seed=self.seed,
            watch=watch,
        )
        history = fit(run, settings)
        given = (task, trainer.outputs, self.judges)
        return held_out_losses(*given, recipe_class_weights(recipe)), history
