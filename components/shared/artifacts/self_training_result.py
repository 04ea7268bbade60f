"""What was learned of images without labels, and whether it was kept."""

import dataclasses
from typing import Literal

from kfp_vision.components.shared.metrics.acceptance import Gain

__all__ = ["ForeignImage", "Neighbours", "RoundResult", "SelfTrainingResult"]

# By whose features images are neighbours: of the model that teaches, or of a pretrained network;
# `none`: the shares of the classes alone.
Neighbours = Literal["own", "pretrained", "none"]


@dataclasses.dataclass(frozen=True)
class ForeignImage:
    """An image that is unlike those with labels.

    Attributes:
        path: Relative to the folder of images without labels.
        distance: Of its features to the nearest training image, 0 to 2.
        thumbnail: A data URI.
    """

    path: str
    distance: float
    thumbnail: str


@dataclasses.dataclass(frozen=True)
class RoundResult:
    """A student, taught by the model before it.

    Attributes:
        number: Of the round; 0 for a trial.
        arm: How it was taught.
        images: Images without labels that it was taught by.
        images_seen: With repetition, those with labels included.
        judges: Held-out images.
        loss: Calibrated, on these, in nats.
        gain: Over the model that it would replace, of a trial over the one that taught it; or over
            the student of labels alone, where that is better.
        is_kept: Whether the student takes its place.
        refined: What labels by neighbours and shares of classes gain over what that model says, on
            these images, in the best way; None where there was none.
        neighbours: By whose features, where they have taught it; None where they have not.
        seconds: Of everything.
    """

    number: int
    arm: str
    images: int
    images_seen: int
    judges: int
    loss: float
    gain: Gain
    is_kept: bool
    refined: Gain | None
    neighbours: Neighbours | None
    seconds: float


@dataclasses.dataclass(frozen=True)
class SelfTrainingResult:
    """`self_training.json` of the `model` artifact.

    Attributes:
        skipped: Why nothing was tried; empty where something was.
        unlabeled: Images without labels.
        asked: Of these, those that models were asked about: a random sample where there was no time
            for all.
        copies: Of these, near duplicates of validation or test images, which are never learned.
        foreign: Of those that models were asked about, unlike the training images.
        foreign_distance: Beyond which distance, 0 to 2.
        foreign_judges: Validation images that tell it.
        foreign_within: Those of them that are not beyond it.
        foreign_by: By whose features.
        foreign_images: Some of them, the most distant first.
        loss: Of the model before, calibrated, on the validation images, in nats.
        trials: A round on half of the labels, where the validation images are few: its gain, which
            the other half judges, too, decides whether there is a round at all.
        rounds: In their order, one of each arm; those of the last round need not be kept.
        plain_images_seen: With repetition, by networks that have learned labels alone, to teach the
            students of the trial and of the round after it.
        untried: Why there was no student at all; empty where there was one.
        failed: Why students could not be trained; empty where all could.
        seconds: Of the stage.
    """

    skipped: str = ""
    unlabeled: int = 0
    asked: int = 0
    copies: int = 0
    foreign: int = 0
    foreign_distance: float = 0.0
    foreign_judges: int = 0
    foreign_within: int = 0
    foreign_by: Neighbours = "own"
    foreign_images: list[ForeignImage] = dataclasses.field(default_factory=list)
    loss: float = 0.0
    trials: list[RoundResult] = dataclasses.field(default_factory=list)
    rounds: list[RoundResult] = dataclasses.field(default_factory=list)
    plain_images_seen: int = 0
    untried: str = ""
    failed: str = ""
    seconds: float = 0.0

    @property
    def images_seen(self) -> int:
        """With repetition, by everything that was trained."""
        return self.plain_images_seen + sum(
            each.images_seen for each in (*self.trials, *self.rounds)
        )

    @property
    def num_accepted(self) -> int:
        """Rounds that were kept, those of labels alone included."""
        return sum(each.is_kept for each in self.rounds)
