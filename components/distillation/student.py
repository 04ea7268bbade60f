"""The student: the user's network, taught by the outputs of a teacher and by its features.

Hinton et al., 2015, arXiv:1503.02531, section 2; Romero et al., 2015, arXiv:1412.6550; long,
and by what the teacher makes of the very views that the student sees: Beyer et al., 2022,
arXiv:2106.05237.
"""

import dataclasses
import functools
import json
import math
from pathlib import Path
from typing import Any, cast

import keras
import numpy as np
import tensorflow as tf

from kfp_vision.components.distillation.feature_trainer import FeatureTrainer
from kfp_vision.components.distillation.lesson import ViewTeacher, largest_lesson
from kfp_vision.components.distillation.pictures import PictureImages, list_pictures
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.distillation_result import TeachingTrial
from kfp_vision.components.shared.artifacts.json_files import json_text
from kfp_vision.components.shared.augmentation.policy import Policy
from kfp_vision.components.shared.datasets.labelled import LabelledImages
from kfp_vision.components.shared.datasets.loader import BatchOrder, ImageSource
from kfp_vision.components.shared.recipe.distilled import MOST_PASSES
from kfp_vision.components.shared.recipe.document import Recipe
from kfp_vision.components.shared.recipe.hyperparameters import SECTION
from kfp_vision.components.shared.recipe.initial_weights import starts_pretrained
from kfp_vision.components.shared.runtime.atomic_files import write_atomically
from kfp_vision.components.shared.runtime.progress import Progress
from kfp_vision.components.shared.runtime.storage import kept_folder
from kfp_vision.components.shared.search.scoring import held_out_losses
from kfp_vision.components.shared.search.short_training import run_steps
from kfp_vision.components.shared.training.checkpoints import StageWatch
from kfp_vision.components.shared.training.fit import fit
from kfp_vision.components.shared.training.history import History
from kfp_vision.components.shared.training.length import Pace, measure_pace
from kfp_vision.components.shared.training.run import TrainingRun
from kfp_vision.components.shared.training.schedules import warmup_cosine
from kfp_vision.components.shared.training.setup import build_trainer, recipe_class_weights
from kfp_vision.components.shared.training.soft_targets import (
    Answers,
    Teaching,
    taught_images,
)

__all__ = ["Student", "Taught"]

# Of the time, at most: for the teacher, and for the short trainings that choose how it is followed.
_TEACHER_SHARE, _TRIALS_SHARE = 0.3, 0.2
# Outputs alone at these temperatures; then the best way so far with so much of the label, and that
# of all with so much of the features.
_TEMPERATURES, _LABEL_SHARE, _FEATURE_WEIGHT = (1.0, 2.0, 4.0), 0.3, 1.0
_NUM_TRIALS = len(_TEMPERATURES) + 2
_WITHOUT_TRIALS = Teaching(temperature=2.0, label_share=0.0)
# Of the learning rate of the plain training.
_RATE_SCALE = 2.0
# Of the steps of a plain training; fewer than so many tell nothing.
_TRIAL_LENGTH, _LEAST_STEPS = 0.2, 30


def _of_a_student(recipe: Recipe) -> dict[str, Any]:
    """Returns the settings that differ from those of the plain training.

    A small network learns all that a teacher says of ever new pictures in no time that there is:
    what keeps it from learning labels by heart only slows it down, and it bears a higher rate. One
    that starts pretrained keeps the rate that its weights bear, and a user's rate stays.
    """
    changes, rate = {"dropout": 0.0, "label_smoothing": 0.0}, recipe.get(SECTION, "learning_rate")
    if rate is None or rate.source == "user" or starts_pretrained(recipe):
        return changes
    return {**changes, "learning_rate": _RATE_SCALE * rate.value}


@dataclasses.dataclass(frozen=True)
class Taught:
    """A student at its last step.

    Attributes:
        model: It.
        teaching: How it followed its teacher.
        trials: What chose that.
        num_pictures: Pictures that the teacher was asked about.
        images_seen: With repetition, trials included.
    """

    model: keras.Model
    teaching: Teaching
    trials: list[TeachingTrial]
    num_pictures: int
    images_seen: int


class Student:
    """A network that is trained once more, from its weights, by what a teacher says."""

    def __init__(
        self,
        recipe: Recipe,
        info: DatasetInfo,
        source: ImageSource,
        train: LabelledImages,
        validation: LabelledImages,
        policy: Policy,
        teacher: ViewTeacher,
        checkpoint_dir: Path,
        seed: int,
    ) -> None:
        """Builds the network; compiles at the first step.

        Args:
            recipe: Complete.
            info: Of the dataset.
            source: Images with labels, then those without, in the size that the student takes.
            train: Those with labels.
            validation: Those that choose, and judge.
            policy: Augments the images of teacher and student alike.
            teacher: Of the images of the source.
            checkpoint_dir: Of this student alone; outlives a killed task.
            seed: Of weights, order and augmentation.
        """
        self._recipe, self._source, self._train = recipe, source, train
        self._validation, self._teacher, self._seed = validation, teacher, seed
        self._checkpoint_dir = kept_folder(checkpoint_dir)
        # Variables, so that a compiled step serves every trial.
        temperature, share, weight = (tf.Variable(0.0, trainable=False) for _ in range(3))
        self._teaching = Teaching(temperature, share, feature_weight=weight)
        kind = functools.partial(
            FeatureTrainer, num_features=teacher.num_features, feature_weight=weight
        )
        given = (recipe, info, seed, policy, self._teaching, kind)
        trainer, self._task, self._settings = build_trainer(*given, **_of_a_student(recipe))
        self._trainer = cast(FeatureTrainer, trainer)

    def learn(
        self, weights: list[np.ndarray], rows: np.ndarray, seconds: float, watch: StageWatch
    ) -> Taught:
        """Returns the student, taught by the teacher.

        Args:
            weights: Of the network as it was trained before.
            rows: As of `list_pictures`, of the source.
            seconds: For everything.
            watch: Of the stage.
        """
        watch.open(self._checkpoint_dir)
        self._trainer.student.set_weights(weights)
        self._trainer.restart_average()
        batch = self._settings.batch_size
        steps = math.ceil(MOST_PASSES * self._settings.steps)
        taught = self._ask(rows, steps * batch, seconds, watch)
        order = BatchOrder(len(taught), batch, self._seed)
        pixels, targets = taught.take(order.indices(0)[0])
        pace = measure_pace(self._trainer, pixels, targets, len(taught), len(self._validation))
        trials, tried = self._choose(taught, pace, seconds, watch)
        teaching = _best_way(trials)
        self._follow(teaching)

        def start(_: object) -> History:
            length = pace.length_within(seconds - watch.seconds, steps)
            checks = {"initial_loss": self._trainer.mean_loss(pixels, targets)}
            ends = seconds if seconds < math.inf else None
            return History(self._settings, length[0], checks, num_evaluations=length[1], ends=ends)

        run = TrainingRun(
            self._trainer,
            self._task,
            taught,
            self._validation,
            primary_metric=self._recipe.value("data", "primary_metric"),
            checkpoint_dir=self._checkpoint_dir / "student",
            start=start,
            keeps_last=True,
            seed=self._seed,
            watch=watch,
        )
        history = fit(run, self._settings)
        seen = history.step * batch + tried
        return Taught(self._trainer.student, teaching, trials, len(taught), seen)

    def _ask(
        self, rows: np.ndarray, count: int, seconds: float, watch: StageWatch
    ) -> LabelledImages:
        """Returns the lesson: at most so many pictures as there is time to ask about."""
        teacher = self._teacher
        most = largest_lesson(teacher.num_outputs + teacher.num_features)
        pictures = list_pictures(rows, min(count, most), self._seed)
        if seconds < math.inf:

            def measure() -> float:
                return _TEACHER_SHARE * seconds / teacher.seconds_per_picture(pictures)

            affordable = max(1, int(watch.once("pictures", measure)))
            pictures = pictures.first(min(affordable, len(pictures)))
        said, features = teacher.teach(pictures, self._checkpoint_dir, watch.save)
        taught = taught_images(self._source, self._train, Answers(pictures.rows, said))

        def read(numbers: np.ndarray) -> dict[str, np.ndarray]:
            targets = taught.read_targets(numbers)
            # The label of a mix is not that of the image.
            is_whole = (pictures.shares[numbers] == 1).astype(np.float32)
            return {
                **targets,
                "is_labelled": targets["is_labelled"] * is_whole,
                "features": features[numbers].astype(np.float32),
                # What the augmentation is drawn from: the student sees what its teacher has seen.
                "row": pictures.rows[numbers],
                "view": pictures.views[numbers],
            }

        return PictureImages(self._source, read, pictures.rows, pictures=pictures)

    def _choose(
        self,
        taught: LabelledImages,
        pace: Pace,
        seconds: float,
        watch: StageWatch,
    ) -> tuple[list[TeachingTrial], int]:
        """Returns short trainings that each follow the teacher in another way, and their images."""
        path, trials = self._checkpoint_dir / "trials.json", []
        length = int(_TRIAL_LENGTH * self._settings.steps)
        if seconds < math.inf:

            def measure() -> float:
                each_s = _TRIALS_SHARE * (seconds - watch.seconds) / _NUM_TRIALS
                return (each_s - pace.evaluation_s) / pace.step_s

            length = min(length, int(watch.once("steps of a trial", measure)))
        if path.exists():
            trials = [TeachingTrial(**each) for each in json.loads(path.read_text())]
        if length < _LEAST_STEPS:
            return [], 0
        initial = self._trainer.state()
        with Progress("choose how to follow the teacher", _NUM_TRIALS, "trials") as progress:
            for number in range(len(trials), _NUM_TRIALS):
                watch.save()
                trials.append(self._try(taught, _next_way(trials), length))
                self._trainer.restore(initial)
                content = [dataclasses.asdict(each) for each in trials]
                write_atomically(path, json_text(content).encode())
                watch.save()
                progress.update(number + 1)
        return trials, _NUM_TRIALS * length * self._settings.batch_size

    def _try(self, taught: LabelledImages, teaching: Teaching, steps: int) -> TeachingTrial:
        self._follow(teaching)
        peak, warmup = self._settings.learning_rate, steps // 10
        rates = warmup_cosine(np.arange(steps), peak, warmup, steps)
        rows, batch = np.arange(len(taught)), self._settings.batch_size
        for _ in run_steps(self._trainer, taught, rows, rates, batch, self._seed):
            pass
        judging = [(self._validation, np.arange(len(self._validation)))]
        weights = recipe_class_weights(self._recipe)
        losses = held_out_losses(self._task, self._trainer.outputs, judging, weights)
        loss = float(losses.mean())
        return TeachingTrial(
            teaching.temperature,
            teaching.label_share,
            teaching.feature_weight,
            loss if math.isfinite(loss) else None,
        )

    def _follow(self, teaching: Teaching) -> None:
        self._teaching.temperature.assign(teaching.temperature)
        self._teaching.label_share.assign(teaching.label_share)
        self._teaching.feature_weight.assign(teaching.feature_weight)


def _best_way(trials: list[TeachingTrial]) -> Teaching:
    """Returns how the best short training followed the teacher, or the default where none ended."""
    losses = [(each.loss, at) for at, each in enumerate(trials) if each.loss is not None]
    if not losses:
        return _WITHOUT_TRIALS
    best = trials[min(losses)[1]]
    return Teaching(best.temperature, best.label_share, feature_weight=best.feature_weight)


def _next_way(trials: list[TeachingTrial]) -> Teaching:
    """Returns how the next short training follows the teacher."""
    if len(trials) < len(_TEMPERATURES):
        return Teaching(_TEMPERATURES[len(trials)], label_share=0.0)
    best = _best_way(trials)
    if len(trials) == len(_TEMPERATURES):
        return dataclasses.replace(best, label_share=_LABEL_SHARE)
    return dataclasses.replace(best, feature_weight=_FEATURE_WEIGHT)
