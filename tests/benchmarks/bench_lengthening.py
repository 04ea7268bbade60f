"""Is a training with augmentation lengthened by the right factor?

python tests/benchmarks/bench_lengthening.py [--sets cifar10_10k fashion_mnist] [--seeds 2]
    [--size 16] [--images 150000]

For each policy: the factor that two short trainings predict (`lengthening.py`), the factor that two
four times longer ones show, and the test accuracy after a plain length and after 1.5 times of it,
with the policy and without: what the longer training is worth where it is given.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from bench_probe import MALLOC
from bench_search import FIXED, SOURCES, mean_error, score

from kfp_vision.components.data_import.importer import ImportConfig, import_dataset
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.augmentation.policy import IDENTITY, Policy
from kfp_vision.components.shared.recipe.document import Recipe, Setting
from kfp_vision.components.shared.training.setup import (
    UserChoices,
    build_trainer,
    complete_recipe,
    open_split,
)
from kfp_vision.components.trial_search.lengthening import MAX_FACTOR, measure_lengthening

STEPS = 100


def measure(
    dataset: Path, recipe: Recipe, info: DatasetInfo, policy: Policy, steps: int, seed: int
) -> float | None:
    """Returns the factor that two trainings of so many steps show."""
    trainer, _, settings = build_trainer(recipe, info, seed, IDENTITY, ema_momentum=0.0)
    train = open_split(dataset, "train", recipe)
    rate, batch = settings.learning_rate, settings.batch_size
    return measure_lengthening(trainer, train, policy, rate, batch, steps, seed).measured


def main() -> None:
    """Prints every cell as it is measured, then the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sets", nargs="+", default=["cifar10_10k", "fashion_mnist"])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--size", type=int, default=16)
    parser.add_argument("--images", type=int, default=150_000)
    options = parser.parse_args()
    data = {"class_weights": Setting(None, "test"), "primary_metric": Setting("accuracy", "test")}
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name in options.sets:
            dataset = Path(scratch, f"{name}-dataset")
            source = SOURCES[name](Path(scratch, name))
            info = import_dataset(str(source), dataset, ImportConfig())
            choices = UserChoices(image_size=options.size)
            recipe = complete_recipe(Recipe().with_settings("data", data), info, choices)
            for method, policy in FIXED.items():
                row: dict[str, Any] = {}
                if policy != IDENTITY:
                    for key, steps in (("predicted", STEPS), ("four_times_longer", 4 * STEPS)):
                        row[key] = [
                            measure(dataset, recipe, info, policy, steps, seed)
                            for seed in range(options.seeds)
                        ]
                gains = []
                for seed in range(options.seeds):
                    plain, longer = (
                        score(dataset, recipe, policy, factor * options.images, seed)
                        for factor in (1.0, MAX_FACTOR)
                    )
                    gains.append(longer - plain)
                row["gain_of_1.5_times"] = mean_error(gains)
                result[f"{name} {method}"] = row
                print(name, method, json.dumps(row), flush=True)
    predicted, shown = (
        np.array([value for row in result.values() for value in row.get(key, [])], float)
        for key in ("predicted", "four_times_longer")
    )
    limited = [np.clip(each, 1.0, MAX_FACTOR) for each in (predicted, shown)]
    summary = {
        "ratio_max": float(np.exp(np.abs(np.log(limited[0] / limited[1])).max())),
        "cells": result,
    }
    print("RESULT " + json.dumps(summary))


if __name__ == "__main__":
    if not MALLOC.items() <= os.environ.items():
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | MALLOC)
    main()
