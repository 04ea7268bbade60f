"""The training of a head alone: a convex problem on cached features, solved and not iterated."""

import time
from pathlib import Path

import keras
import numpy as np

from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.training_result import TrainingResult
from kfp_vision.components.shared.recipe.document import Recipe
from kfp_vision.components.shared.recipe.hyperparameters import SECTION
from kfp_vision.components.shared.tasks.records import whole_set_metrics
from kfp_vision.components.shared.training.history import CurveRow
from kfp_vision.components.shared.training.pretrained_head import (
    head_rows,
    read_samples,
    start_from_features,
)
from kfp_vision.components.shared.training.setup import build_trainer

__all__ = ["train_head"]

_TIMED_IMAGES = 64


def train_head(
    dataset_dir: Path, recipe: Recipe, info: DatasetInfo, cache_dir: Path | None, seed: int
) -> tuple[keras.Model, TrainingResult, list[CurveRow]]:
    """Returns the model with the fitted head, how it went, and its figures as curves of one step.

    Args:
        dataset_dir: Folder of the dataset.
        recipe: Complete; its network is a pretrained one.
        info: Of the dataset.
        cache_dir: Keeps the features; None keeps none.
        seed: Is recorded; nothing is drawn.
    """
    started = time.monotonic()
    trainer, task, _ = build_trainer(recipe, info, seed)
    rows = {
        split: head_rows(np.arange(info.splits[split]), trainer.model)
        for split in ("train", "validation")
    }
    head = start_from_features(trainer, recipe, info, dataset_dir, rows["train"], cache_dir)
    curves: list[CurveRow] = []
    validation: dict[str, float] = {}
    for split, chosen in rows.items():
        held = read_samples(recipe, info, dataset_dir, split, chosen, cache_dir)
        targets, logits = {"label": held.labels}, head(held.features)
        metrics = whole_set_metrics(task, task.record(targets, task.decode(logits)))
        metrics["loss"] = float(np.mean(np.asarray(task.loss(targets, logits))))
        curves += [
            CurveRow(step=1, split=split, metric=name, value=value)
            for name, value in metrics.items()
        ]
        validation = metrics if split == "validation" else validation
    seconds, seen = time.monotonic() - started, len(rows["train"])
    plain = max(seconds, seen * _seconds_per_image(dataset_dir, recipe, info))
    summary = TrainingResult(
        architecture=recipe.value("model", "architecture"),
        trainable="head",
        parameters=trainer.model.count_params(),
        image_size=list(recipe.value("model", "image_size")),
        seed=seed,
        steps=1,
        best_step=1,
        validation=validation,
        seconds=seconds,
        plain_seconds=plain,
        images_seen=seen,
        images_per_second=seen / seconds,
        waiting_share=0.0,
        precision="float32",
        checks={},
        warnings=_without_effect(recipe),
        planned_steps=1,
    )
    return trainer.model, summary, curves


def _without_effect(recipe: Recipe) -> list[str]:
    """Returns a warning that names what the user has set for a training that has steps."""
    names = [name for name, held in recipe.sections[SECTION].items() if held.source == "user"]
    policy = recipe.get("augmentation", "policy")
    if policy is not None and policy.source == "user":
        names.append("policy")
    if not names:
        return []
    listed = ", ".join(f"`{name}`" for name in sorted(names))
    return [
        "The network is frozen and its head was solved, so these settings have no effect: "
        f"{listed}. Name an `architecture` that trains from scratch to use them."
    ]


def _seconds_per_image(dataset_dir: Path, recipe: Recipe, info: DatasetInfo) -> float:
    """Returns what the features of an image take that is in no cache."""
    rows = np.arange(min(_TIMED_IMAGES, info.splits["train"]))
    # The first call may compile.
    for _ in range(2):
        began = time.monotonic()
        read_samples(recipe, info, dataset_dir, "train", rows, None)
        seconds = time.monotonic() - began
    return seconds / len(rows)
