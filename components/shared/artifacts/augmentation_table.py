"""The `augmentation` artifact: the plan of the search, and what every transform does to images.

Beside it `trial_start`, what trials read of the dataset and start from: `START`.
"""

import dataclasses

__all__ = ["START", "AugmentationTable", "CheckpointPlan", "Group", "Kept", "SearchPlan", "Signals"]

# The common checkpoint, the rows of `train` that it has learned, and both splits with those images
# alone that a trial looks at. Nothing where there is no search.
START = ("checkpoint.npz", "subset.npy", "train.arrow", "validation.arrow")


@dataclasses.dataclass(frozen=True)
class CheckpointPlan:
    """What the common checkpoint of the trials learns, and how.

    Attributes:
        num_images: Training images, which it sees again and again.
        steps: Optimizer steps.
        batch_size: Images a step.
        peak_rate: The recipe's learning rate, at this batch size.
        warmup_steps: Steps in which the rate rises to it; at most a quarter of the steps.
    """

    num_images: int
    steps: int
    batch_size: int
    peak_rate: float
    warmup_steps: int


@dataclasses.dataclass(frozen=True)
class SearchPlan:
    """Lengths and numbers of a search; computed once, read by everyone.

    Attributes:
        checkpoint: Training of the common checkpoint.
        steps: Optimizer steps of a trial.
        batch_size: Images a step.
        peak_rate: The recipe's learning rate, at this batch size.
        num_recalibrating: Images that the statistics of BatchNorm are taken from before scoring.
        num_held_out: Images of the validation split, and training images that the checkpoint does
            not learn.
        num_checked: Held-out images that tell whether the checkpoint has learned anything.
        num_measured: Held-out images that each transform is measured on.
        num_scored: Held-out images that score a trial.
        num_confirming: Other held-out images, which score a trial of the confirmation.
        num_trials: Trials before the confirmation; 0 where the budget is too small.
        num_confirmed: Trials of the confirmation.
    """

    checkpoint: CheckpointPlan
    steps: int
    batch_size: int
    peak_rate: float
    num_recalibrating: int
    num_held_out: int
    num_checked: int
    num_measured: int
    num_scored: int
    num_confirming: int
    num_trials: int
    num_confirmed: int

    def images_of(self, num_trials: int, num_confirmed: int) -> int:
        """Returns how many images trials see, including those they only look at.

        Args:
            num_trials: Trials before the confirmation.
            num_confirmed: Trials of the confirmation.
        """
        trained = self.steps * self.batch_size + self.num_recalibrating
        return num_trials * (trained + self.num_scored) + num_confirmed * (
            trained + self.num_confirming
        )


@dataclasses.dataclass(frozen=True)
class Signals:
    """What the checkpoint says of one transform at one magnitude, on held-out images.

    Attributes:
        transform: Name of the transform.
        magnitude: In (0, 1].
        distance: Frechet distance of the features to those of the clean images.
        affinity: 1 + the change of the primary metric, over how far the metric of the clean
            images is above that of shuffled predictions: 1 keeps all that the model knows, 0
            nothing.
    """

    transform: str
    magnitude: float
    distance: float
    affinity: float


@dataclasses.dataclass(frozen=True)
class Kept:
    """What is left of one transform; L levels of equal distance.

    Attributes:
        transform: Name of the transform.
        levels: Magnitude at each level, [L].
        kept: Whether the labels survive that magnitude, [L].
        reason: Why no level is kept; empty when some are.
    """

    transform: str
    levels: list[float]
    kept: list[bool]
    reason: str

    def at_most(self, level: int) -> float | None:
        """Returns the magnitude of the strongest kept level up to `level`."""
        pairs = zip(self.levels[: level + 1], self.kept, strict=False)
        return max((magnitude for magnitude, kept in pairs if kept), default=None)


@dataclasses.dataclass(frozen=True)
class Group:
    """Transforms that are decided together.

    Attributes:
        name: Name of the technique.
        levels: From weak to strong, the greatest magnitude of each transform.
        always: Whether every image gets all of them; else an image gets one of them or none.
    """

    name: str
    levels: list[dict[str, float]]
    always: bool = False


@dataclasses.dataclass(frozen=True)
class AugmentationTable:
    """`table.json` of the `augmentation` artifact.

    Beside it, unless skipped: `checkpoint.npz`, a trainer's state; `subset.npy`, the positions of
    the training images of the checkpoint and of the trials; and `examples.npz`: transform -> uint8
    [L, H, W, C], a training image at its levels, and `original` [H, W, C].

    Attributes:
        skipped: Why nothing was measured; empty when it was.
        plan: Lengths and numbers of the search; None where none was asked for.
        images_seen: Images seen by the checkpoint, its evaluation and the measurements.
        null_distance: Distance between halves of the clean images.
        signals: Every transform at rising magnitudes.
        kept: What is left of each transform.
        groups: What the trials decide about.
        regularisers: Hyperparameter that the trials may change -> its value in the recipe.
        mixing: Ways to mix images that the trials may use.
    """

    skipped: str = ""
    plan: SearchPlan | None = None
    images_seen: int = 0
    null_distance: float = 0.0
    signals: list[Signals] = dataclasses.field(default_factory=list)
    kept: list[Kept] = dataclasses.field(default_factory=list)
    groups: list[Group] = dataclasses.field(default_factory=list)
    regularisers: dict[str, float] = dataclasses.field(default_factory=dict)
    mixing: list[str] = dataclasses.field(default_factory=list)
