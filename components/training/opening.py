"""The start of a training: its model and images, what is checked first, and how long it is."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from kfp_vision.components.shared.artifacts.cost import StageCost
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.run_plan import RunPlan
from kfp_vision.components.shared.augmentation.policy import IDENTITY, Policy
from kfp_vision.components.shared.datasets.image_cache import ImageCache
from kfp_vision.components.shared.datasets.loader import BatchOrder
from kfp_vision.components.shared.recipe import budget, hyperparameters
from kfp_vision.components.shared.recipe.batch_scaling import halve_batch
from kfp_vision.components.shared.recipe.closing_times import closing_seconds
from kfp_vision.components.shared.recipe.document import Recipe
from kfp_vision.components.shared.recipe.evaluations import EVALUATIONS
from kfp_vision.components.shared.recipe.hyperparameters import Hyperparameters
from kfp_vision.components.shared.recipe.initial_weights import starts_pretrained
from kfp_vision.components.shared.recipe.stage_times import may_cut
from kfp_vision.components.shared.recipe.teachers import deployed_networks, large_networks
from kfp_vision.components.shared.recipe.time_for_stages import start_up_seconds, training_share
from kfp_vision.components.shared.runtime.identity import training_identity
from kfp_vision.components.shared.runtime.progress import Progress
from kfp_vision.components.shared.training.checkpoints import Stopwatch
from kfp_vision.components.shared.training.history import CurveRow, History
from kfp_vision.components.shared.training.length import measure_pace
from kfp_vision.components.shared.training.pretrained_head import (
    fits_head,
    head_rows,
    start_from_features,
)
from kfp_vision.components.shared.training.run import TrainingRun
from kfp_vision.components.shared.training.sanity import check_one_batch
from kfp_vision.components.shared.training.setup import (
    build_trainer,
    open_split,
    recipe_policy,
)
from kfp_vision.components.shared.training.start_weights import start_from
from kfp_vision.components.shared.training.step_time import (
    seconds_per_loss,
    seconds_per_record,
    seconds_per_step,
)
from kfp_vision.components.shared.training.trainer import Trainer

__all__ = ["open_run", "plain_steps", "repair"]

# Of the time, at most, that is kept for the evaluation after the last step.
_LAST_SHARE = 0.1


def open_run(
    dataset_dir: Path,
    recipe: Recipe,
    info: DatasetInfo,
    checkpoint_dir: Path,
    seed: int,
    cache: ImageCache | None,
    spent: Sequence[StageCost],
    plan: RunPlan | None,
    watch: Stopwatch,
    on_curves: Callable[[Sequence[CurveRow], bool], None],
    weights: Sequence[np.ndarray] | None = None,
) -> tuple[TrainingRun, Hyperparameters]:
    """Returns the training of a complete recipe, before its first step, and its settings.

    Args:
        dataset_dir: Folder of the dataset.
        recipe: Complete.
        info: Of the dataset.
        checkpoint_dir: As of `train_model`.
        seed: Of weights, order and augmentation.
        cache: As of `train_model`.
        spent: As of `train_model`.
        plan: As of `train_model`.
        watch: Stopwatch of the stage.
        on_curves: As of `TrainingRun`.
        weights: Of a pretraining, to start from; None for the start that the recipe has.
    """
    policy = recipe_policy(recipe)
    trainer, task, settings = build_trainer(recipe, info, seed, policy)
    train = open_split(dataset_dir, "train", recipe, cache)
    validation = open_split(dataset_dir, "validation", recipe, cache)
    # Every image is needed: the first epoch is as fast as the others.
    for split, images in (("train", train), ("validation", validation)):
        with Progress(f"read {split} images"):
            images.source.load_all()
    is_tuned = starts_pretrained(recipe) or weights is not None

    def start(settings: Hyperparameters) -> History:
        # In the order of training: on disk the images of a class lie together.
        order = BatchOrder(len(train), settings.batch_size, seed)
        images, targets = train.take(order.indices(0)[0])
        expected = task.initial_loss(targets, len(info.classes))
        if is_tuned:
            # That the labels belong to the images shows in the start.
            if weights is not None:
                start_from(trainer, weights, recipe, info, train, np.arange(len(train)))
            elif fits_head(recipe, info):
                rows = head_rows(np.arange(len(train)), trainer.model)
                features = checkpoint_dir / "features"
                start_from_features(trainer, recipe, info, dataset_dir, rows, features)
            initial = trainer.mean_loss(images, targets)
            checks = {"initial_loss": initial, "expected_initial_loss": expected}
        else:
            with Progress("learn one batch by heart"):
                checks = check_one_batch(trainer, images, targets, settings.learning_rate, expected)
        setup_seconds = watch.seconds
        share = 1.0
        if policy is not None:
            share = _share_without(policy, trainer, images, targets)
        steps, evaluations, ends = settings.steps, EVALUATIONS, None
        if may_cut(recipe):
            pace = measure_pace(trainer, images, targets, len(train), len(validation))
            record_s = seconds_per_record(trainer, task, images, targets)
            loss_s = seconds_per_loss(trainer, task, images, targets)
            evaluation_s = pace.evaluation_s + len(validation) * (record_s + loss_s)
            pace = dataclasses.replace(pace, evaluation_s=evaluation_s)
            now = StageCost("train", watch.seconds, 0)
            seconds = budget.remaining_seconds(recipe, [*spent, now]) - closing_seconds(
                info,
                start_up_seconds(spent, plan),
                pace.forward_s * deployed_networks(recipe) + record_s,
                large_networks(recipe),
            )
            seconds *= training_share(recipe, info, steps * settings.batch_size, plan)
            seconds = max(seconds, budget.least_training_seconds(recipe))
            steps, evaluations = pace.length_within(seconds, steps)
            # Of the steps: an evaluation comes after the last one.
            ends = now.seconds + seconds - min(evaluation_s, _LAST_SHARE * seconds)
        history = History(
            settings,
            steps,
            checks,
            num_evaluations=evaluations,
            ends=ends,
            planned_steps=settings.steps,
        )
        history.setup_seconds = setup_seconds
        history.plain_share = share * min(steps, plain_steps(recipe, settings)) / steps
        return history

    run = TrainingRun(
        trainer,
        task,
        train,
        validation,
        primary_metric=recipe.value("data", "primary_metric"),
        checkpoint_dir=checkpoint_dir / training_identity(dataset_dir, recipe, seed=seed),
        start=start,
        # The head of a spatial task knows nothing yet.
        evaluates_start=is_tuned and not task.is_spatial,
        halve=repair(recipe),
        seed=seed,
        watch=watch,
        on_curves=on_curves,
    )
    return run, settings


def _share_without(
    policy: Policy, trainer: Trainer, images: np.ndarray, targets: Mapping[str, np.ndarray]
) -> float:
    """Returns the seconds of a step without the policy over those of a step with it.

    Both are measured now: seconds alone would be compared with those of a training during which
    the machine has other things to do.
    """
    with_policy = seconds_per_step(trainer, images, targets)
    trainer.use_policy(IDENTITY)
    try:
        return min(1.0, seconds_per_step(trainer, images, targets) / with_policy)
    finally:
        trainer.use_policy(policy)


def plain_steps(recipe: Recipe, settings: Hyperparameters) -> int:
    """Returns the steps of a training without those that its policy has made it longer by.

    Args:
        recipe: Complete.
        settings: Those of the recipe, or what a repair has made of them.
    """
    epochs = recipe.sections[hyperparameters.SECTION]["epochs"]
    plain: float = epochs.value
    if epochs.source == "learned":
        plain = epochs.evidence.get("epochs_without_policy", plain)
    steps: float = settings.steps * plain / epochs.value
    return max(1, round(steps))


def repair(recipe: Recipe) -> Callable[[Hyperparameters], Hyperparameters] | None:
    """Returns what halves the batch by the policy of the probe; None where the user decided."""
    names = ("batch_size", "learning_rate")
    settings = [recipe.get(hyperparameters.SECTION, name) for name in names]
    if any(setting is None or setting.source == "user" for setting in settings):
        return None
    noise_scale = recipe.get(hyperparameters.SECTION, "noise_scale")
    return functools.partial(
        halve_batch, noise_scale=None if noise_scale is None else noise_scale.value
    )
