"""Does the search pay? Accuracy at equal total budget, search included, against fixed policies.

python tests/benchmarks/bench_search.py [--sets digits_planted cifar10_10k fashion_mnist]
    [--seeds 5] [--size 16]

Every method sees 1.8 T images, T being those of a plain training; with the search, what it has seen
is taken off the final training. `digits_planted`: scikit-learn's digits, rotated, sheared, shifted
and zoomed in training and test; flips are wrong for their labels.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import scipy.ndimage
from bench_probe import MALLOC
from bench_real_sets import unpack
from sklearn.datasets import load_digits

from kfp_vision.components.augmentation_search.search import SearchConfig, measure_transforms
from kfp_vision.components.data_import.fashion_mnist import provide_fashion_mnist
from kfp_vision.components.data_import.importer import ImportConfig, import_dataset
from kfp_vision.components.shared.artifacts import (
    COST_FILE,
    AugmentationTable,
    DatasetInfo,
    StageCost,
    read_json,
)
from kfp_vision.components.shared.augmentation import published
from kfp_vision.components.shared.augmentation.policy import Policy
from kfp_vision.components.shared.datasets.loader import BatchOrder
from kfp_vision.components.shared.recipe import Recipe, Setting, read_recipe, write_recipe
from kfp_vision.components.shared.training.schedules import warmup_cosine
from kfp_vision.components.shared.training.setup import (
    UserChoices,
    build_trainer,
    complete_recipe,
    open_split,
    recipe_policy,
)
from kfp_vision.components.trial_search.search import search_trials

FIXED: dict[str, Policy | None] = {
    "none": None,
    "flip_crop": published.flip_and_crop(),
    "trivial_augment": published.trivial_augment(),
    "rand_augment": published.rand_augment(),
}
PLANTED = {"rotate", "shear_x", "shear_y", "translate_x", "translate_y", "zoom_in", "zoom_out"}
HARMFUL = {"mirror", "flip", "rot90"}


def planted_digits(folder: Path) -> Path:
    """Writes digits under random rotation, shear, shift and zoom as arrays; returns the folder."""
    digits = load_digits()
    generator = np.random.default_rng(0)
    images = np.zeros((len(digits.images), 16, 16), np.uint8)
    for index, image in enumerate(digits.images):
        large = np.kron(image * 15, np.ones((2, 2)))
        angle = np.deg2rad(generator.uniform(-40, 40))
        rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        shear = np.array([[1, generator.uniform(-0.3, 0.3)], [0, 1]])
        matrix = rotation @ shear * np.exp(generator.uniform(-0.2, 0.2))
        offset = np.array([7.5, 7.5]) - matrix @ (
            np.array([7.5, 7.5]) + generator.uniform(-2, 2, 2)
        )
        images[index] = scipy.ndimage.affine_transform(large, matrix, offset, order=1)
    labels = digits.target.astype(np.int64)
    folder.mkdir(parents=True)
    np.savez(
        folder / "digits.npz",
        x_train=images[:700],
        y_train=labels[:700],
        x_test=images[700:],
        y_test=labels[700:],
    )
    return folder / "digits.npz"


SOURCES = {
    "digits_planted": planted_digits,
    "cifar10_10k": lambda folder: unpack("cifar10-10k", folder),
    "fashion_mnist": provide_fashion_mnist,
}


def accuracy(
    dataset: Path, recipe: Recipe, policy: Policy | None, images: float, seed: int
) -> float:
    """Returns the test accuracy of a training that sees so many images."""
    info = read_json(DatasetInfo, dataset / "dataset.json")
    trainer, task, settings = build_trainer(recipe, info, seed, policy)
    train, test = (open_split(dataset, split, recipe) for split in ("train", "test"))
    steps = max(2, round(images / settings.batch_size))
    order = BatchOrder(len(train), settings.batch_size, seed)
    warmup = min(settings.warmup_steps, steps // 2)
    for start in range(0, steps, 16):
        at = np.arange(start, min(start + 16, steps))
        pixels, targets = train.take(order.indices(start, len(at)))
        rates = warmup_cosine(at, settings.learning_rate, warmup, steps)
        trainer.run_steps(pixels, targets, rates)
    trainer.average_weights(
        train.source.take(order.indices(steps + offset)[0]) for offset in range(32)
    )
    logits = np.concatenate([trainer.logits(batch) for batch in test.image_batches()])
    return task.metrics(test.targets, np.asarray(task.activate(logits)))["accuracy"]


def search(dataset: Path, recipe: Recipe, seed: int) -> tuple[Recipe, dict[str, Any], float]:
    """Returns the recipe with its policy, the figures of the search, and the images it saw."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_recipe(recipe, folder / "in.json")
        stages = folder / "table", folder / "out"
        checkpoint = folder / "checkpoint"
        config = SearchConfig(search=True, seed=seed)
        measure_transforms(dataset, folder / "in.json", stages[0], checkpoint, config)
        summary = search_trials(
            dataset, folder / "in.json", *stages, checkpoint, UserChoices(seed=seed)
        )
        table = read_json(AugmentationTable, stages[0] / "table.json")
        seen = sum(read_json(StageCost, stage / COST_FILE).images_seen for stage in stages)
        found = read_recipe(stages[1] / "recipe.json")
    print(summary.decision or summary.skipped, json.dumps(summary.steps), flush=True)
    policy = recipe_policy(found)
    operations = (
        []
        if policy is None
        else [
            *policy.always,
            *(operation for branch in policy.branches for operation in branch.operations),
        ]
    )
    figures = {
        "operations": sorted({operation.transform for operation in operations}),
        "kept": [row["transform"] for row in table.kept if not row["reason"]],
    }
    return found, figures, seen


def mean_error(values: list[float]) -> list[float | None]:
    """Returns the mean and its standard error, None of a single value."""
    if len(values) < 2:
        return [values[0], None]
    return [float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values)))]


def main() -> None:
    """Prints every run as it ends, then the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sets", nargs="+", default=list(SOURCES))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--size", type=int, default=16)
    options = parser.parse_args()
    result: dict[str, Any] = {"sets": {}, "search_cost": {}}
    data = {"class_weights": Setting(None, "test"), "primary_metric": Setting("accuracy", "test")}
    with tempfile.TemporaryDirectory() as scratch:
        for name in options.sets:
            source = SOURCES[name](Path(scratch, name))
            dataset = Path(scratch, f"{name}-dataset")
            info = import_dataset(str(source), dataset, ImportConfig())
            choices = UserChoices(image_size=options.size)
            recipe = complete_recipe(Recipe().with_settings("data", data), info, choices)
            budget = 1.8 * recipe.value("training", "epochs") * info.splits["train"]
            scores: dict[str, list[float]] = {}
            costs, found_operations = [], []
            for seed in range(options.seeds):
                for method, policy in FIXED.items():
                    scores.setdefault(method, []).append(
                        accuracy(dataset, recipe, policy, budget, seed)
                    )
                found, figures, seen = search(dataset, recipe, seed)
                costs.append(seen / (budget / 1.8))
                found_operations.append(figures)
                scores.setdefault("search", []).append(
                    accuracy(
                        dataset,
                        complete_recipe(found, info, UserChoices()),
                        recipe_policy(found),
                        budget - seen,
                        seed,
                    )
                )
                latest = {method: values[-1] for method, values in scores.items()}
                print(name, seed, json.dumps(latest | figures | {"cost": costs[-1]}), flush=True)
            result["sets"][name] = {
                method: [
                    float(np.mean(values)),
                    float(np.std(values, ddof=1) / np.sqrt(len(values)))
                    if len(values) > 1
                    else None,
                ]
                for method, values in scores.items()
            }
            result["search_cost"][name] = float(np.mean(costs))
            if name == "digits_planted":
                used = [set(figures["operations"]) for figures in found_operations]
                result["planted_recall"] = float(np.mean([len(u & PLANTED) / 7 for u in used]))
                result["harmful_kept"] = sum(len(u & HARMFUL) for u in used)
    print("RESULT " + json.dumps(result))


if __name__ == "__main__":
    if not MALLOC.items() <= os.environ.items():
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | MALLOC)
    main()
