"""What a student was taught, and whether it took the place of the network before."""

import dataclasses

from kfp_vision.components.shared.metrics.acceptance import Gain

__all__ = ["DistillationResult", "TeachingTrial"]


@dataclasses.dataclass(frozen=True)
class TeachingTrial:
    """A short training by a teacher.

    Attributes:
        temperature: T.
        label_share: Share of the labels in the loss.
        feature_weight: Of the distance from the features of the teacher.
        loss: Calibrated, on the validation images, in nats; None where it diverged.
    """

    temperature: float
    label_share: float
    feature_weight: float
    loss: float | None


@dataclasses.dataclass(frozen=True)
class DistillationResult:
    """`distillation.json` of the `model` artifact.

    Attributes:
        skipped: Why nothing was tried; empty where something was.
        failed: Why the student could not be trained; empty where it could.
        is_own_teacher: Whether the network itself, as trained before, is the teacher.
        judges: Validation images.
        loss: Of the network before, calibrated, on the validation images, in nats.
        teacher_loss: Of the teacher, the same.
        student_loss: Of the student, the same.
        images: With and without labels, that were taught.
        copies: Images without labels that were left out: near duplicates of held-out images.
        pictures: Views of these, alone and mixed, each with what the teacher says of it.
        images_seen: By the student, with repetition, short trainings included.
        trials: That chose temperature, share and weight; none where there was no time.
        temperature: T, of the student.
        label_share: Share of the labels in its loss.
        feature_weight: Of the distance from the features of the teacher.
        gain: Of the student over the network before.
        is_kept: Whether the student took its place.
        seconds: Of the stage.
    """

    skipped: str = ""
    failed: str = ""
    is_own_teacher: bool = False
    judges: int = 0
    loss: float = 0.0
    teacher_loss: float = 0.0
    student_loss: float = 0.0
    images: int = 0
    copies: int = 0
    pictures: int = 0
    images_seen: int = 0
    trials: list[TeachingTrial] = dataclasses.field(default_factory=list)
    temperature: float = 0.0
    label_share: float = 0.0
    feature_weight: float = 0.0
    gain: Gain | None = None
    is_kept: bool = False
    seconds: float = 0.0
