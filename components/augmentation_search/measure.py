"""Measures on a checkpoint what every transform does to held-out images."""

from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from kfp_vision.components.augmentation_search.checkpoint import (
    metric_above_chance,
    train_checkpoint,
)
from kfp_vision.components.augmentation_search.distance import frechet_distance, null_distance
from kfp_vision.components.augmentation_search.groups import keep_levels, make_groups
from kfp_vision.components.shared.architectures.zoo import optional_regularisers
from kfp_vision.components.shared.artifacts.augmentation_table import (
    AugmentationTable,
    Kept,
    SearchPlan,
    Signals,
)
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
from kfp_vision.components.shared.datasets.image_cache import ImageCache
from kfp_vision.components.shared.datasets.labelled import LabelledImages
from kfp_vision.components.shared.datasets.store import write_thin_split
from kfp_vision.components.shared.recipe.document import Recipe
from kfp_vision.components.shared.recipe.hyperparameters import SECTION
from kfp_vision.components.shared.runtime.progress import Progress
from kfp_vision.components.shared.search.held_out import Rows, divide_held_out
from kfp_vision.components.shared.tasks import Task
from kfp_vision.components.shared.tasks.records import whole_set_metrics
from kfp_vision.components.shared.training.checkpoints import Stopwatch, write_checkpoint
from kfp_vision.components.shared.training.pretrained_head import (
    fits_head,
    head_rows,
    start_from_features,
)
from kfp_vision.components.shared.training.setup import build_trainer, open_split
from kfp_vision.components.shared.training.trainer import Trainer

__all__ = ["measure_transforms"]

_MAGNITUDES = (1 / 3, 2 / 3, 1.0)
# Pixels that are transformed at once: 384 images of 295 px.
_MAX_PIXELS = 2**25


def measure_transforms(
    dataset_dir: Path,
    recipe: Recipe,
    output_dir: Path,
    checkpoint_dir: Path,
    plan: SearchPlan,
    watch: Stopwatch,
    seed: int,
    cache: ImageCache | None = None,
    feature_dir: Path | None = None,
) -> AugmentationTable:
    """Writes what trials start from (`START`) and `examples.npz`; returns the table.

    Args:
        dataset_dir: Folder of the dataset.
        recipe: Complete.
        output_dir: Exists.
        checkpoint_dir: Outlives a killed task; belongs to this search alone.
        plan: Lengths and numbers; images that confirm the trials' choice are not looked at.
        watch: Stopwatch of the stage; the processes before this one are added to it.
        seed: Seed of weights, order and choice of the images.
        cache: Keeps decoded images for other stages and runs; None keeps none.
        feature_dir: Keeps features of pretrained networks; None keeps none.
    """
    info = read_json(DatasetInfo, dataset_dir / "dataset.json")
    trainer, task, _ = build_trainer(recipe, info, seed, IDENTITY, ema_momentum=0.0)
    train, validation = (open_split(dataset_dir, s, recipe, cache) for s in ("train", "validation"))
    learned = plan.checkpoint
    subset = np.sort(np.random.default_rng(seed).permutation(len(train))[: learned.num_images])
    if fits_head(recipe, info):
        looked_at = head_rows(subset, trainer.model)
        start_from_features(trainer, recipe, info, dataset_dir, looked_at, feature_dir)
    seen = learned.steps * learned.batch_size
    broken = train_checkpoint(trainer, train, subset, learned, watch, seed, checkpoint_dir)
    if broken:
        return AugmentationTable(skipped=broken, plan=plan, images_seen=seen)
    held_out = divide_held_out(validation, train, subset, plan.num_scored, plan.num_confirming)

    def take(count: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        return _take((validation, train), held_out.selecting(count))

    primary = recipe.value("data", "primary_metric")
    checked = take(plan.num_checked)
    seen += len(checked[0])
    above_chance, too_weak = metric_above_chance(trainer, task, checked, primary, seed)
    if too_weak:
        skipped = f"after {learned.steps:,} steps {too_weak}"
        return AugmentationTable(skipped=skipped, plan=plan, images_seen=seen)
    height, width = trainer.model.input_shape[1:3]
    images, targets = take(min(plan.num_measured, _MAX_PIXELS // (height * width)))
    look = _look_through(trainer, task, images, targets, primary, seed)
    rows, null, broken = _measure(look, trainer.model.input_shape[-1] == 3, above_chance, seed)
    seen += (1 + len(rows)) * len(images)
    if broken:
        return AugmentationTable(skipped=broken, plan=plan, images_seen=seen)
    kept = keep_levels(rows)
    write_checkpoint(output_dir / "checkpoint.npz", trainer.state(), {"steps": learned.steps})
    np.save(output_dir / "subset.npy", subset)
    parts = held_out.selecting(plan.num_scored), held_out.confirming
    _write_images(dataset_dir, subset, parts, output_dir)
    _write_examples(train, kept, output_dir / "examples.npz", seed)
    return AugmentationTable(
        plan=plan,
        images_seen=seen,
        null_distance=null,
        signals=rows,
        kept=kept,
        groups=make_groups(kept),
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


def _write_images(
    dataset_dir: Path, subset: np.ndarray, parts: Sequence[Rows], output_dir: Path
) -> None:
    """Writes the splits with those images alone that trials learn or are scored by."""
    validation, train = zip(*parts, strict=True)
    write_thin_split(dataset_dir, "validation", np.concatenate(validation), output_dir)
    write_thin_split(dataset_dir, "train", np.concatenate([subset, *train]), output_dir)


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
            pixels = transform(images, policy_tensors(policy), draw_seed(seed, 0)).images
            levels.append(np.clip(np.rint(pixels[0]), 0, 255).astype(np.uint8))
        arrays[each.transform] = np.stack(levels)
    np.savez_compressed(path, **arrays)


def _look_through(
    trainer: Trainer,
    task: Task,
    images: np.ndarray,
    targets: dict[str, np.ndarray],
    primary: str,
    seed: int,
) -> Callable[[Policy], tuple[np.ndarray, float]]:
    """Returns a function: policy -> features [N, F] and metric of the transformed images."""
    head = trainer.model.layers[-1]
    outputs = keras.Model(trainer.model.inputs, [head.input, trainer.model.output])
    predict = tf.function(lambda pixels: outputs(pixels, training=False))
    transform = tf.function(augment, jit_compile=True)

    def look(policy: Policy) -> tuple[np.ndarray, float]:
        pixels = transform(images, policy_tensors(policy), draw_seed(seed, 0)).images
        features, logits = predict(pixels)
        records = task.record(targets, task.decode(logits))
        metric = whole_set_metrics(task, records).get(primary, 0.0)
        return np.asarray(features, np.float32).reshape(len(images), -1), metric

    return look


def _measure(
    look: Callable[[Policy], tuple[np.ndarray, float]],
    colours: bool,
    above_chance: float,
    seed: int,
) -> tuple[list[Signals], float, str]:
    """Returns the transforms at rising magnitudes and the null distance.

    The last value says why the measurement ended early; empty when it did not.
    """
    names = [name for name in PIXEL_TRANSFORMS if colours or name not in ("saturation", "hue")]
    clean, metric = look(IDENTITY)
    rows: list[Signals] = []
    progress = Progress("measure transforms", len(names), "transforms")
    for done, name in enumerate(names, start=1):
        for magnitude in (1.0,) if TRANSFORMS[name].chance else _MAGNITUDES:
            features, kept = look(Policy(always=(Operation(name, magnitude, magnitude),)))
            if not np.isfinite(features).all():
                return rows, 0.0, f"the features of its checkpoint under {name} are not finite"
            # The loss of the metric on the same images, over its excess above chance.
            affinity = 1 + (kept - metric) / above_chance
            rows.append(Signals(name, magnitude, frechet_distance(features, clean), affinity))
        progress.update(done)
    return rows, null_distance(clean, seed), ""
