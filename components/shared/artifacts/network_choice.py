"""The `choice` artifact: the networks that were compared, and what the comparison says."""

import dataclasses

__all__ = ["Augmentation", "CandidateResult", "NetworkChoice"]


@dataclasses.dataclass(frozen=True)
class CandidateResult:
    """A network at a size, and what of it learns.

    Attributes:
        architecture: Name of the zoo, or URI of a model file.
        image_size: [height, width] in pixels.
        trainable: `all`, or `head` for a frozen network.
        is_pretrained: Whether it is trained as one whose weights were trained on other images.
        multiply_adds: Of one image, in inference.
        losses: Mean calibrated loss on the held-out images after each round, in nats; None
            where it is not finite.
        images_seen: Training images of each round, with repetition.
        seconds: Of each round.
        projected: Loss that the whole training is expected to reach.
        behind: Mean difference of its projected losses from those of the best, with its standard
            error; None for the best.
        chosen: Whether it is the choice.
    """

    architecture: str
    image_size: list[int]
    trainable: str
    is_pretrained: bool
    multiply_adds: int
    losses: list[float | None]
    images_seen: list[int]
    seconds: list[float]
    projected: float | None
    behind: tuple[float, float] | None = None
    chosen: bool = False


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """What flips and shifts do to a short training of the fine-tuned network.

    Attributes:
        change: Mean difference of the losses with them from those without, in nats.
        error: Its standard error.
        is_used: Whether the training starts from them: they do no harm.
    """

    change: float
    error: float
    is_used: bool


@dataclasses.dataclass(frozen=True)
class NetworkChoice:
    """`choice.json`; `NetworkChoice()` with a reason in `skipped` is of a stage without a choice.

    Attributes:
        skipped: Why nothing was compared; empty when it was.
        notes: What the user should know, one sentence each.
        candidates: In the order in which they were tried.
        augmentation: Of the network that was chosen; None where it was not tried.
        num_held_out: Images that the losses are of.
        images_seen: Of all candidates.
        seconds: Of the whole stage.
    """

    skipped: str = ""
    notes: list[str] = dataclasses.field(default_factory=list)
    candidates: list[CandidateResult] = dataclasses.field(default_factory=list)
    augmentation: Augmentation | None = None
    num_held_out: int = 0
    images_seen: int = 0
    seconds: float = 0.0
