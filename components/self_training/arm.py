"""An arm: a way to learn from images without labels."""

import dataclasses

from kfp_vision.components.shared.training.soft_targets import Teaching
from kfp_vision.components.shared.training.trainer import Trainer

__all__ = ["Arm"]


@dataclasses.dataclass(frozen=True)
class Arm:
    """How a student learns.

    Attributes:
        name: As reports show it.
        teaching: What it takes from its teacher.
        trainer: Whose steps it takes.
        labelled_share: Of the images that it sees: those with a label are repeated.
    """

    name: str
    teaching: Teaching
    trainer: type[Trainer]
    labelled_share: float
