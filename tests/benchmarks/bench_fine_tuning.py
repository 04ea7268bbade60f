"""Held-out loss of fine-tuning by rate and by what BatchNorm does, and the cost of its steps.

python tests/benchmarks/bench_fine_tuning.py [--set cifar10-10k] [--side 96] [--epochs 3]
    [--rates 1e-4 3e-4 1e-3] [--seed 0]

The defaults of pretrained networks rest on it. Every training starts from the head that fits the
features of the training images, with `flips` and shifts, or `plain`. `frozen` BatchNorm keeps
statistics, scales and offsets, `trained` learns them, in one operation a layer. The validation
split judges; the test split is not looked at. `pilot` is the rate that the batch-size
probe would take from this start.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
from bench_transfer import SETS

from kfp_vision.components.batch_size_probe.pilot import Lengths, run_pilot
from kfp_vision.components.data_import.importer import ImportConfig, import_dataset
from kfp_vision.components.data_profiling.profile import ProfileConfig, profile_images
from kfp_vision.components.shared.architectures.names import DEFAULT_PRETRAINED
from kfp_vision.components.shared.architectures.zoo import build_model
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.augmentation.known_policies import flip_and_crop
from kfp_vision.components.shared.augmentation.policy import IDENTITY, Policy
from kfp_vision.components.shared.recipe.document import Recipe, Setting, read_recipe
from kfp_vision.components.shared.recipe.hyperparameters import from_recipe
from kfp_vision.components.shared.recipe.user_choices import UserChoices
from kfp_vision.components.shared.search.scoring import calibrated_losses
from kfp_vision.components.shared.search.short_training import run_steps
from kfp_vision.components.shared.tasks import task_of
from kfp_vision.components.shared.training.pretrained_head import head_rows, start_from_features
from kfp_vision.components.shared.training.schedules import warmup_cosine
from kfp_vision.components.shared.training.setup import complete_recipe, open_split
from kfp_vision.components.shared.training.trainer import Trainer

# 5 to 7 % of 12 epochs of 8,000 images at batch 32.
_PILOT = Lengths(range_steps=54, trial_steps=32, total=214)


def build(
    recipe: Recipe, info: DatasetInfo, norms: str, seed: int, policy: Policy = IDENTITY
) -> Trainer:
    """Returns the trainer of a recipe whose BatchNorm layers are `frozen` or `trained`."""
    settings, task = from_recipe(recipe), task_of(info)
    keras.utils.set_random_seed(seed)
    height, width = recipe.value("model", "image_size")
    shape = (height, width, info.channels)
    model = build_model(
        DEFAULT_PRETRAINED,
        task,
        shape,
        len(info.classes),
        dropout=settings.dropout,
        frozen_norms=norms == "frozen",
    )
    return Trainer(model, task, settings, None, policy, seed)


def judge(trainer: Trainer, dataset: Path, recipe: Recipe, info: DatasetInfo) -> dict[str, float]:
    """Returns the calibrated loss on the validation images and its standard error, in nats."""
    validation = open_split(dataset, "validation", recipe)
    batches = [(targets, trainer.outputs(images)) for images, targets in validation.batches()]
    logits = np.concatenate([each for _, each in batches])
    targets = {"label": np.concatenate([each["label"] for each, _ in batches])}
    order = np.random.default_rng(0).permutation(len(logits))
    losses = calibrated_losses(task_of(info), targets, logits, np.array_split(order, 2), None)
    return {
        "loss": round(float(losses.mean()), 4),
        "error": round(float(losses.std(ddof=1) / len(losses) ** 0.5), 4),
    }


def measure(
    dataset: Path, recipe: Recipe, info: DatasetInfo, norms: str, seed: int, policy: Policy
) -> Any:
    """Returns the validation losses of the start and of the end, and CPU milliseconds an image."""
    trainer, settings = build(recipe, info, norms, seed, policy), from_recipe(recipe)
    train = open_split(dataset, "train", recipe)
    train.source.load_all()
    rows = np.arange(len(train))
    start_from_features(trainer, recipe, info, dataset, head_rows(rows, trainer.model), None)
    start = judge(trainer, dataset, recipe, info)
    steps = np.arange(settings.steps)
    rates = warmup_cosine(steps, settings.learning_rate, settings.warmup_steps, settings.steps)
    began = time.process_time()
    for _ in run_steps(trainer, train, rows, rates, settings.batch_size, seed):
        pass
    milliseconds = 1000 * (time.process_time() - began) / (len(steps) * settings.batch_size)
    order = np.random.default_rng(seed).permutation(rows)[:2048].reshape(-1, 64)
    trainer.average_weights(map(train.source.take, order))
    return {
        "start": start,
        "end": judge(trainer, dataset, recipe, info),
        "cpu_ms": round(milliseconds, 1),
    }


def probed_rate(dataset: Path, recipe: Recipe, info: DatasetInfo, seed: int) -> dict[str, Any]:
    """Returns the rate that the trials of the probe prefer, from the fitted head, and noise."""
    trainer, settings = build(recipe, info, "frozen", seed), from_recipe(recipe)
    train = open_split(dataset, "train", recipe)
    rows = head_rows(np.arange(len(train)), trainer.model)
    start_from_features(trainer, recipe, info, dataset, rows, None)
    pilot = run_pilot(trainer, train, settings.optimizer, settings.batch_size, _PILOT, seed)
    noise = pilot.noise_scale
    return {
        "rate": float(f"{pilot.choice.rate:.2g}"),
        "interval": [float(f"{rate:.2g}") for rate in (pilot.choice.low, pilot.choice.high)],
        "noise_scale": [None if each is None else round(each) for each in (noise.low, noise.high)],
    }


def arms(rates: list[float]) -> Iterator[tuple[str, float, Policy]]:
    """Yields BatchNorm, rate and augmentation; the middle rate with one change at a time."""
    middle = rates[len(rates) // 2]
    yield from (("frozen", rate, flip_and_crop()) for rate in rates)
    yield "frozen", middle, IDENTITY
    yield "trained", middle, flip_and_crop()


def main() -> None:
    """Prints each training, then the result: "BatchNorm rate" -> losses and cost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", default="cifar10-10k", choices=SETS)
    parser.add_argument("--side", type=int, default=96)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rates", nargs="+", type=float, default=[1e-4, 3e-4, 1e-3])
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        dataset = Path(folder, "imported")
        info = import_dataset(str(SETS[arguments.set](Path(folder))), dataset, ImportConfig())
        profile_images(dataset, Recipe(), Path(folder, "profile"), ProfileConfig())
        recipe = read_recipe(Path(folder, "profile", "recipe.json"))
        choices = UserChoices(
            architecture=DEFAULT_PRETRAINED, image_size=arguments.side, epochs=arguments.epochs
        )
        for norms, rate, policy in arms(arguments.rates):
            users = {"learning_rate": Setting(rate, "benchmark", source="user")}
            given = complete_recipe(recipe.with_settings("training", users), info, choices)
            row = measure(dataset, given, info, norms, arguments.seed, policy)
            augmented = "plain" if policy == IDENTITY else "flips"
            result[f"{norms} {rate:g} {augmented}"] = row
            print(f"BatchNorm {norms}, rate {rate:g}, {augmented}: {row}", flush=True)
        given = complete_recipe(recipe, info, choices)
        result["pilot"] = probed_rate(dataset, given, info, arguments.seed)
    print("RESULT " + json.dumps(result))


if __name__ == "__main__":
    main()
