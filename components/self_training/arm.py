"""An arm: a way to learn from images without labels, or what that is compared with."""

import dataclasses

from kfp_vision.components.shared.training.soft_targets import Teaching
from kfp_vision.components.shared.training.trainer import Trainer

__all__ = ["LABELS_ALONE", "Arm"]


@dataclasses.dataclass(frozen=True)
class Arm:
    """How a student learns.

    Attributes:
        name: As reports show it.
        teaching: What it takes from its teacher.
        trainer: Whose steps it takes.
        labelled_share: Of the images that it sees, where those with a label are repeated; 1: no
            others.
    """

    name: str
    teaching: Teaching
    trainer: type[Trainer]
    labelled_share: float


# As many steps from the same start: what others gain over it, images without labels have taught.
LABELS_ALONE = Arm("labels alone", Teaching(label_share=1.0), Trainer, 1.0)
