"""The school: students are taught by the model, and one is the model where that clears zero."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from kfp_vision.components.self_training.arm import LABELS_ALONE
from kfp_vision.components.self_training.fixmatch import FIXMATCH
from kfp_vision.components.self_training.lesson import Lesson, make_lesson
from kfp_vision.components.self_training.noisy_student import NOISY_STUDENT
from kfp_vision.components.self_training.plain import train_plain
from kfp_vision.components.self_training.pool import Pool
from kfp_vision.components.self_training.rounds import MAX_ROUNDS, Rounds
from kfp_vision.components.self_training.teacher import Teacher
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.self_training_result import (
    RoundResult,
    SelfTrainingResult,
)
from kfp_vision.components.shared.datasets.image_cache import ImageCache
from kfp_vision.components.shared.datasets.near_duplicates import without_copies
from kfp_vision.components.shared.recipe.document import Recipe, Setting
from kfp_vision.components.shared.recipe.unlabeled import ENOUGH_JUDGES
from kfp_vision.components.shared.recipe.user_choices import UserChoices
from kfp_vision.components.shared.runtime.identity import training_identity
from kfp_vision.components.shared.search.held_out import halves
from kfp_vision.components.shared.training.checkpoints import StageWatch
from kfp_vision.components.shared.training.precision import set_precision
from kfp_vision.components.shared.training.sanity import TRAINING_FAILURES, failure_reason
from kfp_vision.components.shared.training.setup import complete_recipe

__all__ = ["School"]

# With fewer images left over by the filter nothing is learned.
_LEAST_IMAGES = 32
# Of the time: for the passes over the images without labels, of each lesson one, three at most.
_ASKED_SHARE, _LESSONS = 0.3, 3
# Of the time that the same took before: with less a round does not begin.
_LEAST_TIME = 0.8
# Of a training on all labels.
_HALF = 0.5


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
        start: Sequence[np.ndarray] | None,
        seconds: float,
        watch: StageWatch,
    ) -> None:
        """Opens the images.

        Args:
            dataset_dir: Folder of the dataset, `unlabeled` included.
            info: Of the dataset.
            recipe: Of the training of the network.
            checkpoint_dir: Outlives a killed task.
            seed: Of weights, order, augmentation, and of the images that are asked about.
            cache: Keeps decoded images for other stages and runs; None keeps none.
            start: Weights of a pretraining that the training has started from; None for none.
            seconds: For everything; infinite where time is no limit.
            watch: Of the stage.
        """
        self._dataset_dir, self._info, self._seed = dataset_dir, info, seed
        self._checkpoint_dir, self._seconds, self._watch = checkpoint_dir, seconds, watch
        every = {"trainable": Setting("all", "a student learns in every layer")}
        self.recipe = complete_recipe(
            recipe.with_settings("model", every), info, UserChoices(seed=seed)
        )
        is_thorough = recipe.value("data", "self_train") == "always"
        self._arms = [LABELS_ALONE, NOISY_STUDENT, *([FIXMATCH] if is_thorough else [])]
        self._start = start
        self._pool = pool = Pool(dataset_dir, info, recipe, checkpoint_dir, cache, watch.save)
        about = {"stage": "self_train", "seed": seed, "unlabeled": pool.digest}
        watch.open(checkpoint_dir / training_identity(dataset_dir, recipe, **about))
        given = (dataset_dir, info, self.recipe, pool, checkpoint_dir, seed, watch)
        self._rounds = Rounds(*given)
        self._every, self._none = np.arange(len(self._pool.train)), np.zeros(0, int)
        self._plain_images_seen = 0

    def teach(self, model_path: Path) -> SelfTrainingResult:
        """Replaces the model while students are better, and returns what was seen.

        Args:
            model_path: The model.
        """
        model = keras.models.load_model(model_path, compile=False, safe_mode=True)
        teacher = Teacher(model)
        self._choose_images(teacher)
        first = make_lesson(self._pool, teacher, self._every, self._none)
        trials: list[RoundResult] = []
        rounds: list[RoundResult] = []
        untried, left = "", len(first.said.filtered.rows)
        if left < _LEAST_IMAGES:
            untried = f"{left} are left to learn, fewer than {_LEAST_IMAGES}"
        elif not self._has_time("a student", 0.0):
            untried = "no time was left for a student"
        else:
            if len(self._pool.validation) >= ENOUGH_JUDGES:
                rounds = self._teach_in_rounds(first, model_path)
            else:
                trials, rounds = self._teach_after_trial(first, model_path)
        filtered = first.said.filtered
        return SelfTrainingResult(
            unlabeled=len(self._pool.unlabeled),
            asked=len(filtered.is_copy),
            copies=int(filtered.is_copy.sum()),
            foreign=int(filtered.is_foreign.sum()),
            foreign_distance=filtered.limit,
            foreign_judges=filtered.judges,
            foreign_within=filtered.within,
            foreign_by=first.said.foreign_by,
            foreign_images=first.said.foreign,
            loss=float(first.losses.mean()),
            trials=trials,
            rounds=rounds,
            plain_images_seen=self._plain_images_seen,
            untried=untried,
            failed=" ".join(self._rounds.failures),
        )

    def _choose_images(self, teacher: Teacher) -> None:
        """Lets models be asked about as many images as there is time for."""
        pool, affordable = self._pool, math.inf
        if self._seconds < math.inf:

            def measure() -> float:
                given = (teacher, self._seed, _ASKED_SHARE * self._seconds, _LESSONS)
                return pool.affordable(*given)

            affordable = self._watch.once("images asked", measure)
        pool.sample(affordable, self._seed)

    def _teach_in_rounds(self, lesson: Lesson, model_path: Path) -> list[RoundResult]:
        """Replaces the model by its students, as long as their gains clear zero."""
        rounds: list[RoundResult] = []
        taken = 0.0
        for number in range(1, MAX_ROUNDS + 1):
            if number > 1:
                if not self._has_time(f"round {number}", taken):
                    break
                lesson = make_lesson(self._pool, lesson.teacher, self._every, self._none)
            found, student = self._rounds.run(lesson, self._arms, number, self._seconds)
            rounds += found
            if student is None:
                break
            _save(student, model_path)
            lesson = dataclasses.replace(lesson, teacher=student)
            taken = sum(each.seconds for each in found)
        return rounds

    def _teach_after_trial(
        self, first: Lesson, model_path: Path
    ) -> tuple[list[RoundResult], list[RoundResult]]:
        """Tries on half of the labels whether students gain, then replaces the model by one.

        The other half judges the trial, too. The student that may replace the model is one of a
        network on all labels, unless the validation images object.

        Args:
            first: Of the model.
            model_path: The model.
        """
        known, judging = halves(self._pool.strata)
        judging = without_copies(self._pool.groups, self._info.splits, known, judging)
        began = self._watch.moment("trial")
        # Of a training on all labels, as long as a student: half of it, a trial of each arm, all
        # of it, and the round.
        part = (self._seconds - began) / (_HALF + len(self._arms) + 1 + 1)
        half = self._plain(known, began + _HALF * part)
        plain_s = self._watch.moment("trial taught") - began
        if half is None:
            return [], []
        lesson = make_lesson(self._pool, half, known, judging)
        trials, student = self._rounds.run(
            lesson, self._arms, 0, began + (_HALF + len(self._arms)) * part
        )
        kept = next((each for each in trials if each.is_kept), None)
        if student is None or kept is None:
            return trials, []
        taken = plain_s * len(self._every) / len(known) + kept.seconds
        now = self._watch.moment("trial over")
        if not self._has_time("round 1", taken):
            return trials, []
        plain = self._plain(self._every, now + (self._seconds - now) / 2)
        if plain is None:
            return trials, []
        lesson = make_lesson(self._pool, plain, self._every, self._none, lesson)
        arms = [arm for arm in self._arms if arm.name == kept.arm]
        rounds, student = self._rounds.run(lesson, arms, 1, self._seconds, first.losses)
        if student is not None:
            _save(student, model_path)
        return trials, rounds

    def _has_time(self, name: str, taken: float) -> bool:
        """Returns whether there is time left for what has taken so long, as first decided."""

        def decide() -> float:
            return float(self._seconds - self._watch.seconds >= _LEAST_TIME * taken)

        return bool(self._watch.once(f"time for {name}", decide))

    def _plain(self, rows: np.ndarray, ends: float) -> Teacher | None:
        """Returns a model that was trained on some of the images with labels; None if it cannot.

        Args:
            rows: Which of them.
            ends: When that is over, in seconds of the stage.
        """
        pool = self._pool
        given = (self._dataset_dir, self.recipe, self._info, pool.train, pool.validation, rows)
        kept = (self._start, self._checkpoint_dir, self._seed)
        try:
            trainer, history = train_plain(*given, *kept, ends, self._watch)
        except TRAINING_FAILURES as error:
            self._rounds.failures.append(f"labels alone: {failure_reason(error)}")
            return None
        self._plain_images_seen += history.step * history.settings.batch_size
        return Teacher(trainer.model)


def _save(student: Teacher, model_path: Path) -> None:
    set_precision(student.model, "float32")
    student.model.save(model_path)
