"""A lesson: what a teacher says of the images, and the images by which its students are judged.

Shapes: N training images, V validation images.
"""

import dataclasses

import numpy as np

from kfp_vision.components.self_training.pool import Pool, Said
from kfp_vision.components.self_training.teacher import Teacher
from kfp_vision.components.shared.artifacts.self_training_result import Neighbours
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
        neighbours: By whose features it is refined; None where what the teacher says is taught.
        temperature: That refined outputs are divided by: neighbours agree less than they know.
    """

    teacher: Teacher
    known: np.ndarray
    judging: np.ndarray
    said: Said
    losses: np.ndarray
    refined: Gain | None
    neighbours: Neighbours | None
    temperature: float


def make_lesson(
    pool: Pool,
    teacher: Teacher,
    known: np.ndarray,
    judging: np.ndarray,
    trial: Lesson | None = None,
) -> Lesson:
    """Returns what a teacher says, refined in the best way whose gain clears zero, and calibrated.

    Args:
        pool: The images.
        teacher: The model.
        known: Training images that it has learned.
        judging: The others.
        trial: Has decided how it is refined; None where the images that judge tell.
    """
    said = pool.ask(teacher, known)
    losses = pool.losses(said.held, judging)
    plain = Lesson(teacher, known, judging, said, losses, None, None, 1.0)
    ways = [way for way in pool.ways(said) if trial is None or way == trial.neighbours]
    found = []
    for way in ways:
        better = pool.refine(said, known, way)
        judged = pool.losses(better.held, judging)
        gain = measure_gain(losses[None], judged[None], len(ways))
        found.append((gain, better, way))
    if not found:
        return plain
    gain, better, way = max(found, key=lambda each: (each[0].is_accepted, each[0].value))
    if trial is None and not gain.is_accepted:
        return dataclasses.replace(plain, refined=gain)
    temperature = pool.temperature(better.held, judging) if trial is None else trial.temperature
    said = dataclasses.replace(better, unlabeled=better.unlabeled / temperature)
    return dataclasses.replace(
        plain, said=said, refined=gain, neighbours=way, temperature=temperature
    )
