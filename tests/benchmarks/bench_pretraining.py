"""Test accuracy of a network from scratch with few labels, with and without pretraining.

python tests/benchmarks/bench_pretraining.py [--sets NAME ...] [--labels 50 ...] [--seeds 0 1 2]
    [--passes 50] [--epochs 60] [--architecture separable] [--views recipe]

Of each class so many training images keep their label and a tenth of these validates; the others
have none. `scratch` is trained by the recipe, with flips and crops, `started` for as many images
from the weights of the pretraining, accepted or not. `gain` is the difference of their accuracies.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from bench_unlabelled import SETS, accuracy, divide

from kfp_vision.components.data_import.importer import ImportConfig, import_dataset
from kfp_vision.components.pretraining import rivals
from kfp_vision.components.pretraining.views import choose_views
from kfp_vision.components.shared.augmentation.known_policies import flip_and_crop
from kfp_vision.components.shared.recipe import unlabeled
from kfp_vision.components.shared.recipe.document import Recipe, Setting, write_recipe
from kfp_vision.components.shared.recipe.initial_weights import START_WEIGHTS
from kfp_vision.components.shared.recipe.policies import AUGMENTATION, POLICY
from kfp_vision.components.shared.recipe.user_choices import UserChoices
from kfp_vision.components.shared.training.checkpoints import Stopwatch
from kfp_vision.components.shared.training.setup import complete_recipe
from kfp_vision.components.shared.training.start_weights import write_start
from kfp_vision.components.training.train import train_model

_DATA = {
    "class_weights": None,
    "primary_metric": "accuracy",
    "positive_class": None,
    "use_validation_for_training": False,
    "pretrain": "always",
}


def run(name: str, labels: int, seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Returns both accuracies, and what the stage says."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        labelled, others = divide(SETS[name](folder), folder, labels, "right", seed)
        dataset = folder / "dataset"
        config = ImportConfig(unlabeled_uri=str(others), seed=seed)
        info = import_dataset(str(labelled), dataset, config)
        policy = Setting(flip_and_crop().to_json(), "benchmark", source="user")
        data = {key: Setting(value, "benchmark") for key, value in _DATA.items()}
        choices = UserChoices(arguments.architecture, epochs=arguments.epochs, seed=seed)
        recipe = complete_recipe(
            Recipe({"data": data, AUGMENTATION: {POLICY: policy}}), info, choices
        )
        learner = rivals.Rivals(dataset, info, recipe, folder / "checkpoints", seed, None)
        with (
            patch.object(unlabeled, "_MOST_PASSES", arguments.passes),
            patch.object(
                rivals,
                "choose_views",
                lambda own: choose_views(None if arguments.views == "default" else own),
            ),
        ):
            result, weights = learner.learn(float("inf"), Stopwatch())

        def train(output: str, recipe: Recipe) -> float:
            write_recipe(recipe, folder / output / "recipe.json")
            given = (folder / output / "recipe.json", folder / output / "model")
            train_model(dataset, *given, folder / "checkpoints", choices)
            return accuracy(dataset, folder / output / "model", len(info.classes))

        (folder / "scratch").mkdir()
        (folder / "started").mkdir()
        start = Setting(write_start(weights, folder / "started"), "benchmark")
        started = recipe.with_settings("model", {START_WEIGHTS: start})
        gain = result.gain
        return {
            "scratch": train("scratch", recipe),
            "started": train("started", started),
            "arm": result.chosen,
            "accepted": result.is_kept,
            "nats": [round(each, 3) for each in (gain.value, gain.low, gain.high)] if gain else [],
            "linear": [round(each.linear, 3) for arm in result.arms for each in arm.points],
        }


def main() -> None:
    """Runs the cells, prints them, then the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", nargs="+", default=["cifar10-10k"], choices=SETS)
    parser.add_argument("--labels", nargs="+", type=int, default=[50])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--passes", type=int, default=50)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--architecture", default="separable")
    parser.add_argument("--views", default="recipe", choices=["recipe", "default"])
    arguments = parser.parse_args()
    found: dict[str, dict[int, list[float]]] = {}
    for name in arguments.sets:
        for labels in arguments.labels:
            gains = []
            for seed in arguments.seeds:
                cell = run(name, labels, seed, arguments)
                print(f"{name} {labels} {seed}: {cell}", flush=True)
                gains.append(cell["started"] - cell["scratch"])
            error = np.std(gains, ddof=1) / len(gains) ** 0.5 if len(gains) > 1 else 0.0
            found.setdefault(name, {})[labels] = [float(np.mean(gains)), float(error)]
    print("RESULT " + json.dumps({"gain": found}))


if __name__ == "__main__":
    main()
