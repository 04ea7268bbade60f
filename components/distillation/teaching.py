"""A student is taught by a model, and is the model where its gain clears zero."""

import dataclasses
import hashlib
from pathlib import Path

import keras
import numpy as np

from kfp_vision.components.distillation.lesson import ViewTeacher, lesson_policy
from kfp_vision.components.distillation.student import Student
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.distillation_result import DistillationResult
from kfp_vision.components.shared.augmentation.known_policies import shifts
from kfp_vision.components.shared.datasets.image_cache import ImageCache
from kfp_vision.components.shared.datasets.labelled import open_labelled
from kfp_vision.components.shared.datasets.loader import ImageSource
from kfp_vision.components.shared.datasets.near_duplicates import (
    NEAR_DUPLICATES_FILE,
    held_out_copies,
)
from kfp_vision.components.shared.metrics.acceptance import measure_gain
from kfp_vision.components.shared.recipe.document import Recipe
from kfp_vision.components.shared.recipe.unlabeled import labelled_repeats
from kfp_vision.components.shared.recipe.user_choices import UserChoices
from kfp_vision.components.shared.runtime.identity import training_identity
from kfp_vision.components.shared.search.scoring import held_out_losses
from kfp_vision.components.shared.tasks import task_of
from kfp_vision.components.shared.training.checkpoints import StageWatch
from kfp_vision.components.shared.training.inference import compile_inference
from kfp_vision.components.shared.training.precision import set_precision
from kfp_vision.components.shared.training.sanity import TRAINING_FAILURES, failure_reason
from kfp_vision.components.shared.training.setup import (
    complete_recipe,
    open_split,
    recipe_class_weights,
    recipe_policy,
)

__all__ = ["teach"]


def teach(
    dataset_dir: Path,
    info: DatasetInfo,
    recipe: Recipe,
    teacher_path: Path | None,
    model_path: Path,
    checkpoint_dir: Path,
    seed: int,
    cache: ImageCache | None,
    seconds: float,
    watch: StageWatch,
) -> DistillationResult:
    """Replaces a model by its student where that is better, and returns what was seen.

    Args:
        dataset_dir: Folder of the dataset.
        info: Of the dataset.
        recipe: Of the training of the network.
        teacher_path: As of `distill`.
        model_path: The model.
        checkpoint_dir: Outlives a killed task.
        seed: Of order and augmentation.
        cache: Keeps decoded images for other stages and runs; None keeps none.
        seconds: For everything.
        watch: Of the stage.
    """
    recipe = complete_recipe(recipe, info, UserChoices(seed=seed))
    task, asked = task_of(info), teacher_path or model_path
    before = keras.models.load_model(model_path, compile=False, safe_mode=True)
    teacher = keras.models.load_model(asked, compile=False, safe_mode=True)
    train, validation = (
        open_split(dataset_dir, split, recipe, cache) for split in ("train", "validation")
    )

    def losses(model: keras.Model) -> np.ndarray:
        images = validation
        if model.input_shape != before.input_shape:
            given = (dataset_dir, "validation", model.input_shape[1:], task, len(info.classes))
            images = open_labelled(*given, cache=cache)
        judging = [(images, np.arange(len(images)))]
        return held_out_losses(
            task, compile_inference(model), judging, recipe_class_weights(recipe)
        )

    plain = losses(before)
    result = DistillationResult(
        is_own_teacher=teacher_path is None,
        judges=len(plain),
        loss=float(plain.mean()),
        teacher_loss=float(losses(teacher).mean()),
    )
    split, is_copy = "train", np.zeros(0, bool)
    if info.splits.get("unlabeled"):
        groups = np.load(dataset_dir / NEAR_DUPLICATES_FILE, allow_pickle=False)
        split = "train+unlabeled"
        is_copy = held_out_copies(groups, info.splits, np.zeros(0, int))
    others = len(train) + np.flatnonzero(~is_copy)
    # Of many images without labels any may be foreign: those with labels keep their share.
    labelled = np.tile(np.arange(len(train)), labelled_repeats(len(train), len(others)))
    rows = np.concatenate([labelled, others])
    policy = lesson_policy(recipe_policy(recipe) or shifts())
    own, other = (
        ImageSource(dataset_dir, split, model.input_shape[1:3], info.channels, cache=cache)
        for model in (before, teacher)
    )
    asker = ViewTeacher(teacher, other, policy, seed)
    weights = before.get_weights()
    start = hashlib.sha256(b"".join(each.tobytes() for each in weights)).hexdigest()
    identity = training_identity(dataset_dir, recipe, seed=seed, start=start, asker=asker.digest)
    try:
        student = Student(
            recipe,
            info,
            own,
            train,
            validation,
            policy,
            asker,
            checkpoint_dir / f"distillation-{identity}",
            seed,
        )
        taught = student.learn(weights, rows, seconds, watch)
    except TRAINING_FAILURES as error:
        return dataclasses.replace(result, failed=failure_reason(error))
    model = taught.model
    judged = losses(model)
    # The same images have chosen how the teacher is followed.
    gain = measure_gain(plain[None], judged[None], max(1, len(taught.trials)))
    if gain.is_accepted:
        set_precision(model, "float32")
        model.save(model_path)
    return dataclasses.replace(
        result,
        student_loss=float(judged.mean()),
        images=len(train) + len(others),
        copies=int(is_copy.sum()),
        pictures=taught.num_pictures,
        images_seen=taught.images_seen,
        trials=taught.trials,
        temperature=taught.teaching.temperature,
        label_share=taught.teaching.label_share,
        feature_weight=taught.teaching.feature_weight,
        gain=gain,
        is_kept=gain.is_accepted,
    )
