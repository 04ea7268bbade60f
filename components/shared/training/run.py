"""A training as one value: what it learns from, what it writes, whom it tells."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from kfp_vision.components.shared.datasets.labelled import LabelledImages
from kfp_vision.components.shared.recipe.hyperparameters import Hyperparameters
from kfp_vision.components.shared.tasks import Task
from kfp_vision.components.shared.training.checkpoints import Stopwatch
from kfp_vision.components.shared.training.history import CurveRow, History
from kfp_vision.components.shared.training.trainer import Trainer

__all__ = ["TrainingRun"]


@dataclasses.dataclass(frozen=True)
class TrainingRun:
    """Everything about a training that stays the same until it ends.

    Attributes:
        trainer: Trainer before its first step.
        task: Task of the images.
        train: Training images.
        validation: Images that choose the checkpoint.
        primary_metric: Metric that ranks checkpoints, higher is better, where 100 validation
            images, or the objects or pixels in fewer, can tell; else the last one counts, unless
            another is clearly better.
        checkpoint_dir: Folder of this run alone.
        start: Runs the sanity checks and fixes the length; called when there is no checkpoint.
        evaluates_start: Whether the weights before the first step may be the best ones.
        keeps_last: Whether the last weights are the best ones, whatever the validation images say.
        halve: Returns the settings for half the batch, or None where they may not be changed; then
            an error that a smaller batch could mend is raised.
        seed: Seed of the order of the images.
        watch: Stopwatch of the stage; a resumed run adds the time of earlier processes to it.
        on_curves: Called with new rows of the curves and whether they replace all earlier rows, as
            they do at the start and after a repair.
    """

    trainer: Trainer
    task: Task
    train: LabelledImages
    validation: LabelledImages
    primary_metric: str
    checkpoint_dir: Path
    start: Callable[[Hyperparameters], History]
    evaluates_start: bool = False
    keeps_last: bool = False
    halve: Callable[[Hyperparameters], Hyperparameters] | None = None
    seed: int = 0
    watch: Stopwatch = dataclasses.field(default_factory=Stopwatch)
    on_curves: Callable[[Sequence[CurveRow], bool], None] = lambda rows, anew: None

    @property
    def state_path(self) -> Path:
        """The checkpoint from which the run resumes."""
        return self.checkpoint_dir / "state.npz"
