"""What decides: two trainings of the same length, from the start without it and with it."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kfp_vision.components.pretraining.probes import HeldOutImages
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.datasets.labelled import LabelledImages
from kfp_vision.components.shared.recipe.document import Recipe
from kfp_vision.components.shared.search.scoring import held_out_losses
from kfp_vision.components.shared.training.checkpoints import Stopwatch
from kfp_vision.components.shared.training.history import History
from kfp_vision.components.shared.training.part_training import select_rows, train_part
from kfp_vision.components.shared.training.setup import recipe_class_weights

__all__ = ["Trial"]


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
        return select_rows(self.train, self.known)

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
        images = self.train, self.validation, self.known
        given = (self.dataset_dir, self.recipe, self.info, *images, weights, self.checkpoint_dir)
        ends = watch.seconds + seconds
        trainer, task, history = train_part(*given, self.seed, ends, watch, "trial", most_steps)
        judged = (task, trainer.outputs, self.judges)
        return held_out_losses(*judged, recipe_class_weights(self.recipe)), history
