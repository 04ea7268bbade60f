"""Trains a checkpoint and measures on it what every transform does to held-out images."""

import dataclasses
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from kfp_vision.components.augmentation_search.buckets import keep_levels, make_groups
from kfp_vision.components.augmentation_search.distance import (
    Signals,
    frechet_distance,
    null_distance,
)
from kfp_vision.components.shared.artifacts import (
    COST_FILE,
    AugmentationTable,
    DatasetInfo,
    StageCost,
    read_json,
    write_json,
)
from kfp_vision.components.shared.augmentation.augment import augment
from kfp_vision.components.shared.augmentation.policy import (
    IDENTITY,
    Operation,
    Policy,
    policy_tensors,
)
from kfp_vision.components.shared.augmentation.transforms import PIXEL_TRANSFORMS, TRANSFORMS
from kfp_vision.components.shared.datasets.loader import BatchOrder
from kfp_vision.components.shared.progress import Progress
from kfp_vision.components.shared.recipe import read_recipe
from kfp_vision.components.shared.tasks import Task
from kfp_vision.components.shared.training.checkpoints import read_checkpoint, write_checkpoint
from kfp_vision.components.shared.training.data import LabelledImages
from kfp_vision.components.shared.training.fit import evaluate
from kfp_vision.components.shared.training.hyperparameters import Hyperparameters
from kfp_vision.components.shared.training.setup import (
    UserChoices,
    build_trainer,
    complete_recipe,
    open_split,
)
from kfp_vision.components.shared.training.trainer import Trainer

__all__ = ["THETA_FILE", "SearchConfig", "measure_transforms"]

THETA_FILE = "theta.npz"
# Of the steps of one plain training; the rest of the search's 0.8 is for the trials.
_CHECKPOINT_SHARE = 0.25
_LOOKED_AT = 384
_MAGNITUDES = tuple(level / 6 for level in range(1, 7))
_STEPS_PER_CALL = 16
_SAVES = 6
# Below this the checkpoint knows too little to say what keeps a label.
_LEARNED_SHARE = 0.9


@dataclasses.dataclass(frozen=True)
class SearchConfig(UserChoices):
    """What the user may set.

    Attributes:
        search: False measures nothing and leaves the policy to the recipe.
    """

    search: bool = False


def measure_transforms(
    dataset_dir: Path,
    recipe_path: Path,
    output_dir: Path,
    checkpoint_dir: Path,
    config: SearchConfig,
) -> AugmentationTable:
    """Writes `table.json`, `theta.npz` (state of the trainer at 0.25 T) and `cost.json`.

    Args:
        dataset_dir: The `dataset` artifact.
        recipe_path: The recipe so far.
        output_dir: Is created.
        checkpoint_dir: Outlives a killed task; belongs to this search alone.
        config: The user's wishes.
    """
    started = time.monotonic()
    output_dir.mkdir(parents=True, exist_ok=True)
    given = read_recipe(recipe_path)
    skipped = ""
    if not config.search:
        skipped = "`search_augmentation` is false"
    elif given.get("augmentation", "policy") is not None:
        skipped = "the recipe that the run starts from holds a policy"
    table, seen = AugmentationTable(skipped=skipped), 0
    if not skipped:
        info = read_json(DatasetInfo, dataset_dir / "dataset.json")
        recipe = complete_recipe(given, info, config)
        trainer, task, settings = build_trainer(
            recipe, info, config.seed, IDENTITY, ema_momentum=0.0
        )
        train, validation = (open_split(dataset_dir, s, recipe) for s in ("train", "validation"))
        steps = max(1, round(_CHECKPOINT_SHARE * settings.steps))
        _train(trainer, train, settings, steps, config.seed, checkpoint_dir)
        metrics = evaluate(trainer, task, validation)
        seen = steps * settings.batch_size + len(validation)
        knows_nothing = task.initial_loss(validation.targets, len(info.classes))
        if metrics["loss"] > _LEARNED_SHARE * knows_nothing:
            skipped = (
                f"after {steps:,} steps the validation loss is {metrics['loss']:.3g}, hardly below "
                f"the {knows_nothing:.3g} of a model that knows nothing"
            )
            table = AugmentationTable(skipped=skipped)
        else:
            primary = recipe.value("data", "primary_metric")
            table, looked = _measure(trainer, task, validation, primary, config.seed)
            seen += looked
            write_checkpoint(output_dir / THETA_FILE, trainer.state(), {"steps": steps})
    write_json(table, output_dir / "table.json")
    cost = StageCost("search_augmentation", time.monotonic() - started, seen)
    write_json(cost, output_dir / COST_FILE)
    return table


def _train(
    trainer: Trainer,
    train: LabelledImages,
    settings: Hyperparameters,
    steps: int,
    seed: int,
    checkpoint_dir: Path,
) -> None:
    """Trains without augmentation at the peak rate, going on from an earlier attempt."""
    path = checkpoint_dir / "search.npz"
    restored, step = read_checkpoint(path), 0
    if restored is not None:
        trainer.restore(restored[0])
        step = restored[1]["step"]
    order = BatchOrder(len(train), settings.batch_size, seed)
    progress = Progress("search", steps, "steps", step)
    while step < steps:
        at = np.arange(step, min(step + _STEPS_PER_CALL, steps))
        images, targets = train.take(order.indices(step, len(at)))
        warmup = np.minimum(1.0, (at + 1) / max(settings.warmup_steps, 1))
        trainer.run_steps(images, targets, (settings.learning_rate * warmup).astype(np.float32))
        before, step = step, int(at[-1]) + 1
        progress.update(step)
        if step * _SAVES // steps > before * _SAVES // steps:
            write_checkpoint(path, trainer.state(), {"step": step})


def _measure(
    trainer: Trainer, task: Task, validation: LabelledImages, primary: str, seed: int
) -> tuple[AugmentationTable, int]:
    """Returns the table, and how many images the model has seen for it."""
    count = min(_LOOKED_AT, len(validation))
    chosen = np.sort(np.random.default_rng(seed).permutation(len(validation))[:count])
    images, targets = validation.take(chosen)
    head = trainer.model.layers[-1]
    outputs = keras.Model(trainer.model.inputs, [head.input, trainer.model.output])
    predict = tf.function(lambda pixels: outputs(pixels, training=False))
    transform = tf.function(augment, jit_compile=True)

    def look(policy: Policy) -> tuple[np.ndarray, np.ndarray, float]:
        pixels, _, _ = transform(images, policy_tensors(policy), tf.constant([seed, 0]))
        features, logits = predict(pixels)
        losses = np.asarray(task.loss(targets, logits))
        metric = task.metrics(targets, np.asarray(task.activate(logits))).get(primary, 0.0)
        return np.asarray(features).reshape(count, -1), losses, metric

    clean, losses, metric = look(IDENTITY)
    rows, seen = [], count
    colours = images.shape[-1] == 3
    names = [name for name in PIXEL_TRANSFORMS if colours or name not in ("colour", "hue")]
    progress = Progress("measure transforms", len(names), "transforms")
    for done, name in enumerate(names, start=1):
        for magnitude in (1.0,) if TRANSFORMS[name].chance else _MAGNITUDES:
            features, moved, kept = look(Policy(always=(Operation(name, magnitude, magnitude),)))
            shift = moved - losses
            rows.append(
                Signals(
                    transform=name,
                    magnitude=magnitude,
                    distance=frechet_distance(features, clean),
                    affinity=kept / metric if metric > 0 else 0.0,
                    loss_shift=float(shift.mean()),
                    loss_shift_error=float(shift.std() / np.sqrt(count)),
                )
            )
            seen += count
        progress.update(done)
    null = null_distance(clean, seed)
    kept_levels = keep_levels(rows)
    return (
        AugmentationTable(
            null_distance=null,
            signals=[dataclasses.asdict(row) for row in rows],
            kept=[dataclasses.asdict(each) for each in kept_levels],
            groups=[group.to_json() for group in make_groups(kept_levels)],
        ),
        seen,
    )
