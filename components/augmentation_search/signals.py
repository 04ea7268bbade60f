"""The signals of a checkpoint: what it says of held-out images under every transform."""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from kfp_vision.components.augmentation_search.checkpoint import metric_above_chance
from kfp_vision.components.augmentation_search.distance import frechet_distance, null_distance
from kfp_vision.components.augmentation_search.groups import keep_levels, make_groups
from kfp_vision.components.shared.architectures.feature_maps import feature_maps
from kfp_vision.components.shared.artifacts.augmentation_table import (
    AugmentationTable,
    SearchPlan,
    Signals,
)
from kfp_vision.components.shared.augmentation.augment import augment
from kfp_vision.components.shared.augmentation.draw import batch_keys, draw_seed
from kfp_vision.components.shared.augmentation.policy import (
    IDENTITY,
    Operation,
    Policy,
    policy_tensors,
)
from kfp_vision.components.shared.augmentation.transforms import PIXEL_TRANSFORMS, TRANSFORMS
from kfp_vision.components.shared.datasets.labelled import LabelledImages
from kfp_vision.components.shared.recipe.document import Recipe
from kfp_vision.components.shared.runtime.progress import Progress
from kfp_vision.components.shared.search.held_out import HeldOut, Rows
from kfp_vision.components.shared.tasks import Task
from kfp_vision.components.shared.tasks.records import join_records, whole_set_metrics
from kfp_vision.components.shared.training.trainer import Trainer

__all__ = ["measure_images"]

_MAGNITUDES = (1 / 3, 2 / 3, 1.0)
# Pixels that are transformed at once: 384 images of 295 px.
_MAX_PIXELS = 2**25
# The same where every pixel has a prediction of its own, of many classes.
_MAX_DENSE_PIXELS = 2**22


def measure_images(
    trainer: Trainer,
    task: Task,
    recipe: Recipe,
    plan: SearchPlan,
    splits: tuple[LabelledImages, LabelledImages],
    held_out: HeldOut,
    seen: int,
    seed: int,
) -> AugmentationTable:
    """Returns the table of a checkpoint.

    Args:
        trainer: Holds the checkpoint.
        task: Of the images.
        recipe: Complete.
        plan: Lengths and numbers.
        splits: Validation, then train.
        held_out: Rows that may be looked at.
        seen: Images that the checkpoint has seen.
        seed: Seed of what is drawn.
    """
    height, width = trainer.model.input_shape[1:3]
    most = (_MAX_DENSE_PIXELS if task.is_spatial else _MAX_PIXELS) // (height * width)

    def take(count: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        return _take(splits, held_out.selecting(min(count, most)))

    primary = recipe.value("data", "primary_metric")
    checked = take(plan.num_checked)
    seen += len(checked[0])
    above_chance, too_weak = metric_above_chance(trainer, task, checked, primary, seed)
    if too_weak:
        skipped = f"after {plan.checkpoint.steps:,} steps {too_weak}"
        return AugmentationTable(skipped=skipped, plan=plan, images_seen=seen)
    images, targets = take(plan.num_measured)
    look = _look_through(trainer, task, images, targets, primary, seed)
    rows, null, broken = _measure(look, trainer.model.input_shape[-1] == 3, above_chance, seed)
    seen += (1 + len(rows)) * len(images)
    if broken:
        return AugmentationTable(skipped=broken, plan=plan, images_seen=seen)
    kept = keep_levels(rows)
    return AugmentationTable(
        plan=plan,
        images_seen=seen,
        null_distance=null,
        signals=rows,
        kept=kept,
        groups=make_groups(kept),
    )


def _take(
    splits: tuple[LabelledImages, LabelledImages], rows: Rows
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Returns images and targets of rows of two splits, one after the other."""
    parts = [split.take(each) for split, each in zip(splits, rows, strict=True)]
    images = np.concatenate([pixels for pixels, _ in parts])
    return images, join_records(targets for _, targets in parts)


def _look_through(
    trainer: Trainer,
    task: Task,
    images: np.ndarray,
    targets: dict[str, np.ndarray],
    primary: str,
    seed: int,
) -> Callable[[Policy], tuple[np.ndarray, float]]:
    """Returns a function: policy -> features [N, F] and metric of the transformed images."""
    model = trainer.model
    features = (
        keras.layers.GlobalAveragePooling2D()(feature_maps(model)[-1])
        if task.is_spatial
        else model.layers[-1].input
    )
    outputs = keras.Model(model.inputs, [features, model.output])
    predict = tf.function(lambda pixels: outputs(pixels, training=False), autograph=False)
    transform = tf.function(augment, jit_compile=True, autograph=False)

    keys = batch_keys(draw_seed(seed, 0), len(images))

    def look(policy: Policy) -> tuple[np.ndarray, float]:
        augmented = transform(images, policy_tensors(policy), keys)
        features, said = predict(augmented.images)
        # Nothing is mixed: the first part is all of the loss.
        _, moved = task.augment_targets(targets, augmented)[0]
        records = task.record(moved, task.decode(said))
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
    with Progress("compile"):
        clean, metric = look(IDENTITY)
    rows: list[Signals] = []
    with Progress("measure transforms", len(names), "transforms") as progress:
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
