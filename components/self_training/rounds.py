"""The rounds: a student is taught by the model, and is the model where that clears zero.

Shapes: N training images, U without labels, V validation images, C outputs.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from kfp_vision.components.self_training.filtering import (
    Filtered,
    filter_images,
    held_out_copies,
)
from kfp_vision.components.self_training.student import Images, soft_labels, train_student
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
from kfp_vision.components.shared.metrics.acceptance import measure_gain
from kfp_vision.components.shared.recipe.document import Recipe, Setting
from kfp_vision.components.shared.recipe.user_choices import UserChoices
from kfp_vision.components.shared.runtime.code_version import code_digest
from kfp_vision.components.shared.search.held_out import stratified_order
from kfp_vision.components.shared.search.scoring import calibrated_losses
from kfp_vision.components.shared.tasks import get_task
from kfp_vision.components.shared.training.checkpoints import Stopwatch
from kfp_vision.components.shared.training.precision import set_precision
from kfp_vision.components.shared.training.setup import complete_recipe, image_shape, open_split

__all__ = ["School"]

_MAX_ROUNDS = 3
# With fewer images left over by the filter nothing is learned.
_LEAST_IMAGES = 32
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

        Args:
            model_path: The model.
            seconds: For everything.
            watch: Of the stage.
        """
        teacher = Teacher(keras.models.load_model(model_path, compile=False, safe_mode=True))
        losses = first = self._losses(teacher)
        said, filtered, examples = self._filter(teacher)
        rounds: list[RoundResult] = []
        while self._goes_on(rounds, filtered, seconds - watch.seconds):
            began = watch.seconds
            trainer, history = train_student(
                self._dataset_dir,
                self.recipe,
                self._info,
                self._images,
                teacher,
                soft_labels(said, len(self._images.train), filtered.rows),
                self._checkpoint_dir,
                self._seed,
                seconds - began,
            )
            teacher = Teacher(trainer.model)
            before, losses = losses, self._losses(teacher)
            gain = measure_gain(before[None], losses[None], _MAX_ROUNDS)
            if gain.is_accepted:
                set_precision(trainer.model, "float32")
                trainer.model.save(model_path)
                said = teacher.say(self._unlabeled, self._folder(teacher))
            seen, taken = history.step * history.settings.batch_size, watch.seconds - began
            number = len(filtered.rows)
            rounds.append(RoundResult(number, seen, float(losses.mean()), gain, taken))
        return SelfTrainingResult(
            unlabeled=len(self._unlabeled),
            copies=int(filtered.is_copy.sum()),
            foreign=int(filtered.is_foreign.sum()),
            foreign_distance=filtered.limit,
            foreign_images=examples,
            loss=float(first.mean()),
            rounds=rounds,
        )

    def _goes_on(self, rounds: Sequence[RoundResult], filtered: Filtered, left_s: float) -> bool:
        """Returns whether another round may begin."""
        if len(filtered.rows) < _LEAST_IMAGES or len(rounds) == _MAX_ROUNDS:
            return False
        return not rounds or (rounds[-1].gain.is_accepted and rounds[-1].seconds < left_s)

    def _losses(self, teacher: Teacher) -> np.ndarray:
        """Returns the calibrated losses of a model on the validation images, [V]."""
        images = self._images.validation
        rows = np.arange(len(images))
        outputs = np.concatenate([teacher(pixels)[0] for pixels, _ in images.batches()])
        order = stratified_order(class_strata(images.source.table))
        halves = order[::2], order[1::2]
        return calibrated_losses(self._task, images.read_targets(rows), outputs, halves)

    def _filter(self, teacher: Teacher) -> tuple[np.ndarray, Filtered, list[ForeignImage]]:
        """Returns what a model says of the images without labels, and which of them are used."""
        train, validation = self._images.train, self._images.validation
        known = np.random.default_rng(0).permutation(len(train))[:_BANK]
        bank = teacher.features(train.source, np.sort(known))
        alike = nearest_distances(
            teacher.features(validation.source, np.arange(len(validation))[:_BANK]), bank
        )
        said = teacher.say(self._unlabeled, self._folder(teacher), bank)
        groups = np.load(self._dataset_dir / NEAR_DUPLICATES_FILE, allow_pickle=False)
        copies = held_out_copies(groups, self._info.splits)
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

    def _folder(self, teacher: Teacher) -> Path:
        """Returns where what a model says of these images is kept."""
        digest = hashlib.sha256(f"{code_digest()} {teacher.model.input_shape}".encode())
        for each in (*teacher.model.get_weights(), *self._unlabeled.table["sha256"].to_pylist()):
            digest.update(each)
        return self._checkpoint_dir / f"said-{digest.hexdigest()[:16]}"
