"""The rounds: a student is taught by the model, and is the model where that clears zero.

Shapes: N training images, U without labels, V validation images, C outputs.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from kfp_vision.components.self_training.filtering import (
    Filtered,
    filter_images,
    held_out_copies,
)
from kfp_vision.components.self_training.student import (
    Images,
    soft_labels,
    train_plain,
    train_student,
)
from kfp_vision.components.self_training.teacher import Teacher, nearest_distances
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.self_training_result import (
    ForeignImage,
    RoundResult,
    SelfTrainingResult,
)
from kfp_vision.components.shared.datasets.image_cache import ImageCache
from kfp_vision.components.shared.datasets.loader import ImageSource
from kfp_vision.components.shared.datasets.near_duplicates import NEAR_DUPLICATES_FILE
from kfp_vision.components.shared.datasets.store import class_strata, iterate_images
from kfp_vision.components.shared.datasets.thumbnails import thumbnail
from kfp_vision.components.shared.metrics.acceptance import Gain, measure_gain
from kfp_vision.components.shared.recipe.document import Recipe, Setting
from kfp_vision.components.shared.recipe.user_choices import UserChoices
from kfp_vision.components.shared.runtime.code_version import code_digest
from kfp_vision.components.shared.search.held_out import stratified_order
from kfp_vision.components.shared.search.scoring import held_out_losses
from kfp_vision.components.shared.tasks import get_task
from kfp_vision.components.shared.training.checkpoints import Stopwatch
from kfp_vision.components.shared.training.history import History
from kfp_vision.components.shared.training.precision import set_precision
from kfp_vision.components.shared.training.sanity import DivergenceError
from kfp_vision.components.shared.training.setup import complete_recipe, image_shape, open_split
from kfp_vision.components.shared.training.soft_targets import Views
from kfp_vision.components.shared.training.trainer import Trainer

__all__ = ["School", "halves"]

_MAX_ROUNDS = 3
# With fewer images left over by the filter nothing is learned; fewer validation images tell little.
_LEAST_IMAGES, _ENOUGH_JUDGES = 32, 100
# Of a student: the model before it is as good as it was.
_FAILURES = (DivergenceError, MemoryError, tf.errors.ResourceExhaustedError)
# Training images that a distance is measured to: their features are held in memory.
_BANK, _EXAMPLES = 4096, 12


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
    ) -> None:
        """Opens the images.

        Args:
            dataset_dir: Folder of the dataset, `unlabeled` included.
            info: Of the dataset.
            recipe: Of the training of the network.
            checkpoint_dir: Outlives a killed task.
            seed: Of weights, order and augmentation.
            cache: Keeps decoded images for other stages and runs; None keeps none.
        """
        self._dataset_dir, self._info, self._seed = dataset_dir, info, seed
        self._given = recipe
        self._checkpoint_dir, self._task = checkpoint_dir, get_task(info.task)
        every = {"trainable": Setting("all", "a student learns in every layer")}
        self.recipe = complete_recipe(
            recipe.with_settings("model", every), info, UserChoices(seed=seed)
        )
        height, width, channels = image_shape(recipe, info)
        self._unlabeled, joined = (
            ImageSource(dataset_dir, split, (height, width), channels, cache=cache)
            for split in ("unlabeled", "train+unlabeled")
        )
        train, validation = (
            open_split(dataset_dir, split, recipe, cache) for split in ("train", "validation")
        )
        self._images = Images(joined, train, validation)

    def teach(self, model_path: Path, seconds: float, watch: Stopwatch) -> SelfTrainingResult:
        """Replaces the model while students are better, and returns what was seen.

        Where there are few validation images, half of those with labels judge, too, a student that
        was taught by a model of the other half. If that helps, the model is replaced by its student
        without another test.

        Args:
            model_path: The model.
            seconds: For everything.
            watch: Of the stage.
        """
        teacher = Teacher(keras.models.load_model(model_path, compile=False, safe_mode=True))
        every, none = np.arange(len(self._images.train)), np.zeros(0, int)
        said, filtered, examples = self._ask(teacher, every)
        trial: RoundResult | None = None
        if len(filtered.rows) >= _LEAST_IMAGES and len(self._images.validation) < _ENOUGH_JUDGES:
            try:
                trial = self._try(seconds / 2, watch)
            except _FAILURES as error:
                reason = str(error).splitlines()[0]
                return SelfTrainingResult(unlabeled=len(self._unlabeled), failed=reason)
        losses = first = self._losses(teacher, none)
        rounds: list[RoundResult] = []
        failed = ""
        while self._goes_on(trial, rounds, filtered, seconds - watch.seconds):
            began = watch.seconds
            lesson = soft_labels(said, every, len(every), filtered.rows)
            try:
                trainer, history = self._train(teacher, lesson, seconds - began)
            except _FAILURES as error:
                failed = str(error).splitlines()[0]
                break
            teacher = Teacher(trainer.model)
            before, losses = losses, self._losses(teacher, none)
            gain = measure_gain(before[None], losses[None], _MAX_ROUNDS)
            is_kept = trial is not None or gain.is_accepted
            if is_kept:
                set_precision(trainer.model, "float32")
                trainer.model.save(model_path)
                said = teacher.say(self._unlabeled, self._folder(teacher, None))
            taken = watch.seconds - began
            rounds.append(_result(filtered, history, losses, gain, taken, is_kept=is_kept))
        return SelfTrainingResult(
            unlabeled=len(self._unlabeled),
            copies=int(filtered.is_copy.sum()),
            foreign=int(filtered.is_foreign.sum()),
            foreign_distance=filtered.limit,
            foreign_images=examples,
            loss=float(first.mean()),
            trial=trial,
            rounds=rounds,
            failed=failed,
        )

    def _try(self, seconds: float, watch: Stopwatch) -> RoundResult:
        """Returns what a student gains over a model of half of the labels, on the other half."""
        began, train = watch.seconds, self._images.train
        known, judging = halves(class_strata(train.source.table))
        features = self._checkpoint_dir / "features"
        plain = train_plain(self._dataset_dir, self._given, self._info, train, known, features)
        teacher = Teacher(plain.model)
        said, filtered, _ = self._ask(teacher, known)
        before = self._losses(teacher, judging)
        lesson = soft_labels(said, known, len(train), filtered.rows)
        trainer, history = self._train(teacher, lesson, seconds - watch.seconds)
        losses = self._losses(Teacher(trainer.model), judging)
        gain = measure_gain(before[None], losses[None])
        taken = watch.seconds - began
        return _result(filtered, history, losses, gain, taken, is_kept=gain.is_accepted)

    def _train(self, teacher: Teacher, lesson: Views, seconds: float) -> tuple[Trainer, History]:
        given = (self._dataset_dir, self.recipe, self._info, self._images, teacher, lesson)
        return train_student(*given, self._checkpoint_dir, self._seed, seconds)

    def _goes_on(
        self,
        trial: RoundResult | None,
        rounds: Sequence[RoundResult],
        filtered: Filtered,
        left_s: float,
    ) -> bool:
        """Returns whether another round may begin."""
        if len(filtered.rows) < _LEAST_IMAGES or len(rounds) == _MAX_ROUNDS:
            return False
        if trial is not None:
            # What is kept without another test has at least the time of what was tested.
            return trial.is_kept and not rounds and trial.seconds < left_s
        return not rounds or (rounds[-1].is_kept and rounds[-1].seconds < left_s)

    def _losses(self, teacher: Teacher, judging: np.ndarray) -> np.ndarray:
        """Returns the calibrated losses of a model on held-out images.

        Args:
            teacher: The model.
            judging: Those of the training images that count as held out, beside the validation
                images.
        """
        every = np.arange(len(self._images.validation))
        held_out = ((self._images.validation, every), (self._images.train, judging))
        return held_out_losses(self._task, lambda pixels: teacher(pixels)[0], held_out)

    def _ask(
        self, teacher: Teacher, known: np.ndarray
    ) -> tuple[np.ndarray, Filtered, list[ForeignImage]]:
        """Returns what a model says of the images without labels, and which of them are used.

        Args:
            teacher: The model.
            known: Training images that it has learned.
        """
        train, validation = self._images.train, self._images.validation
        sample = np.random.default_rng(0).permutation(known)[:_BANK]
        bank = teacher.features(train.source, np.sort(sample))
        alike = nearest_distances(
            teacher.features(validation.source, np.arange(len(validation))[:_BANK]), bank
        )
        said = teacher.say(self._unlabeled, self._folder(teacher, bank), bank)
        groups = np.load(self._dataset_dir / NEAR_DUPLICATES_FILE, allow_pickle=False)
        judging = np.setdiff1d(np.arange(len(train)), known)
        copies = held_out_copies(groups, self._info.splits, judging)
        outputs, distances = said[:, :-1], said[:, -1]
        filtered = filter_images(copies, distances, alike)
        foreign = np.flatnonzero(filtered.is_foreign)
        shown = foreign[np.argsort(-distances[foreign], kind="stable")][:_EXAMPLES]
        pictures = iterate_images(self._unlabeled.table, shown)
        examples = [
            ForeignImage(self._unlabeled.paths[row], float(distances[row]), thumbnail(pixels))
            for row, pixels in zip(shown, pictures, strict=True)
        ]
        return outputs, filtered, examples

    def _folder(self, teacher: Teacher, bank: np.ndarray | None) -> Path:
        """Returns where what a model says of these images is kept."""
        digest = hashlib.sha256(f"{code_digest()} {teacher.model.input_shape}".encode())
        for each in (*teacher.model.get_weights(), *self._unlabeled.table["sha256"].to_pylist()):
            digest.update(each)
        digest.update(b"" if bank is None else bank.tobytes())
        return self._checkpoint_dir / f"said-{digest.hexdigest()[:16]}"


def halves(strata: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns two halves of the rows of N images, each with half of every stratum.

    Args:
        strata: As of `stratified_order`, of which every other row would be those of some strata.
    """
    order = stratified_order(strata)
    middle = (len(order) + 1) // 2
    return np.sort(order[:middle]), np.sort(order[middle:])


def _result(
    filtered: Filtered,
    history: History,
    losses: np.ndarray,
    gain: Gain,
    seconds: float,
    *,
    is_kept: bool,
) -> RoundResult:
    seen = history.step * history.settings.batch_size
    return RoundResult(
        images=len(filtered.rows),
        images_seen=seen,
        judges=len(losses),
        loss=float(losses.mean()),
        gain=gain,
        is_kept=is_kept,
        seconds=seconds,
    )
