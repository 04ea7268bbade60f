"""The rounds: students are taught by the model, and one is the model where that clears zero.

Shapes: N training images, U without labels, V validation images, C outputs.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from kfp_vision.components.self_training.arm import Arm
from kfp_vision.components.self_training.fixmatch import FIXMATCH
from kfp_vision.components.self_training.noisy_student import NOISY_STUDENT
from kfp_vision.components.self_training.pool import Pool, Said
from kfp_vision.components.self_training.student import soft_labels, train_plain, train_student
from kfp_vision.components.self_training.teacher import Teacher
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.self_training_result import (
    RoundResult,
    SelfTrainingResult,
)
from kfp_vision.components.shared.datasets.image_cache import ImageCache
from kfp_vision.components.shared.metrics.acceptance import Gain, measure_gain
from kfp_vision.components.shared.recipe.document import Recipe, Setting
from kfp_vision.components.shared.recipe.unlabeled import ENOUGH_JUDGES
from kfp_vision.components.shared.recipe.user_choices import UserChoices
from kfp_vision.components.shared.search.held_out import halves
from kfp_vision.components.shared.training.checkpoints import Stopwatch
from kfp_vision.components.shared.training.precision import set_precision
from kfp_vision.components.shared.training.sanity import TRAINING_FAILURES
from kfp_vision.components.shared.training.setup import complete_recipe

__all__ = ["School"]

_MAX_ROUNDS = 3
# With fewer images left over by the filter nothing is learned.
_LEAST_IMAGES = 32


@dataclasses.dataclass(frozen=True)
class _Lesson:
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


class School:
    """A trained network, and the images that it is taught with.

    Attributes:
        recipe: Of the students.
    """

    def __init__(
        self,
        dataset_dir: Path,
        info: DatasetInfo,
        recipe: Recipe,
        checkpoint_dir: Path,
        seed: int,
        cache: ImageCache | None,
        start: Sequence[np.ndarray] | None = None,
    ) -> None:
        """Opens the images.

        Args:
            dataset_dir: Folder of the dataset, `unlabeled` included.
            info: Of the dataset.
            recipe: Of the training of the network.
            checkpoint_dir: Outlives a killed task.
            seed: Of weights, order and augmentation.
            cache: Keeps decoded images for other stages and runs; None keeps none.
            start: Weights of a pretraining that the training has started from; None for none.
        """
        self._dataset_dir, self._info, self._seed = dataset_dir, info, seed
        self._checkpoint_dir = checkpoint_dir
        every = {"trainable": Setting("all", "a student learns in every layer")}
        self.recipe = complete_recipe(
            recipe.with_settings("model", every), info, UserChoices(seed=seed)
        )
        is_thorough = recipe.value("data", "self_train") == "always"
        self._arms = [NOISY_STUDENT, *([FIXMATCH] if is_thorough else [])]
        self._start = start
        self._pool = Pool(dataset_dir, info, recipe, checkpoint_dir, cache)

    def teach(self, model_path: Path, seconds: float, watch: Stopwatch) -> SelfTrainingResult:
        """Replaces the model while students are better, and returns what was seen.

        Where there are few validation images, half of those with labels judge, too, students that
        were taught by a model of the other half. If one of them is better, the model is replaced by
        a student of its kind, unless the validation images object.

        Args:
            model_path: The model.
            seconds: For everything.
            watch: Of the stage.
        """
        model = keras.models.load_model(model_path, compile=False, safe_mode=True)
        every, none = np.arange(len(self._pool.train)), np.zeros(0, int)
        lesson = first = self._lesson(Teacher(model), every, none)
        trials: list[RoundResult] = []
        rounds: list[RoundResult] = []
        failures: list[str] = []
        arms, is_tested = self._arms, len(self._pool.validation) >= ENOUGH_JUDGES
        if len(first.said.filtered.rows) < _LEAST_IMAGES:
            arms = []
        elif not is_tested:
            known, judging = halves(self._pool.strata)
            half = self._lesson(self._plain(known), known, judging)
            # A round is to have as much time as each trial.
            until = seconds * len(arms) / (len(arms) + 1)
            trials, _ = self._round(half, arms, 0, until, watch, failures)
            kept = [each.arm for each in trials if each.is_kept]
            arms = [arm for arm in arms if arm.name in kept]
            if arms:
                lesson = self._lesson(self._plain(every), every, none, half.is_refined)
        last = _MAX_ROUNDS if is_tested else 1
        for number in range(1, last + 1):
            taken = sum(each.seconds for each in trials + rounds if each.number == number - 1)
            if not arms or seconds - watch.seconds < taken:
                break
            given = (lesson, arms, number, seconds, watch, failures)
            # After a trial another network than the model has taught the student.
            rival = None if is_tested else first.losses
            found, student = self._round(*given, rival)
            rounds += found
            if student is None:
                break
            set_precision(student.model, "float32")
            student.model.save(model_path)
            if number < last:
                lesson = self._lesson(student, every, none)
        filtered = first.said.filtered
        return SelfTrainingResult(
            unlabeled=len(filtered.is_copy),
            copies=int(filtered.is_copy.sum()),
            foreign=int(filtered.is_foreign.sum()),
            foreign_distance=filtered.limit,
            foreign_images=first.said.foreign,
            loss=float(first.losses.mean()),
            trials=trials,
            rounds=rounds,
            failed=" ".join(failures),
        )

    def _plain(self, rows: np.ndarray) -> Teacher:
        """Returns a model that was trained on some of the images with labels alone."""
        given = (self._dataset_dir, self.recipe, self._info, self._pool.train, rows)
        plain = train_plain(*given, self._checkpoint_dir / "features", self._start)
        return Teacher(plain.model)

    def _lesson(
        self,
        teacher: Teacher,
        known: np.ndarray,
        judging: np.ndarray,
        is_refined: bool | None = None,
    ) -> _Lesson:
        """Returns what a teacher says, refined where that is better.

        Args:
            teacher: The model.
            known: Training images that it has learned.
            judging: The others.
            is_refined: None where the images that judge tell.
        """
        said = self._pool.ask(teacher, known)
        losses, gain = self._pool.losses(said.held, judging), None
        better = None if is_refined is False else self._pool.refine(said, known)
        if better is not None:
            gain = measure_gain(losses[None], self._pool.losses(better.held, judging)[None])
            is_refined = gain.is_accepted if is_refined is None else is_refined
            said = better if is_refined else said
        return _Lesson(teacher, known, judging, said, losses, gain, bool(is_refined))

    def _round(
        self,
        lesson: _Lesson,
        arms: Sequence[Arm],
        number: int,
        until: float,
        watch: Stopwatch,
        failures: list[str],
        rival: np.ndarray | None = None,
    ) -> tuple[list[RoundResult], Teacher | None]:
        """Returns a student of each arm, and the best one that may be kept.

        Args:
            lesson: What they are taught.
            arms: How.
            number: Of the round; 0 for a trial.
            until: When it ends, in seconds of the stage.
            watch: Of the stage.
            failures: Is added to: of students that could not be trained.
            rival: Losses of the model that a student would replace where that has not taught it:
                the gain must not be a loss that clears zero. None where it has, and the gain has to
                clear zero.
        """
        students: dict[str, Teacher] = {}
        results: list[RoundResult] = []
        for place, arm in enumerate(arms):
            began = watch.seconds
            try:
                student, seen = self._train(lesson, arm, (until - began) / (len(arms) - place))
            except TRAINING_FAILURES as error:
                failures.append(f"{arm.name}: {str(error).splitlines()[0]}")
                continue
            losses = self._pool.losses(self._pool.hear(student), lesson.judging)
            if rival is None:
                tried = len(arms) * (_MAX_ROUNDS if number else 1)
                gain = measure_gain(lesson.losses[None], losses[None], tried)
            else:
                # Not for all that were tried: a wider interval would forgive more.
                gain = measure_gain(rival[None], losses[None])
            result = RoundResult(
                number=number,
                arm=arm.name,
                images=len(lesson.said.filtered.rows),
                images_seen=seen,
                judges=len(losses),
                loss=float(losses.mean()),
                gain=gain,
                is_kept=gain.is_accepted if rival is None else gain.high >= 0,
                refined=lesson.refined,
                is_refined=lesson.is_refined,
                seconds=watch.seconds - began,
            )
            students[arm.name] = student
            results.append(result)
        better = [each for each in results if each.is_kept]
        if not better:
            return results, None
        best = max(better, key=lambda each: each.gain.value)
        marked = [dataclasses.replace(each, is_kept=each is best) for each in results]
        return marked, students[best.arm]

    def _train(self, lesson: _Lesson, arm: Arm, seconds: float) -> tuple[Teacher, int]:
        """Returns a student, and how many images it has seen."""
        pool, said = self._pool, lesson.said
        rows = said.filtered.rows
        views = soft_labels(said.unlabeled, lesson.known, len(pool.train), rows, arm)
        trainer, history = train_student(
            self._dataset_dir,
            self.recipe,
            self._info,
            pool,
            lesson.teacher,
            views,
            arm,
            self._checkpoint_dir,
            self._seed,
            seconds,
        )
        return Teacher(trainer.model), history.step * history.settings.batch_size
