"""Trains a checkpoint and measures on it what every transform does to held-out images."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from kfp_vision.components.augmentation_search.buckets import (
    CUSTOMARY,
    Kept,
    keep_levels,
    make_groups,
)
from kfp_vision.components.augmentation_search.distance import (
    Signals,
    frechet_distance,
    null_distance,
)
from kfp_vision.components.shared.architectures.zoo import optional_regularisers
from kfp_vision.components.shared.artifacts.augmentation_table import AugmentationTable
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json
from kfp_vision.components.shared.augmentation.augment import augment
from kfp_vision.components.shared.augmentation.draw import draw_seed
from kfp_vision.components.shared.augmentation.policy import (
    IDENTITY,
    Operation,
    Policy,
    policy_tensors,
)
from kfp_vision.components.shared.augmentation.transforms import PIXEL_TRANSFORMS, TRANSFORMS
from kfp_vision.components.shared.datasets.labelled import LabelledImages
from kfp_vision.components.shared.datasets.loader import images_per_batch
from kfp_vision.components.shared.recipe.document import Recipe
from kfp_vision.components.shared.recipe.hyperparameters import SECTION, Hyperparameters
from kfp_vision.components.shared.runtime.progress import Progress
from kfp_vision.components.shared.search.held_out import Rows, divide_held_out
from kfp_vision.components.shared.search.plan import (
    LEAST_LOOKED_AT,
    LOOK_SHARE,
    MOST_CHECKED,
    CheckpointPlan,
    SearchPlan,
    plan_checkpoint,
)
from kfp_vision.components.shared.search.short_training import run_steps
from kfp_vision.components.shared.tasks import Targets, Task
from kfp_vision.components.shared.training.checkpoints import (
    Stopwatch,
    read_checkpoint,
    write_checkpoint,
)
from kfp_vision.components.shared.training.setup import build_trainer, open_split
from kfp_vision.components.shared.training.trainer import Trainer

__all__ = ["measure_transforms"]

_MAGNITUDES = (1 / 3, 2 / 3, 1.0)
# Images that are transformed at once, and their pixels: 384 images of 295 px.
_MOST_LOOKED_AT, _MOST_PIXELS = 384, 2**25
_SAVES = 6
# A checkpoint whose metric is within so many standard deviations of that of shuffled predictions
# has not learned enough to say what keeps a label.
_SIGMAS, _SHUFFLES = 3.0, 32


def measure_transforms(
    dataset_dir: Path,
    recipe: Recipe,
    output_dir: Path,
    checkpoint_dir: Path,
    search: SearchPlan,
    watch: Stopwatch,
    seed: int,
) -> AugmentationTable:
    """Writes `checkpoint.npz`, `subset.npy` and `examples.npz`; returns the table.

    Args:
        dataset_dir: The `dataset` artifact.
        recipe: Complete.
        output_dir: Exists.
        checkpoint_dir: Outlives a killed task; belongs to this search alone.
        search: Of the trials: a brief one measures the customary transforms only, and images that
            confirm its choice are not looked at.
        watch: Of the stage; the processes before this one are added to it.
        seed: Of weights, order and choice of the images.
    """
    info = read_json(DatasetInfo, dataset_dir / "dataset.json")
    trainer, task, settings = build_trainer(recipe, info, seed, IDENTITY, ema_momentum=0.0)
    train, validation = (open_split(dataset_dir, s, recipe) for s in ("train", "validation"))
    plan = plan_checkpoint(recipe, info)
    subset = np.sort(np.random.default_rng(seed).permutation(len(train))[: plan.known])
    broken = _train(trainer, train, subset, plan, watch, seed, checkpoint_dir)
    if broken:
        seen = plan.steps * plan.batch_size
        return AugmentationTable(skipped=broken, checkpoint_steps=plan.steps, images_seen=seen)
    primary = recipe.value("data", "primary_metric")
    colours = trainer.model.input_shape[-1] == 3
    names = [name for name in PIXEL_TRANSFORMS if colours or name not in ("saturation", "hue")]
    held_out = divide_held_out(validation, train, subset, search.num_scored, search.num_confirming)

    def take(count: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        return _take((validation, train), held_out.selecting(count))

    rows, null, looked, skipped = _measure(
        trainer, task, take, primary, settings, CUSTOMARY if search.is_brief else names, seed
    )
    seen, steps = plan.steps * plan.batch_size + looked, plan.steps
    if skipped:
        skipped = f"after {steps:,} steps {skipped}"
        return AugmentationTable(skipped=skipped, checkpoint_steps=steps, images_seen=seen)
    kept = keep_levels(rows)
    write_checkpoint(output_dir / "checkpoint.npz", trainer.state(), {"steps": steps})
    np.save(output_dir / "subset.npy", subset)
    _write_examples(train, kept, output_dir / "examples.npz", seed)
    return AugmentationTable(
        checkpoint_steps=steps,
        images_seen=seen,
        null_distance=null,
        signals=[dataclasses.asdict(row) for row in rows],
        kept=[dataclasses.asdict(each) for each in kept],
        groups=[dataclasses.asdict(group) for group in make_groups(kept)],
        regularisers=_regularisers(recipe, task, len(info.classes)),
    )


def _take(
    splits: tuple[LabelledImages, LabelledImages], rows: Rows
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Returns images and targets of rows of two splits, one after the other."""
    parts = [split.take(each) for split, each in zip(splits, rows, strict=True)]
    images = np.concatenate([pixels for pixels, _ in parts])
    names = parts[0][1]
    return images, {name: np.concatenate([each[name] for _, each in parts]) for name in names}


def _chance(
    task: Task, targets: Targets, predictions: np.ndarray, primary: str, seed: int
) -> tuple[float, float]:
    """Returns mean and standard deviation of the metric where no prediction is of its image."""
    generator = np.random.default_rng(seed)
    found = [
        task.metrics(targets, predictions[generator.permutation(len(predictions))]).get(primary, 0)
        for _ in range(_SHUFFLES)
    ]
    return float(np.mean(found)), float(np.std(found))


def _regularisers(recipe: Recipe, task: Task, num_classes: int) -> dict[str, float]:
    """Returns what regularises the model, without what the user has set or it cannot have."""
    architecture = recipe.value("model", "architecture")
    names = ["label_smoothing", "weight_decay"]
    names += sorted(optional_regularisers(architecture, task, num_classes))
    held = {name: recipe.sections[SECTION][name] for name in names}
    return {name: each.value for name, each in held.items() if each.source != "user"}


def _write_examples(train: LabelledImages, kept: list[Kept], path: Path, seed: int) -> None:
    """Writes one training image at every level of every transform, and as it is."""
    images, _ = train.take(np.random.default_rng(seed).integers(0, len(train), 1))
    arrays = {"original": images[0]}
    transform = tf.function(augment)
    for each in kept:
        levels = []
        for level in each.levels:
            magnitude = 1.0 if TRANSFORMS[each.transform].chance else level
            policy = Policy(always=(Operation(each.transform, magnitude, magnitude),))
            pixels, _, _ = transform(images, policy_tensors(policy), draw_seed(seed, 0))
            levels.append(np.clip(np.rint(pixels[0]), 0, 255).astype(np.uint8))
        arrays[each.transform] = np.stack(levels)
    np.savez_compressed(path, **arrays)


def _train(
    trainer: Trainer,
    train: LabelledImages,
    subset: np.ndarray,
    plan: CheckpointPlan,
    watch: Stopwatch,
    seed: int,
    checkpoint_dir: Path,
) -> str:
    """Trains without augmentation, with a rate that rises, going on from an earlier attempt.

    Returns why the checkpoint is of no use; nothing where it is.
    """
    path = checkpoint_dir / "search.npz"
    restored, step = read_checkpoint(path), 0
    if restored is not None:
        trainer.restore(restored[0])
        step = restored[1]["step"]
        watch.resume(restored[1]["seconds"])
    steps = plan.steps
    rates = plan.peak_rate * np.minimum(1.0, np.arange(1, steps + 1) / plan.warmup_steps)
    progress = Progress("search", steps, "steps", step)
    for done, losses in run_steps(trainer, train, subset, rates, plan.batch_size, seed, step):
        if not np.isfinite(losses).all():
            return (
                f"the loss of its checkpoint was no longer finite after {done:,} of {steps:,} steps"
            )
        progress.update(done)
        if done * _SAVES // steps > step * _SAVES // steps:
            write_checkpoint(path, trainer.state(), {"step": done, "seconds": watch.seconds})
        step = done
    return ""


def _measure(
    trainer: Trainer,
    task: Task,
    take: Callable[[int], tuple[np.ndarray, dict[str, np.ndarray]]],
    primary: str,
    settings: Hyperparameters,
    names: Sequence[str],
    seed: int,
) -> tuple[list[Signals], float, int, str]:
    """Returns the transforms at rising magnitudes, the null distance and the images seen.

    The last value says why there are none, where the checkpoint has not learned enough.
    """
    magnitudes = {name: (1.0,) if TRANSFORMS[name].chance else _MAGNITUDES for name in names}
    looks = 1 + sum(len(each) for each in magnitudes.values())
    affordable = int(LOOK_SHARE * settings.steps * settings.batch_size / looks)
    height, width = trainer.model.input_shape[1:3]
    in_memory = _MOST_PIXELS // (height * width)
    images, targets = take(max(LEAST_LOOKED_AT, min(_MOST_LOOKED_AT, affordable, in_memory)))
    count = len(images)
    head = trainer.model.layers[-1]
    outputs = keras.Model(trainer.model.inputs, [head.input, trainer.model.output])
    predict = tf.function(lambda pixels: outputs(pixels, training=False))
    transform = tf.function(augment, jit_compile=True)

    def look(policy: Policy) -> tuple[np.ndarray, np.ndarray, float]:
        pixels, _, _ = transform(images, policy_tensors(policy), draw_seed(seed, 0))
        features, logits = predict(pixels)
        losses = np.asarray(task.loss(targets, logits))
        metric = task.metrics(targets, np.asarray(task.activate(logits))).get(primary, 0.0)
        return np.asarray(features).reshape(count, -1), losses, metric

    checked = take(MOST_CHECKED)
    num_checked = len(checked[0])
    above_chance, too_weak = _metric_above_chance(trainer, task, checked, primary, seed)
    if too_weak:
        return [], 0.0, num_checked, too_weak
    clean, losses, metric = look(IDENTITY)
    rows = []
    progress = Progress("measure transforms", len(names), "transforms")
    for done, name in enumerate(names, start=1):
        for magnitude in magnitudes[name]:
            features, moved, kept = look(Policy(always=(Operation(name, magnitude, magnitude),)))
            if not np.isfinite(moved).all():
                reason = f"the loss of its checkpoint under {name} is not finite"
                return [], 0.0, num_checked + looks * count, reason
            shift = moved - losses
            rows.append(
                Signals(
                    transform=name,
                    magnitude=magnitude,
                    distance=frechet_distance(features, clean),
                    # The loss of the metric on the same images, over its excess above chance.
                    affinity=1 + (kept - metric) / above_chance,
                    loss_shift=float(shift.mean()),
                    loss_shift_error=float(shift.std() / np.sqrt(count)),
                )
            )
        progress.update(done)
    return rows, null_distance(clean, seed), looks * count + num_checked, ""


def _metric_above_chance(
    trainer: Trainer,
    task: Task,
    checked: tuple[np.ndarray, dict[str, np.ndarray]],
    primary: str,
    seed: int,
) -> tuple[float, str]:
    """Returns how far the checkpoint's metric is above that of shuffled predictions.

    The second value says why the checkpoint is too weak to measure with; empty when it is not.

    Args:
        trainer: Holds the checkpoint.
        task: Of the images.
        checked: Held-out images and their targets.
        primary: The metric.
        seed: Of the shuffling.
    """
    images, targets = checked
    parts = np.array_split(images, math.ceil(len(images) / images_per_batch(*images.shape[1:3])))
    logits = np.concatenate([trainer.logits(pixels) for pixels in parts])
    if not np.isfinite(logits).all():
        return 0.0, "what its checkpoint says of held-out images is not finite"
    predictions = np.asarray(task.activate(logits))
    known = task.metrics(targets, predictions).get(primary)
    if known is None:
        return 0.0, f"the {primary} of its {len(images)} images is not defined"
    chance, scatter = _chance(task, targets, predictions, primary, seed)
    if known <= chance + _SIGMAS * scatter:
        return 0.0, (
            f"the {primary} on {len(images)} held-out images is {known:.3g}, not significantly "
            f"above the {chance:.3g} of shuffled predictions"
        )
    return known - chance, ""
