"""All images of a dataset, with labels and without, and what models say of them.

Shapes: N training images, V validation images, U without labels that are asked about, C outputs, F
features.
"""

import dataclasses
import functools
import hashlib
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from scipy.special import logit

from kfp_vision.components.self_training.filtering import Filtered, filter_images
from kfp_vision.components.self_training.graph import MAX_NODES, neighbour_graph, spread
from kfp_vision.components.self_training.noisy_student import balance
from kfp_vision.components.self_training.pretrained_view import PretrainedView, open_pretrained_view
from kfp_vision.components.self_training.teacher import Teacher, nearest_distances
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.self_training_result import ForeignImage, Neighbours
from kfp_vision.components.shared.datasets.image_cache import ImageCache
from kfp_vision.components.shared.datasets.labelled import LabelledImages
from kfp_vision.components.shared.datasets.loader import ImageSource
from kfp_vision.components.shared.datasets.near_duplicates import (
    NEAR_DUPLICATES_FILE,
    held_out_copies,
)
from kfp_vision.components.shared.datasets.store import class_strata, iterate_images
from kfp_vision.components.shared.datasets.thumbnails import thumbnail
from kfp_vision.components.shared.recipe.document import Recipe
from kfp_vision.components.shared.runtime.code_version import code_digest
from kfp_vision.components.shared.runtime.seeds import seed_word
from kfp_vision.components.shared.search.scoring import (
    calibrated_losses,
    fit_task_temperature,
    random_halves,
)
from kfp_vision.components.shared.tasks import task_of
from kfp_vision.components.shared.tasks.calibration import activate
from kfp_vision.components.shared.training.setup import (
    image_shape,
    open_split,
    recipe_class_weights,
)

__all__ = ["Pool", "Said"]

# Outputs are multiplied by it: soft labels at temperature 1/2 (MixMatch: Berthelot et al., 2019,
# arXiv:1905.02249, equation 7 and section 3.5).
_SHARPENING = 2.0
# Training images that a distance is measured to, and validation images whose distance is: their
# features are held in memory.
_BANK, _EXAMPLES = 4096, 12
_LEAST_PROBABILITY = 1e-6
# U x C, and nodes of the graph x F, at most: 128 MiB as float32, of which there are a few copies.
_MOST_OUTPUTS = 2**25
# Batches by which a model is timed.
_TIMED_BATCHES = 3
# Images by which the pretrained network is.
_TIMED_VIEWS = 64


@dataclasses.dataclass(frozen=True)
class Said:
    """What a model says of the images.

    Attributes:
        held: Outputs for training and validation images, sharpened, [N + V, C]; 0 for training
            images that do not judge.
        unlabeled: For those without labels, the same, [U, C].
        features: Of all of them, in this order, [N + V + U, F], as the model and as the pretrained
            network sees them; nothing where they are too many.
        filtered: Which of these are used.
        foreign: Some of those that are not.
        foreign_by: By whose features they are.
    """

    held: np.ndarray
    unlabeled: np.ndarray
    features: dict[Neighbours, np.ndarray]
    filtered: Filtered
    foreign: list[ForeignImage]
    foreign_by: Neighbours


class Pool:
    """The images, at the size of a network.

    Attributes:
        joined: Those with labels, then those without.
        train: Those with labels.
        validation: Those that judge.
        unlabeled: Those without labels.
        asked: Which of these models are asked about, rising, int [U].
    """

    def __init__(
        self,
        dataset_dir: Path,
        info: DatasetInfo,
        recipe: Recipe,
        checkpoint_dir: Path,
        cache: ImageCache | None,
        on_part: Callable[[], None],
    ) -> None:
        """Opens them.

        Args:
            dataset_dir: Folder of the dataset, `unlabeled` included.
            info: Of the dataset.
            recipe: Of the training of the network.
            checkpoint_dir: Outlives a killed task.
            cache: Keeps decoded images for other stages and runs; None keeps none.
            on_part: Called when a part of what a model says is known.
        """
        self._dataset_dir, self._info, self._recipe = dataset_dir, info, recipe
        self._checkpoint_dir, self._task = checkpoint_dir, task_of(info)
        height, width, channels = image_shape(recipe, info)
        self.unlabeled, self.joined = (
            ImageSource(dataset_dir, split, (height, width), channels, cache=cache)
            for split in ("unlabeled", "train+unlabeled")
        )
        self.train: LabelledImages
        self.train, self.validation = (
            open_split(dataset_dir, split, recipe, cache) for split in ("train", "validation")
        )
        self._on_part, self._affordable = on_part, math.inf
        self.asked = np.arange(len(self.unlabeled))

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of all images without labels, in their order."""
        content = b"".join(self.unlabeled.table["sha256"].to_pylist())
        return hashlib.sha256(content).hexdigest()

    def seconds_per_image(self, teacher: Teacher, seed: int) -> float:
        """Returns what it takes to read an image and to ask a model about it."""
        few = _TIMED_BATCHES * self.unlabeled.images_per_batch
        return teacher.seconds_per_image(self.unlabeled, self._order(seed)[:few])

    def affordable(self, teacher: Teacher, seed: int, seconds: float, lessons: int) -> float:
        """Returns how many images without labels can be looked at in some time.

        Where they are few enough for a graph, the pretrained network looks at each of them, too.

        Args:
            teacher: The model.
            seed: Of the sample.
            seconds: For all lessons.
            lessons: In each of them a model is asked about every image.
        """
        image_s = lessons * self.seconds_per_image(teacher, seed)
        if self._view is not None:
            viewed_s = self._view.seconds_per_image("unlabeled", self._order(seed)[:_TIMED_VIEWS])
            viewed = seconds / (image_s + viewed_s)
            if self._num_labelled + min(viewed, len(self.unlabeled)) <= MAX_NODES:
                return viewed
        return seconds / image_s

    def sample(self, affordable: float, seed: int) -> None:
        """Lets models be asked about a random part of the images without labels from now on.

        Args:
            affordable: Images that there is time for, each time; infinite where that is no limit.
            seed: Of the sample.
        """
        self._affordable = affordable
        most = min(affordable, _MOST_OUTPUTS // len(self._info.classes), len(self.unlabeled))
        self.asked = np.sort(self._order(seed)[: max(1, int(most))])

    def _order(self, seed: int) -> np.ndarray:
        return np.random.default_rng(seed_word(seed)).permutation(len(self.unlabeled))

    def ask(self, teacher: Teacher, known: np.ndarray) -> Said:
        """Returns what a model says, and which of the images without labels are used.

        Args:
            teacher: The model.
            known: Training images that it has learned.
        """
        held = (self.train.source, self.validation.source)
        has_graph = self._has_graph(teacher.num_features)
        # On disk the images of a class lie together.
        samples = [
            np.sort(np.random.default_rng(0).permutation(rows)[:_BANK])
            for rows in (known, np.arange(len(self.validation)))
        ]
        features = [
            teacher.features(source, np.arange(len(source)) if has_graph else sample)
            for source, sample in zip(held, samples, strict=True)
        ]
        bank, others = (
            each[sample] if has_graph else each
            for each, sample in zip(features, samples, strict=True)
        )
        folder = self._folder(teacher, bank, has_graph)
        given = (self.unlabeled, self.asked, folder, bank, has_graph, self._on_part)
        said, distances, asked_features = teacher.say(*given)
        foreign_by: Neighbours = "own"
        nodes: dict[Neighbours, np.ndarray] = {}
        if has_graph:
            nodes["own"] = np.concatenate([*features, asked_features])
        if self._view is not None and self._has_graph(self._view.num_features):
            nodes["pretrained"] = self._view_all()
            # Few labels have not taught the model to tell its classes from anything else.
            foreign_by = "pretrained"
            alike, distances = self._distances(nodes[foreign_by], samples)
        else:
            alike = nearest_distances(others, bank)
        judging = np.setdiff1d(np.arange(len(self.train)), known)
        copies = held_out_copies(self.groups, self._info.splits, judging)[self.asked]
        outputs = _SHARPENING * said
        filtered = filter_images(copies, distances, alike)
        foreign = np.flatnonzero(filtered.is_foreign)
        shown = foreign[np.argsort(-distances[foreign], kind="stable")][:_EXAMPLES]
        pictures = iterate_images(self.unlabeled.table, self.asked[shown])
        examples = [
            ForeignImage(
                self.unlabeled.paths[self.asked[place]], float(distances[place]), thumbnail(pixels)
            )
            for place, pixels in zip(shown, pictures, strict=True)
        ]
        answers = self.hear(teacher, judging)
        return Said(answers, outputs, nodes, filtered, examples, foreign_by)

    def hear(self, teacher: Teacher, judging: np.ndarray) -> np.ndarray:
        """Returns what a model says of the images with labels that judge, as `Said.held`.

        Args:
            teacher: The model.
            judging: Which of the training images do, beside the validation images.
        """
        held = [(self.train, judging), (self.validation, np.arange(len(self.validation)))]
        said = [teacher(pixels)[0] for each, rows in held for pixels, _ in each.batches(rows)]
        outputs = np.zeros((len(self.train) + len(self.validation), said[0].shape[1]), np.float32)
        rows = np.concatenate([judging, np.arange(len(self.train), len(outputs))])
        outputs[rows] = _SHARPENING * np.concatenate(said)
        return outputs

    def losses(self, held: np.ndarray, judging: np.ndarray) -> np.ndarray:
        """Returns the calibrated losses on held-out images.

        Args:
            held: Of `hear`.
            judging: Those of the training images that count as held out, beside the validation
                images.
        """
        outputs, targets = self._judged(held, judging)
        given = (self._task, targets, outputs, random_halves(len(outputs)))
        return calibrated_losses(*given, recipe_class_weights(self._recipe))

    def temperature(self, held: np.ndarray, judging: np.ndarray) -> float:
        """Returns what outputs are divided by to be calibrated; arguments of `losses`."""
        outputs, targets = self._judged(held, judging)
        weights = recipe_class_weights(self._recipe)
        return fit_task_temperature(self._task, targets, outputs, weights)

    def _judged(
        self, held: np.ndarray, judging: np.ndarray
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        rows = np.concatenate([judging, np.arange(len(self.train), len(held))])
        return held[rows], {"label": self._labels[rows]}

    def ways(self, said: Said) -> list[Neighbours]:
        """Returns what can be made of what a model says, as of `refine`.

        There is nothing to make of several labels an image without a graph, nor where no image is
        left.

        Args:
            said: By the model.
        """
        if not len(said.filtered.rows):
            return []
        return [*said.features] or ([] if self._labels.ndim == 2 else ["none"])

    def refine(self, said: Said, known: np.ndarray, neighbours: Neighbours) -> Said:
        """Returns what is made of what a model says: by neighbours, and by the shares of classes.

        Args:
            said: By the model.
            known: Training images that it has learned.
            neighbours: By whose features.
        """
        has_many = self._labels.ndim == 2
        outputs = np.concatenate([said.held, said.unlabeled])
        found = activate(outputs, has_many)
        present = self._labels if has_many else np.eye(found.shape[1])[self._labels]
        left = len(said.held) + said.filtered.rows
        if neighbours != "none":
            found[known] = present[known]
            # What is not taught does not speak for what is.
            nodes = np.concatenate([np.arange(len(said.held)), left])
            graph = neighbour_graph(said.features[neighbours][nodes])
            found[nodes] = spread(graph, found[nodes])
        if not has_many:
            shares, weights = present[known].mean(axis=0), recipe_class_weights(self._recipe)
            found = balance(found, shares, left, weights)
        found = np.clip(found, _LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY)
        outputs = (logit(found) if has_many else np.log(found)).astype(np.float32)
        held, unlabeled = np.split(outputs, [len(said.held)])
        return dataclasses.replace(said, held=held, unlabeled=unlabeled)

    @functools.cached_property
    def groups(self) -> np.ndarray:
        """Of near duplicates and exact copies, over the images of all splits, int64."""
        groups: np.ndarray = np.load(self._dataset_dir / NEAR_DUPLICATES_FILE, allow_pickle=False)
        return groups

    @functools.cached_property
    def strata(self) -> np.ndarray:
        """Alike for training images of the same classes, [N]."""
        return class_strata(self.train.source.table)

    @functools.cached_property
    def _labels(self) -> np.ndarray:
        held = (self.train, self.validation)
        return np.concatenate([each.read_targets(np.arange(len(each)))["label"] for each in held])

    @functools.cached_property
    def _view(self) -> PretrainedView | None:
        nodes = min(MAX_NODES, self._num_labelled + len(self.unlabeled))
        folder = self._checkpoint_dir / "features"
        return open_pretrained_view(self._dataset_dir, self._info, nodes, folder)

    def _view_all(self) -> np.ndarray:
        """Returns how the pretrained network sees all images that are asked about."""
        assert self._view is not None
        held = {"train": len(self.train), "validation": len(self.validation)}
        features = [self._view(split, np.arange(size)) for split, size in held.items()]
        return np.concatenate([*features, self._view("unlabeled", self.asked)])

    def _distances(
        self, features: np.ndarray, samples: Sequence[np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns those of validation images and of images without labels to training images.

        Args:
            features: Of all images, as of `Said`.
            samples: Which training and validation images count.
        """
        places = np.cumsum([len(self.train), len(self.validation)])
        train, validation, unlabeled = np.split(features, places)
        bank = train[samples[0]]
        return nearest_distances(validation[samples[1]], bank), nearest_distances(unlabeled, bank)

    @property
    def _num_labelled(self) -> int:
        return len(self.train) + len(self.validation)

    def _has_graph(self, num_features: int) -> bool:
        """Returns whether so many features of all images fit, and there is time for them."""
        nodes = self._num_labelled + len(self.asked)
        fits = nodes <= MAX_NODES and nodes * num_features <= _MOST_OUTPUTS
        return fits and self._num_labelled <= self._affordable

    def _folder(self, teacher: Teacher, bank: np.ndarray, with_features: bool) -> Path:
        """Returns where what a model says of these images is kept."""
        digest = hashlib.sha256(f"{code_digest()} {teacher.digest} {with_features}".encode())
        for each in self.unlabeled.table["sha256"].take(self.asked).to_pylist():
            digest.update(each)
        digest.update(bank.tobytes())
        return self._checkpoint_dir / f"said-{digest.hexdigest()[:16]}"
