"""A student: the network is trained again, on all images, where there is no label by a teacher.

Shapes: N training images, K without labels.
"""

import hashlib
import math
from pathlib import Path

import numpy as np

from kfp_vision.components.self_training.arm import Arm
from kfp_vision.components.self_training.pool import Pool
from kfp_vision.components.self_training.teacher import Teacher
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.augmentation.known_policies import shifts
from kfp_vision.components.shared.recipe.document import Recipe
from kfp_vision.components.shared.recipe.hyperparameters import Hyperparameters
from kfp_vision.components.shared.recipe.unlabeled import labelled_repeats, lesson_images
from kfp_vision.components.shared.runtime.identity import training_identity
from kfp_vision.components.shared.training.checkpoints import Stopwatch
from kfp_vision.components.shared.training.fit import fit
from kfp_vision.components.shared.training.history import History
from kfp_vision.components.shared.training.part_training import first_history
from kfp_vision.components.shared.training.run import TrainingRun
from kfp_vision.components.shared.training.setup import build_trainer, recipe_policy
from kfp_vision.components.shared.training.soft_targets import Answers, taught_images
from kfp_vision.components.shared.training.trainer import Trainer

__all__ = ["soft_labels", "train_student"]

_LARGEST = 6e4  # Of float16, nearly.


def soft_labels(
    outputs: np.ndarray, known: np.ndarray, num_labelled: int, rows: np.ndarray, arm: Arm
) -> Answers:
    """Returns what a student sees: every image once a pass, and those with labels more often.

    Args:
        outputs: Of the teacher, for these images without labels, as they are to be taught, [K, C].
        known: Which of the images with labels, int [N'].
        num_labelled: N.
        rows: Which of the images without labels, int [K].
        arm: How often those with labels, and whether any others.
    """
    if arm.labelled_share == 1:
        outputs, rows, labelled = outputs[:0], rows[:0], known
    else:
        labelled = np.tile(known, labelled_repeats(len(known), len(rows), arm.labelled_share))
    taught = np.clip(outputs, -_LARGEST, _LARGEST)
    return Answers(
        np.concatenate([labelled, num_labelled + rows]).astype(np.int32),
        np.concatenate([np.zeros((len(labelled), outputs.shape[1])), taught]).astype(np.float16),
    )


def train_student(
    dataset_dir: Path,
    recipe: Recipe,
    info: DatasetInfo,
    pool: Pool,
    teacher: Teacher,
    lesson: Answers,
    num_unlabeled: int,
    longest: float,
    arm: Arm,
    checkpoint_dir: Path,
    seed: int,
    ends: float,
    watch: Stopwatch,
) -> tuple[Trainer, History]:
    """Returns the student at its last step, and how its training went.

    Args:
        dataset_dir: Folder of the dataset.
        recipe: Complete; every layer learns.
        info: Of the dataset.
        pool: The images of the lesson.
        teacher: Its weights are the start: a student from others would have to learn again what
            the teacher knows, in the time for what it does not.
        lesson: Of `soft_labels`.
        num_unlabeled: Images without labels that set the length, whether this arm learns them or
            not.
        longest: Images, with repetition, that it sees at most.
        arm: How it learns.
        checkpoint_dir: Outlives a killed task.
        seed: Of weights, order and augmentation.
        ends: When it has to be over, in seconds of the stage; infinite where time is no limit.
        watch: Of the stage.
    """
    policy = recipe_policy(recipe) or shifts()
    trainer, task, settings = build_trainer(recipe, info, seed, policy, arm.teaching, arm.trainer)
    taught = taught_images(pool.joined, pool.train, lesson)
    digest = hashlib.sha256(f"{arm.name} {teacher.digest}".encode())
    digest.update(lesson.rows.tobytes() + lesson.outputs.tobytes())

    def start(settings: Hyperparameters) -> History:
        trainer.model.set_weights(teacher.model.get_weights())
        trainer.restart_average()
        plain = settings.steps * settings.batch_size
        planned = min(longest, lesson_images(num_unlabeled, plain))
        steps = math.ceil(planned / settings.batch_size)
        given = (trainer, taught, len(pool.validation), settings, steps, seed)
        return first_history(*given, ends, watch)

    run = TrainingRun(
        trainer,
        task,
        taught,
        pool.validation,
        primary_metric=recipe.value("data", "primary_metric"),
        checkpoint_dir=checkpoint_dir
        / training_identity(dataset_dir, recipe, seed=seed, lesson=digest.hexdigest()),
        start=start,
        keeps_last=True,
        seed=seed,
        watch=watch,
    )
    return trainer, fit(run, settings)
