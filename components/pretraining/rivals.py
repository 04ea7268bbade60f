"""Both arms against each other, the better one against the start without it.

Shapes: N training images, U without labels, V validation images.
"""

import math
from pathlib import Path

import numpy as np

from kfp_vision.components.pretraining.learner import ARMS, Learner
from kfp_vision.components.pretraining.probes import Probe
from kfp_vision.components.pretraining.trial import Trial, decide
from kfp_vision.components.pretraining.twins import TwinImages, twin_batch_size
from kfp_vision.components.pretraining.views import choose_views
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.pretraining_result import ArmResult, PretrainingResult
from kfp_vision.components.shared.datasets.image_cache import ImageCache
from kfp_vision.components.shared.datasets.loader import ImageSource
from kfp_vision.components.shared.datasets.near_duplicates import (
    NEAR_DUPLICATES_FILE,
    held_out_copies,
    without_copies,
)
from kfp_vision.components.shared.datasets.store import class_strata
from kfp_vision.components.shared.metrics.acceptance import why_no_gain
from kfp_vision.components.shared.recipe.document import Recipe
from kfp_vision.components.shared.recipe.unlabeled import ENOUGH_JUDGES, pretraining_passes
from kfp_vision.components.shared.runtime.identity import training_identity
from kfp_vision.components.shared.search.held_out import halves
from kfp_vision.components.shared.tasks import task_of
from kfp_vision.components.shared.training.checkpoints import Stopwatch
from kfp_vision.components.shared.training.replicas import node_strategy
from kfp_vision.components.shared.training.sanity import TRAINING_FAILURES, MemorizationError
from kfp_vision.components.shared.training.setup import (
    image_shape,
    open_split,
    recipe_class_weights,
    recipe_policy,
)
from kfp_vision.components.shared.training.start_weights import weights_digest

__all__ = ["FAILURES", "Rivals", "compete"]

# The training starts as it would have without the stage.
FAILURES = (*TRAINING_FAILURES, MemorizationError)
# Of the steps of an arm: then the worse one ends.
_TRYOUT = 1 / 3
# Of the steps: with time for more the better one goes to the end.
_NEARLY = 5 / 6
# Of the time, for both arms; the rest is for the two trainings that decide.
_ARMS_SHARE, _SAFETY = 0.6, 0.9


class Rivals:
    """A network before its training, and the images that it may learn without labels."""

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
            recipe: Complete.
            checkpoint_dir: Outlives a killed task.
            seed: Of weights, order and augmentation.
            cache: Keeps decoded images for other stages and runs; None keeps none.
        """
        self._dataset_dir, self._info, self._recipe = dataset_dir, info, recipe
        self._checkpoint_dir, self._seed = checkpoint_dir, seed
        height, width, channels = image_shape(recipe, info)
        split = "train+unlabeled"
        self._source = ImageSource(dataset_dir, split, (height, width), channels, cache=cache)
        self._train, self._validation = (
            open_split(dataset_dir, each, recipe, cache) for each in ("train", "validation")
        )
        groups = np.load(dataset_dir / NEAR_DUPLICATES_FILE, allow_pickle=False)
        known, judging = np.arange(len(self._train)), np.zeros(0, int)
        if len(self._validation) < ENOUGH_JUDGES:
            known, judging = halves(class_strata(self._train.source.table))
            judging = without_copies(groups, info.splits, known, judging)
        self._known = known
        self._judges = [
            (self._validation, np.arange(len(self._validation))),
            (self._train, judging),
        ]
        self._copies = held_out_copies(groups, info.splits, judging)
        unlabeled = len(self._train) + np.flatnonzero(~self._copies)
        self._rows = np.concatenate([known, unlabeled])

    def learn(
        self, seconds: float, watch: Stopwatch, plain_images: float = math.inf
    ) -> tuple[PretrainingResult, list[np.ndarray]]:
        """Returns what was seen, and the weights that a training should start from, if any.

        Args:
            seconds: For everything.
            watch: Of the stage.
            plain_images: That the training is planned to see, with repetition; infinite where that
                is not known.

        Raises:
            One of `FAILURES`.
        """
        judges = sum(len(rows) for _, rows in self._judges)
        if skipped := why_no_gain(judges):
            return PretrainingResult(skipped, unlabeled=self._info.splits["unlabeled"]), []
        policy, views = choose_views(recipe_policy(self._recipe))
        replicas = node_strategy(self._recipe.value("training", "batch_size")).num_replicas_in_sync
        batch = twin_batch_size(self._source.images_per_batch, len(self._rows), replicas)
        images = TwinImages(self._source, self._rows, batch, self._seed)
        trial = Trial(
            self._dataset_dir,
            self._recipe,
            self._info,
            self._train,
            self._known,
            self._validation,
            self._judges,
            self._checkpoint_dir,
            self._seed,
        )
        metric = self._recipe.value("data", "primary_metric")
        class_weights = recipe_class_weights(self._recipe)
        positive = self._recipe.get("data", "positive_class")
        task = task_of(self._info, positive.value if positive else None)
        classes = len(self._info.classes)
        probe = Probe(task, classes, metric, class_weights, trial.learned, self._judges)
        about = {"seed": self._seed, "views": policy.to_json(), "images": self._digest()}
        folder = self._checkpoint_dir / training_identity(self._dataset_dir, self._recipe, **about)
        given = (self._recipe, self._info, images, policy, probe, folder, self._seed, watch)
        learner = Learner(*given)
        arms, chosen = compete(learner, images, seconds, watch)
        result = PretrainingResult(
            unlabeled=self._info.splits["unlabeled"],
            copies=int(self._copies.sum()),
            images=len(self._rows),
            views=views,
            metric=metric,
            arms=arms,
            chosen=chosen,
            judges=judges,
        )
        if not chosen:
            return result, []
        weights = learner.weights(chosen)
        return decide(trial, weights, result, seconds, watch, plain_images), weights

    def _digest(self) -> list[str]:
        """Returns what tells other images, or others of them, apart."""
        content = b"".join(self._source.table["sha256"].to_pylist())
        rows = np.frombuffer(content, np.uint8), self._rows
        return [weights_digest([each]) for each in rows]


def compete(
    learner: Learner, images: TwinImages, seconds: float, watch: Stopwatch
) -> tuple[list[ArmResult], str]:
    """Returns the arms and the name of the better one; none where both have stopped.

    Where the machine has become slower, the better one ends at an earlier probe. What was decided
    once is decided again by the processes after it: by the probes of the try-out, whatever an arm
    has come to since, and by where the better one was to end.

    Args:
        learner: The network.
        images: That are learned.
        seconds: Of the stage.
        watch: Of the stage.
    """
    wanted = math.ceil(pretraining_passes(len(images)) * len(images) / images.batch_size)
    ends = _ARMS_SHARE * seconds

    def share() -> float:
        return _SAFETY * (ends - watch.seconds) / (1 + _TRYOUT * (len(ARMS) - 1))

    total = learner.plan(wanted, share)
    began = watch.seconds
    arms = {name: learner.advance(name, _TRYOUT, total) for name in ARMS}
    going = [name for name, arm in arms.items() if not arm.stopped]
    if going:
        best = min(going, key=lambda name: arms[name].points[-1].loss)
        left, taken = max(0.0, ends - watch.seconds), max(watch.seconds - began, 1e-9)
        affordable = _TRYOUT * (1 + len(ARMS) * left / taken)
        goal = learner.settle(best, 1.0 if affordable > _NEARLY else affordable)
        arms[best] = learner.advance(best, goal, total)
        going = [] if arms[best].stopped else [best]
    return list(arms.values()), "".join(going)
