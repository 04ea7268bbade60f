"""What was learned of images before any label was, and whether a training starts from it."""

import dataclasses

from kfp_vision.components.shared.metrics.acceptance import Gain

__all__ = ["ArmResult", "PretrainingResult", "ProbePoint"]


@dataclasses.dataclass(frozen=True)
class ProbePoint:
    """What the network knows at one moment.

    Attributes:
        passes: Over the images, so far.
        linear: Primary metric of a linear probe on the held-out images.
        nearest: The same of the 20 nearest training images.
        loss: Of the linear probe, calibrated, in nats.
        variance: Of the embedding, each of unit length, in [0, 1].
        effective_rank: Of the embedding.
        numeric_rank: Of the embedding.
        width: Of the embedding.
    """

    passes: float
    linear: float
    nearest: float
    loss: float
    variance: float
    effective_rank: float
    numeric_rank: int
    width: int


@dataclasses.dataclass(frozen=True)
class ArmResult:
    """One way to learn without labels.

    Attributes:
        name: Of the loss.
        points: In their order.
        stopped: Why it did not go on; empty where it came to its end.
        images_seen: With repetition, each view counted.
    """

    name: str
    points: list[ProbePoint]
    stopped: str
    images_seen: int


@dataclasses.dataclass(frozen=True)
class PretrainingResult:
    """`pretraining.json` beside the recipe.

    Attributes:
        skipped: Why nothing was tried; empty where something was.
        failed: Why it could not go on; empty where it could.
        unlabeled: Images without labels.
        copies: Of these, near duplicates of held-out images, which are never learned.
        images: That are learned, with and without labels.
        views: Where the transforms of the views come from.
        metric: Of the probes.
        arms: In their order.
        chosen: Name of the arm whose weights were tried; empty for none.
        judges: Held-out images.
        refused: Why the trainings that decide say nothing of these weights; empty where they do.
        trial_steps: Of each of both trainings that decide.
        trial_share: Of the length of the training, or of what the plan has for it.
        scratch_loss: Of the training that starts as it would without the stage, on the judges,
            calibrated, in nats.
        pretrained_loss: Of the one that starts from the weights of the arm.
        gain: Of the latter over the former; None where it was not measured.
        is_kept: Whether the training starts from these weights.
        trial_images: Images that both trainings have seen, with repetition.
        seconds: Of the stage.
    """

    skipped: str = ""
    failed: str = ""
    unlabeled: int = 0
    copies: int = 0
    images: int = 0
    views: str = ""
    metric: str = ""
    arms: list[ArmResult] = dataclasses.field(default_factory=list)
    chosen: str = ""
    judges: int = 0
    refused: str = ""
    trial_steps: int = 0
    trial_share: float = 0.0
    scratch_loss: float = 0.0
    pretrained_loss: float = 0.0
    gain: Gain | None = None
    is_kept: bool = False
    trial_images: int = 0
    seconds: float = 0.0
