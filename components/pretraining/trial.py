"""What decides: two trainings of the same length, from the start without it and with it."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kfp_vision.components.pretraining.probes import HeldOutImages
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.pretraining_result import PretrainingResult
from kfp_vision.components.shared.datasets.labelled import LabelledImages
from kfp_vision.components.shared.metrics.acceptance import measure_gain
from kfp_vision.components.shared.recipe.document import Recipe
from kfp_vision.components.shared.search.scoring import held_out_losses
from kfp_vision.components.shared.training.checkpoints import Stopwatch
from kfp_vision.components.shared.training.history import History
from kfp_vision.components.shared.training.part_training import select_rows, train_part
from kfp_vision.components.shared.training.setup import recipe_class_weights

__all__ = ["Trial", "decide"]

# Of the time of both, for the first one: the second one is of the same length, or says nothing.
_FIRST_SHARE = 0.45
# Of the training: in a few steps no start from scratch catches up, whatever it comes to later.
_LEAST_TRIAL = 0.5


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


def decide(
    trial: Trial,
    weights: Sequence[np.ndarray],
    result: PretrainingResult,
    seconds: float,
    watch: Stopwatch,
    plain_images: float,
) -> PretrainingResult:
    """Returns the result with what both trainings say, or why they say nothing.

    Args:
        trial: The trainings.
        weights: Of the arm.
        result: Of the arms.
        seconds: Of the stage.
        watch: Of the stage.
        plain_images: That the training is planned to see, with repetition; infinite where that is
            not known.
    """
    before, plain = trial.run(None, 2**31, _FIRST_SHARE * (seconds - watch.seconds), watch)
    batch = plain.settings.batch_size
    # In passes over the images that are learned.
    length = plain.total_steps * batch * len(trial.train) / len(trial.known)
    share = length / min(plain.settings.steps * batch, plain_images)
    result = dataclasses.replace(
        result,
        trial_steps=plain.total_steps,
        trial_share=share,
        trial_images=plain.step * batch,
        scratch_loss=float(before.mean()),
    )
    if share < _LEAST_TRIAL:
        return dataclasses.replace(result, refused=_too_short(share))
    after, tuned = trial.run(weights, plain.total_steps, seconds - watch.seconds, watch)
    result = dataclasses.replace(
        result,
        trial_images=result.trial_images + tuned.step * batch,
        pretrained_loss=float(after.mean()),
    )
    if tuned.total_steps < plain.total_steps:
        return dataclasses.replace(result, refused=_cut(tuned.total_steps, plain.total_steps))
    gain = measure_gain(before[None], after[None], len(result.arms))
    return dataclasses.replace(result, gain=gain, is_kept=gain.is_accepted)


def _too_short(share: float) -> str:
    return (
        f"a trial from scratch had time for {share:.0%} of the training, and after less than "
        f"{_LEAST_TRIAL:.0%} any start that knows something looks better; `max_minutes` gives it "
        "more"
    )


def _cut(steps: int, wanted: int) -> str:
    return (
        f"the machine became slower: the trial from there had time for {steps:,} steps and the one "
        f"from scratch for {wanted:,}, so they cannot be compared; `max_minutes` gives them more"
    )
