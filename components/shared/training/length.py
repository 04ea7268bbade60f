"""The length of a training that has to end in time."""

import dataclasses
import math
from collections.abc import Mapping

import numpy as np

from kfp_vision.components.shared.recipe.evaluations import (
    EVALUATIONS,
    MIN_EVALUATIONS,
    evaluated_images,
)
from kfp_vision.components.shared.training.step_time import seconds_per_forward, seconds_per_step
from kfp_vision.components.shared.training.trainer import Trainer

__all__ = [
    "Pace",
    "evaluations_within",
    "measure_pace",
    "steps_within",
]

# Fewer are no training.
_MIN_STEPS = 2
# The rest is for checkpoints, and for what else a loop does.
_LOOP_SHARE = 0.9
# Of the time, in evaluations at most; a training shorter than this may have one alone.
_EVALUATION_SHARE, _SHORT_S = 0.1, 120.0


@dataclasses.dataclass(frozen=True)
class Pace:
    """Seconds of a training on this machine.

    Attributes:
        step_s: Of a step.
        evaluation_s: Of an evaluation on all validation images.
        forward_s: Of one image through the model.
    """

    step_s: float
    evaluation_s: float
    forward_s: float

    def length_within(
        self, seconds: float, steps: int, evaluations: int = EVALUATIONS
    ) -> tuple[int, int]:
        """Returns the steps and evaluations of a training that ends in time.

        Args:
            seconds: Of the whole training; infinite where time is no limit.
            steps: Where time is no limit.
            evaluations: The same, at most.
        """
        if seconds == math.inf:
            return steps, evaluations
        evaluations = evaluations_within(seconds, self.evaluation_s, evaluations)
        affordable = steps_within(seconds, self.step_s, self.evaluation_s, evaluations)
        return min(steps, affordable), evaluations


def measure_pace(
    trainer: Trainer,
    images: np.ndarray,
    targets: Mapping[str, np.ndarray],
    num_training: int,
    num_validation: int,
) -> Pace:
    """Returns the pace of a trainer, which is put back.

    Args:
        trainer: At its start.
        images: A batch, uint8 [B, H, W, C].
        targets: {name: [B, ...]}.
        num_training: Training images.
        num_validation: Validation images.
    """
    step_s = seconds_per_step(trainer, images, targets)
    forward_s = seconds_per_forward(trainer, images)
    evaluated = evaluated_images(
        num_training, num_validation, len(images), trainer.needs_statistics
    )
    return Pace(step_s, evaluated / len(images) * forward_s, forward_s / len(images))


def evaluations_within(seconds: float, evaluation_s: float, most: int) -> int:
    """Returns how many evaluations a training affords, at least 3, or 1 below two minutes.

    Args:
        seconds: Of the whole training.
        evaluation_s: Of an evaluation.
        most: Where time is no limit.
    """
    affordable = most if seconds == math.inf else int(_EVALUATION_SHARE * seconds / evaluation_s)
    return min(most, max(1 if seconds < _SHORT_S else MIN_EVALUATIONS, affordable))


def steps_within(seconds: float, step_s: float, evaluation_s: float, evaluations: int) -> int:
    """Returns the steps that fit into a time, at least 2.

    Args:
        seconds: Of steps, evaluations and checkpoints together.
        step_s: Of a step.
        evaluation_s: Of an evaluation.
        evaluations: How many there are, at most one after each step.
    """
    seconds *= _LOOP_SHARE
    steps = (seconds - evaluations * evaluation_s) / step_s
    if steps < evaluations:
        steps = seconds / (step_s + evaluation_s)
    return max(_MIN_STEPS, int(steps))
