"""A lesson: what a teacher says of the images, and the images by which its students are judged.

Shapes: N training images, V validation images.
"""

import dataclasses

import numpy as np

from kfp_vision.components.self_training.pool import Pool, Said
from kfp_vision.components.self_training.teacher import Teacher
from kfp_vision.components.shared.metrics.acceptance import Gain, measure_gain

__all__ = ["Lesson", "make_lesson"]


@dataclasses.dataclass(frozen=True)
class Lesson:
    """What students are taught.

    Attributes:
        teacher: Where they start.
        known: Training images whose labels they see.
        judging: Other training images, which judge, beside the validation images.
        said: Of the images, refined where that is better.
        losses: Of the teacher, on the images that judge.
        refined: What that gains over the teacher; None where it was not tried.
        is_refined: Whether it is what is taught.
    """

    teacher: Teacher
    known: np.ndarray
    judging: np.ndarray
    said: Said
    losses: np.ndarray
    refined: Gain | None
    is_refined: bool


def make_lesson(
    pool: Pool,
    teacher: Teacher,
    known: np.ndarray,
    judging: np.ndarray,
    is_refined: bool | None = None,
) -> Lesson:
    """Returns what a teacher says, refined where that is better.

    Args:
        pool: The images.
        teacher: The model.
        known: Training images that it has learned.
        judging: The others.
        is_refined: None where the images that judge tell.
    """
    said = pool.ask(teacher, known)
    losses, gain = pool.losses(said.held, judging), None
    better = None if is_refined is False else pool.refine(said, known)
    if better is not None:
        gain = measure_gain(losses[None], pool.losses(better.held, judging)[None])
        is_refined = gain.is_accepted if is_refined is None else is_refined
        said = better if is_refined else said
    return Lesson(teacher, known, judging, said, losses, gain, bool(is_refined))
