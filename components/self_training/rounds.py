"""A round: a student of each arm is taught a lesson, and the best one may be kept."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kfp_vision.components.self_training.arm import LABELS_ALONE, Arm
from kfp_vision.components.self_training.lesson import Lesson
from kfp_vision.components.self_training.pool import Pool
from kfp_vision.components.self_training.student import soft_labels, train_student
from kfp_vision.components.self_training.teacher import Teacher
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.self_training_result import RoundResult
from kfp_vision.components.shared.metrics.acceptance import measure_gain
from kfp_vision.components.shared.recipe.document import Recipe
from kfp_vision.components.shared.training.checkpoints import StageWatch
from kfp_vision.components.shared.training.sanity import TRAINING_FAILURES, failure_reason

__all__ = ["MAX_ROUNDS", "Rounds"]

MAX_ROUNDS = 3


class Rounds:
    """What all rounds have in common.

    Attributes:
        failures: Of students that could not be trained: why.
    """

    def __init__(
        self,
        dataset_dir: Path,
        info: DatasetInfo,
        recipe: Recipe,
        pool: Pool,
        checkpoint_dir: Path,
        seed: int,
        watch: StageWatch,
    ) -> None:
        """Trains nothing yet.

        Args:
            dataset_dir: Folder of the dataset, `unlabeled` included.
            info: Of the dataset.
            recipe: Of the students, complete.
            pool: The images.
            checkpoint_dir: Outlives a killed task.
            seed: Of weights, order and augmentation.
            watch: Of the stage.
        """
        self._dataset_dir, self._info, self._recipe, self._pool = dataset_dir, info, recipe, pool
        self._checkpoint_dir, self._seed, self._watch = checkpoint_dir, seed, watch
        self.failures: list[str] = []

    def run(
        self,
        lesson: Lesson,
        arms: Sequence[Arm],
        number: int,
        ends: float,
        rival: np.ndarray | None = None,
    ) -> tuple[list[RoundResult], Teacher | None]:
        """Returns what students of each arm gain, and the best one that may be kept.

        What another arm gains is that over `LABELS_ALONE`, where this is the first one and better
        than the teacher: a longer training is no merit of the images without labels.

        Args:
            lesson: What they are taught.
            arms: How.
            number: Of the round; 0 for a trial.
            ends: When it is over, in seconds of the stage.
            rival: Losses of the model that a student would replace where that has not taught it:
                the gain must not be a loss that clears zero. None where it has, and the gain has to
                clear zero.
        """
        students: dict[str, Teacher] = {}
        results: list[RoundResult] = []
        reference, longest = lesson.losses, math.inf
        for place, arm in enumerate(arms):
            name = f"{arm.name}, round {number}"
            began = self._watch.moment(f"{name} begins")
            try:
                given = (lesson, arm, began + (ends - began) / (len(arms) - place))
                student, seen = self._train(*given, longest)
            except TRAINING_FAILURES as error:
                self.failures.append(f"{arm.name}: {failure_reason(error)}")
                continue
            losses = self._pool.losses(self._pool.hear(student, lesson.judging), lesson.judging)
            if rival is None:
                tried = len(arms) * (MAX_ROUNDS if number else 1)
                gain = measure_gain(reference[None], losses[None], tried)
            else:
                # Not for all that were tried: a wider interval would forgive more.
                gain = measure_gain(rival[None], losses[None])
            result = RoundResult(
                number=number,
                arm=arm.name,
                images=0 if arm is LABELS_ALONE else len(lesson.said.filtered.rows),
                images_seen=seen,
                judges=len(losses),
                loss=float(losses.mean()),
                gain=gain,
                is_kept=gain.is_accepted if rival is None else gain.high >= 0,
                refined=lesson.refined,
                neighbours=lesson.neighbours,
                seconds=self._watch.moment(f"{name} ends") - began,
            )
            if arm is LABELS_ALONE:
                longest = seen
                reference = min(reference, losses, key=np.mean)
            students[arm.name] = student
            results.append(result)
        better = [each for each in results if each.is_kept]
        if not better:
            return results, None
        best = min(better, key=lambda each: each.loss)
        marked = [dataclasses.replace(each, is_kept=each is best) for each in results]
        return marked, students[best.arm]

    def _train(self, lesson: Lesson, arm: Arm, ends: float, longest: float) -> tuple[Teacher, int]:
        """Returns a student, and how many images it has seen: `longest` at most."""
        pool, said = self._pool, lesson.said
        rows = said.filtered.rows
        outputs, asked = said.unlabeled[rows], pool.asked[rows]
        taught = soft_labels(outputs, lesson.known, len(pool.train), asked, arm)
        given = (self._dataset_dir, self._recipe, self._info, pool, lesson.teacher, taught)
        kept = (self._checkpoint_dir, self._seed)
        length = (len(rows), longest)
        trainer, history = train_student(*given, *length, arm, *kept, ends, self._watch)
        return Teacher(trainer.model), history.step * history.settings.batch_size
