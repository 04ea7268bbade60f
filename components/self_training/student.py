"""A round of self-training: the network is trained again, on all images, by what the model says.

Noisy student (Xie et al., 2020, arXiv:1911.04252, algorithm 1): soft labels of images as they are,
a student of the same size that sees them augmented. Shapes: N training images, K without labels.
"""

import dataclasses
import hashlib
import math
from pathlib import Path

import numpy as np

from kfp_vision.components.self_training.teacher import Teacher
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.augmentation.policy import Operation, Policy
from kfp_vision.components.shared.datasets.labelled import LabelledImages
from kfp_vision.components.shared.datasets.loader import BatchOrder, ImageSource
from kfp_vision.components.shared.recipe.document import Recipe
from kfp_vision.components.shared.recipe.hyperparameters import Hyperparameters
from kfp_vision.components.shared.recipe.unlabeled import LABELLED_SHARE, lesson_images
from kfp_vision.components.shared.runtime.identity import training_identity
from kfp_vision.components.shared.runtime.progress import Progress
from kfp_vision.components.shared.search.short_training import run_steps
from kfp_vision.components.shared.training.checkpoints import Stopwatch
from kfp_vision.components.shared.training.fit import STATISTICS_BATCHES, fit
from kfp_vision.components.shared.training.history import History
from kfp_vision.components.shared.training.length import measure_pace
from kfp_vision.components.shared.training.pretrained_head import fits_head, start_from_features
from kfp_vision.components.shared.training.run import TrainingRun
from kfp_vision.components.shared.training.schedules import warmup_cosine
from kfp_vision.components.shared.training.setup import build_trainer, recipe_policy
from kfp_vision.components.shared.training.soft_targets import Teaching, Views, taught_images
from kfp_vision.components.shared.training.trainer import Trainer

__all__ = ["Images", "soft_labels", "train_plain", "train_student"]

# The labels alone are learned of images that have one; of the others the outputs at temperature 1/2
# (MixMatch: Berthelot et al., 2019, arXiv:1905.02249, equation 7 and section 3.5).
_TEACHING, _SHARPENING = Teaching(temperature=1.0, label_share=1.0), 2.0
_EVALUATIONS = 3
# Without a policy of the recipe: no label depends on where in the image the object is.
_SHIFTS = Policy(always=(Operation("translate_x", 0.0, 0.25), Operation("translate_y", 0.0, 0.25)))
_LARGEST = 6e4  # Of float16, nearly.


@dataclasses.dataclass(frozen=True)
class Images:
    """All images of a round.

    Attributes:
        source: Those with labels, then those without.
        train: Those with labels.
        validation: Those that judge.
    """

    source: ImageSource
    train: LabelledImages
    validation: LabelledImages


def soft_labels(
    outputs: np.ndarray, known: np.ndarray, num_labelled: int, rows: np.ndarray
) -> Views:
    """Returns what a student sees: every image once a pass, and those with labels more often.

    Args:
        outputs: Of the teacher, for all images without labels, [U, C].
        known: Which of the images with labels, int [N'].
        num_labelled: N.
        rows: Which of the images without labels, int [K].
    """
    wanted = LABELLED_SHARE / (1 - LABELLED_SHARE) * len(rows)
    repeats = max(1, round(wanted / len(known)))
    labelled = np.tile(known, repeats)
    views = np.repeat(np.arange(repeats), len(known))
    taught = np.clip(_SHARPENING * outputs[rows], -_LARGEST, _LARGEST)
    return Views(
        np.concatenate([labelled, num_labelled + rows]).astype(np.int32),
        np.concatenate([views, np.zeros(len(rows), int)]).astype(np.int32),
        np.concatenate([np.zeros((len(labelled), outputs.shape[1])), taught]).astype(np.float16),
    )


def train_plain(
    dataset_dir: Path,
    recipe: Recipe,
    info: DatasetInfo,
    train: LabelledImages,
    rows: np.ndarray,
    feature_dir: Path,
) -> Trainer:
    """Returns the network of a recipe, trained on some of the images with labels alone.

    As long as by the recipe, in passes over the images; the last weights count.

    Args:
        dataset_dir: Folder of the dataset.
        recipe: Of the training.
        info: Of the dataset.
        train: Training images.
        rows: Which of them, int [N'].
        feature_dir: As of `start_from_features`.
    """
    trainer, _, settings = build_trainer(recipe, info, 0, recipe_policy(recipe), ema_momentum=0.0)
    if fits_head(recipe, info):
        start_from_features(trainer, recipe, info, dataset_dir, rows, feature_dir)
    if recipe.value("model", "trainable") == "head":
        return trainer
    steps = max(2, round(settings.steps * len(rows) / len(train)))
    warmup = min(settings.warmup_steps, steps // 2)
    rates = warmup_cosine(np.arange(steps), settings.learning_rate, warmup, steps)
    with Progress("train on half of the labels", steps, "steps") as progress:
        for done, _ in run_steps(trainer, train, rows, rates, settings.batch_size, 0):
            progress.update(done)
    sample = rows[: STATISTICS_BATCHES * settings.batch_size]
    trainer.recalibrate_batch_norm(images for images, _ in train.batches_of(sample))
    return trainer


def train_student(
    dataset_dir: Path,
    recipe: Recipe,
    info: DatasetInfo,
    images: Images,
    teacher: Teacher,
    lesson: Views,
    checkpoint_dir: Path,
    seed: int,
    seconds: float,
) -> tuple[Trainer, History]:
    """Returns the student at its last step, and how its training went.

    Args:
        dataset_dir: Folder of the dataset.
        recipe: Complete; every layer learns.
        info: Of the dataset.
        images: Those of the lesson.
        teacher: Its weights are the start: a student from others would have to learn again what
            the teacher knows, in the time for what it does not.
        lesson: Of `soft_labels`.
        checkpoint_dir: Outlives a killed task.
        seed: Of weights, order and augmentation.
        seconds: For steps, evaluations and checkpoints.
    """
    policy = recipe_policy(recipe) or _SHIFTS
    trainer, task, settings = build_trainer(recipe, info, seed, policy, _TEACHING)
    taught = taught_images(images.source, images.train, lesson)
    watch = Stopwatch()
    digest = hashlib.sha256(lesson.rows.tobytes() + lesson.outputs.tobytes()).hexdigest()

    def start(settings: Hyperparameters) -> History:
        order = BatchOrder(len(taught), settings.batch_size, seed)
        pixels, targets = taught.take(order.indices(0)[0])
        trainer.model.set_weights(teacher.model.get_weights())
        trainer.restart_average()
        checks = {"initial_loss": trainer.mean_loss(pixels, targets)}
        unlabeled = int((lesson.rows >= len(images.train)).sum())
        planned = lesson_images(unlabeled, settings.steps * settings.batch_size)
        steps, evaluations = math.ceil(planned / settings.batch_size), _EVALUATIONS
        if seconds < math.inf:
            pace = measure_pace(trainer, pixels, targets, len(images.validation))
            steps, evaluations = pace.length_within(seconds - watch.seconds, steps, evaluations)
        return History(settings, steps, checks, num_evaluations=evaluations)

    run = TrainingRun(
        trainer,
        task,
        taught,
        images.validation,
        primary_metric=recipe.value("data", "primary_metric"),
        checkpoint_dir=checkpoint_dir
        / training_identity(dataset_dir, recipe, seed=seed, lesson=digest),
        start=start,
        keeps_last=True,
        seed=seed,
        watch=watch,
    )
    return trainer, fit(run, settings)
