"""Trains the user's architecture by the recipe and keeps its best checkpoint."""

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

from kfp_vision.components.shared.architectures.zoo import build_model, choose_input
from kfp_vision.components.shared.artifacts import (
    COST_FILE,
    DatasetInfo,
    StageCost,
    TrainingSummary,
    read_json,
    write_json,
)
from kfp_vision.components.shared.recipe import Recipe, Setting, read_recipe, write_recipe
from kfp_vision.components.shared.tasks import get_task
from kfp_vision.components.shared.training import hyperparameters
from kfp_vision.components.shared.training.data import open_labelled
from kfp_vision.components.shared.training.fit import CurveRow, History, fit
from kfp_vision.components.shared.training.sanity import check_one_batch
from kfp_vision.components.shared.training.trainer import Trainer

__all__ = ["TrainConfig", "train_model"]


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """What the user may set; 0 and "" leave it to the recipe.

    Attributes:
        architecture: A name of the zoo, the URI of a `.keras` file, or `auto`.
        image_size: Height and width in pixels; 0 follows the data.
        batch_size, learning_rate, epochs, optimizer: Override the recipe.
        max_minutes: Wall-clock limit of the training loop; 0 for none. A limit makes the length
            depend on the machine.
        seed: Of the weights, the order of the images and dropout.
    """

    architecture: str = "auto"
    image_size: int = 0
    batch_size: int = 0
    learning_rate: float = 0.0
    epochs: int = 0
    optimizer: str = ""
    max_minutes: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuses negative sizes and rates."""
        for name in ("image_size", "batch_size", "learning_rate", "epochs", "max_minutes", "seed"):
            if getattr(self, name) < 0:
                raise ValueError(
                    f"`{name}` must not be negative (0 leaves it to kfp-vision). "
                    f"Received: {getattr(self, name)}"
                )

    def overrides(self) -> dict[str, Any]:
        """Returns the hyperparameters that the user has set."""
        names = ("batch_size", "learning_rate", "epochs", "optimizer")
        return {name: getattr(self, name) for name in names if getattr(self, name)}


def train_model(
    dataset_dir: Path,
    recipe_path: Path,
    output_dir: Path,
    checkpoint_dir: Path,
    config: TrainConfig,
) -> TrainingSummary:
    """Trains and writes `model.keras`, `training.json`, `curves.parquet`, `recipe.json`.

    Args:
        dataset_dir: The `dataset` artifact.
        recipe_path: The recipe so far.
        output_dir: Is created.
        checkpoint_dir: Checkpoints of all runs; each run has a folder named after what it depends
            on, so that only the same training goes on from them.
        config: The user's wishes.

    Raises:
        ValueError: A setting is out of range, or the model cannot learn a batch by heart.
        DivergenceError: The loss became NaN or exploded.
    """
    started = time.monotonic()
    output_dir.mkdir(parents=True, exist_ok=True)
    info = read_json(DatasetInfo, dataset_dir / "dataset.json")
    task = get_task(info.task)
    recipe = _with_model(read_recipe(recipe_path), info, config)
    recipe = hyperparameters.resolve(recipe, config.overrides(), info.splits["train"])
    settings = hyperparameters.from_recipe(recipe)
    architecture = recipe.value("model", "architecture")
    height, width = recipe.value("model", "image_size")

    keras.utils.set_random_seed(config.seed)
    model = build_model(
        architecture,
        task,
        (height, width, info.channels),
        len(info.classes),
        dropout=settings.dropout,
        stochastic_depth=settings.stochastic_depth,
    )
    class_weights = recipe.value("data", "class_weights")
    trainer = Trainer(
        model, task, settings, None if class_weights is None else np.asarray(class_weights)
    )
    shape = (height, width, info.channels)
    train = open_labelled(dataset_dir, "train", shape, task, len(info.classes))
    validation = open_labelled(dataset_dir, "validation", shape, task, len(info.classes))

    def start() -> History:
        images, targets = train.take(np.arange(settings.batch_size))
        expected = task.initial_loss(targets, len(info.classes))
        checks = check_one_batch(trainer, images, targets, settings.learning_rate, expected)
        steps = settings.steps
        if config.max_minutes:
            # A seventh of the time goes to evaluations and checkpoints.
            in_time = config.max_minutes * 60 / checks["seconds_per_step"] * 6 / 7
            steps = max(2, min(steps, int(in_time)))
        return History(0, steps, 0.0, 0.0, [], [], checks)

    writer = tf.summary.create_file_writer(str(output_dir / "tensorboard"))
    history = fit(
        trainer,
        task,
        train,
        validation,
        settings,
        start=start,
        primary_metric=recipe.value("data", "primary_metric"),
        seed=config.seed,
        checkpoint_dir=checkpoint_dir / _identity(info, recipe, config),
        on_curve=_tensorboard_writer(writer),
    )
    writer.close()
    summary = _summary(history, model, recipe, settings, config.seed)
    model.save(output_dir / "model.keras")
    pq.write_table(pa.Table.from_pylist(history.curves), output_dir / "curves.parquet")
    write_recipe(recipe, output_dir / "recipe.json")
    write_json(summary, output_dir / "training.json")
    write_json(
        StageCost("train", time.monotonic() - started, summary.images_seen), output_dir / COST_FILE
    )
    return summary


def _with_model(recipe: Recipe, info: DatasetInfo, config: TrainConfig) -> Recipe:
    """Returns the recipe with what the model is: `architecture` and `image_size`."""
    chosen: dict[str, Setting] = {}
    if config.architecture != "auto":
        chosen["architecture"] = Setting(config.architecture, "pipeline parameter", source="user")
    if config.image_size:
        size = [config.image_size, config.image_size]
        chosen["image_size"] = Setting(size, "pipeline parameter", source="user")
    recipe = recipe.with_settings("model", chosen)
    wanted = recipe.get("model", "architecture")
    name, height, width = choose_input(
        "auto" if wanted is None else wanted.value,
        info.median_height,
        info.median_width,
        info.channels,
    )
    evidence = {"median_height": info.median_height, "median_width": info.median_width}
    rules = {
        "architecture": Setting(name, "by image size", evidence, "default"),
        "image_size": Setting([height, width], "from the training images", evidence, "default"),
    }
    absent = {key: rule for key, rule in rules.items() if recipe.get("model", key) is None}
    return recipe.with_settings("model", absent)


def _identity(info: DatasetInfo, recipe: Recipe, config: TrainConfig) -> str:
    """Returns a name for everything the weights depend on; equal names may share checkpoints."""
    values = {
        section: {name: setting.value for name, setting in settings.items()}
        for section, settings in recipe.sections.items()
    }
    content = [version("kfp-vision"), info.fingerprint, values, config.seed, config.max_minutes]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _tensorboard_writer(writer: tf.summary.SummaryWriter) -> Callable[[CurveRow], None]:
    def write(row: CurveRow) -> None:
        with writer.as_default():
            tf.summary.scalar(f"{row['split']}/{row['metric']}", row["value"], row["step"])

    return write


def _summary(
    history: History,
    model: keras.Model,
    recipe: Recipe,
    settings: hyperparameters.Hyperparameters,
    seed: int,
) -> TrainingSummary:
    best = history.best[0]
    images_seen = history.step * settings.batch_size
    initial, expected = history.checks["initial_loss"], history.checks["expected_initial_loss"]
    warnings = []
    if initial > 3 * expected:
        warnings.append(
            f"The untrained model's loss was {initial:.3g}; {expected:.3g} is what a model that "
            "knows nothing has. Check the head and the pixel range of the architecture."
        )
    if history.total_steps < settings.steps:
        warnings.append(
            f"`max_minutes` shortened the training to {history.total_steps:,} of "
            f"{settings.steps:,} steps."
        )
    return TrainingSummary(
        architecture=recipe.value("model", "architecture"),
        parameters=model.count_params(),
        image_size=list(recipe.value("model", "image_size")),
        seed=seed,
        steps=history.step,
        best_step=best["step"],
        validation=best["metrics"],
        seconds=history.seconds,
        images_seen=images_seen,
        images_per_second=images_seen / history.step_seconds,
        checks=history.checks,
        warnings=warnings,
    )
