"""Which networks were trained beside the model, and whether together they are better."""

import dataclasses

from kfp_vision.components.shared.metrics.acceptance import Gain

__all__ = ["ENSEMBLE_FILE", "SHARE_FILE", "Member", "Share", "TeachersResult", "Tried"]

ENSEMBLE_FILE, SHARE_FILE = "ensemble.keras", "share.json"


@dataclasses.dataclass(frozen=True)
class Member:
    """A network of the ensemble, or one that might have been.

    Attributes:
        kind: `model` for the trained model; what is different about the others: `pretrained`,
            `seed`, `bootstrap`, `larger` or `boosted`.
        architecture: Zoo name or URI.
        image_size: [height, width] in pixels.
        parameters: Number of weights.
        images_seen: In its training, with repetition.
        seconds: Of its training.
        loss: Calibrated, on the validation images, in nats.
        value: Primary metric on the same images; None where they leave it undefined.
        calibration_error: Gap between confidence and accuracy on these, after calibration, by
            images that it is not read from.
        weight: Its share of the average or of the soup, in [0, 1]; 1 in a stack; 0 where it is not
            used.
    """

    kind: str
    architecture: str
    image_size: list[int]
    parameters: int
    images_seen: int
    seconds: float
    loss: float = 0.0
    value: float | None = None
    calibration_error: float = 0.0
    weight: float = 0.0


@dataclasses.dataclass(frozen=True)
class Share:
    """`share.json` of a `members` artifact: what one of several tasks has trained.

    Beside it lies `<place>.keras` for each network: pixels in, raw outputs of the task out.

    Attributes:
        places: Of the networks, in the order in which all were planned.
        members: The same networks.
        failed: Sentences on the others of this task.
        seconds: Of the task.
    """

    places: list[int] = dataclasses.field(default_factory=list)
    members: list[Member] = dataclasses.field(default_factory=list)
    failed: list[str] = dataclasses.field(default_factory=list)
    seconds: float = 0.0


@dataclasses.dataclass(frozen=True)
class Tried:
    """A way to make one teacher of the members.

    Attributes:
        way: `average`, `greedy`, `stacking` or `soup`.
        loss: Calibrated, in nats, of validation images that it was not fitted on.
        gain: Over the trained model.
    """

    way: str
    loss: float
    gain: Gain


@dataclasses.dataclass(frozen=True)
class TeachersResult:
    """`teachers.json` of the `model` artifact.

    Beside it, where it is accepted: `ensemble.keras` (uint8-range float pixels of `image_size` in,
    raw outputs of the task out).

    Attributes:
        skipped: Why no teacher was trained; empty where one was.
        members: The trained model first.
        failed: Why networks could not be trained; the others went on.
        judges: Validation images.
        tried: What was made of the members.
        kept: Which of these is the ensemble; empty where none clears zero.
        disagreement: Share of decisions in which two members differ, of each with each.
        calibration_error: Of the ensemble, as those of its members; None where none is kept.
        image_size: [height, width] of the ensemble in pixels; empty where none is kept.
        parameters: Of the ensemble.
        is_deployed: Whether the ensemble takes the place of the trained model.
        seconds: Of the stage.
    """

    skipped: str = ""
    members: list[Member] = dataclasses.field(default_factory=list)
    failed: list[str] = dataclasses.field(default_factory=list)
    judges: int = 0
    tried: list[Tried] = dataclasses.field(default_factory=list)
    kept: str = ""
    disagreement: list[list[float]] = dataclasses.field(default_factory=list)
    calibration_error: float | None = None
    image_size: list[int] = dataclasses.field(default_factory=list)
    parameters: int = 0
    is_deployed: bool = False
    seconds: float = 0.0

    @property
    def is_accepted(self) -> bool:
        """Whether there is an ensemble that is better than the trained model."""
        return bool(self.kept)
