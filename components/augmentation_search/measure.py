"""Measures on a checkpoint what every transform does to held-out images."""

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from kfp_vision.components.augmentation_search.checkpoint import train_checkpoint
from kfp_vision.components.augmentation_search.signals import measure_images
from kfp_vision.components.shared.architectures.zoo import optional_regularisers
from kfp_vision.components.shared.artifacts.augmentation_table import (
    AugmentationTable,
    Kept,
    SearchPlan,
)
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import json_text, read_json
from kfp_vision.components.shared.augmentation.augment import augment
from kfp_vision.components.shared.augmentation.draw import batch_keys, draw_seed
from kfp_vision.components.shared.augmentation.policy import (
    IDENTITY,
    Mixing,
    Operation,
    Policy,
    policy_tensors,
)
from kfp_vision.components.shared.augmentation.transforms import TRANSFORMS
from kfp_vision.components.shared.datasets.image_cache import ImageCache
from kfp_vision.components.shared.datasets.labelled import LabelledImages
from kfp_vision.components.shared.datasets.store import write_thin_split
from kfp_vision.components.shared.recipe.document import Recipe
from kfp_vision.components.shared.recipe.hyperparameters import SECTION
from kfp_vision.components.shared.runtime.atomic_files import write_atomically
from kfp_vision.components.shared.runtime.progress import Progress
from kfp_vision.components.shared.search.held_out import Rows, divide_held_out
from kfp_vision.components.shared.tasks import Task
from kfp_vision.components.shared.training.checkpoints import Stopwatch, write_checkpoint
from kfp_vision.components.shared.training.pretrained_head import (
    fits_head,
    head_rows,
    start_from_features,
)
from kfp_vision.components.shared.training.setup import build_trainer, open_split

__all__ = ["measure_transforms"]

_MEASURED_FILE, _EXAMPLES_FILE = "measured.json", "examples.npz"


@dataclasses.dataclass(frozen=True)
class _Measured:
    """What a killed task leaves of the measurement: the trials that follow belong to the table.

    Attributes:
        table: Finished.
        seconds: Of the stage, over all processes.
    """

    table: AugmentationTable
    seconds: float


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

    measured = checkpoint_dir / _MEASURED_FILE
    if measured.exists():
        kept = read_json(_Measured, measured)
        watch.resume(kept.seconds)
        table = kept.table
    else:
        table = measure_images(
            trainer, task, recipe, plan, (validation, train), held_out, seen, seed
        )
        if table.skipped:
            return table
        regularisers = _regularisers(recipe, task, len(info.classes))
        mixing = [name for name in Mixing().probabilities if name in task.techniques]
        table = dataclasses.replace(table, regularisers=regularisers, mixing=mixing)
        with Progress("examples of transforms"):
            _write_examples(train, table.kept, checkpoint_dir / _EXAMPLES_FILE, seed)
        write_atomically(measured, json_text(_Measured(table, watch.seconds)).encode())
    shutil.copyfile(checkpoint_dir / _EXAMPLES_FILE, output_dir / _EXAMPLES_FILE)
    write_checkpoint(output_dir / "checkpoint.npz", trainer.state(), {"steps": learned.steps})
    np.save(output_dir / "subset.npy", subset)
    parts = held_out.selecting(plan.num_scored), held_out.confirming
    _write_images(dataset_dir, subset, parts, output_dir)
    return table


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
    names = ["weight_decay", *(task.techniques & {"label_smoothing"})]
    names += sorted(optional_regularisers(architecture, task, num_classes))
    held = {name: recipe.sections[SECTION][name] for name in names}
    return {name: each.value for name, each in held.items() if each.source != "user"}


def _write_examples(train: LabelledImages, kept: list[Kept], path: Path, seed: int) -> None:
    """Writes one training image at every level of every transform, and as it is."""
    images, _ = train.take(np.random.default_rng(seed).integers(0, len(train), 1))
    arrays = {"original": images[0]}
    transform = tf.function(augment, autograph=False)
    keys = batch_keys(draw_seed(seed, 0), len(images))
    for each in kept:
        levels = []
        for level in each.levels:
            magnitude = 1.0 if TRANSFORMS[each.transform].chance else level
            policy = Policy(always=(Operation(each.transform, magnitude, magnitude),))
            pixels = transform(images, policy_tensors(policy), keys).images
            levels.append(np.clip(np.rint(pixels[0]), 0, 255).astype(np.uint8))
        arrays[each.transform] = np.stack(levels)
    np.savez_compressed(path, **arrays)
