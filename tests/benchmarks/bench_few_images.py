"""Accuracy of a fine-tuned network by the length of its training, on few labelled images.

python tests/benchmarks/bench_few_images.py [--sets cifar10-10k fashion-mnist ants-bees]
    [--labels 20] [--epochs 12 80 170 400] [--seeds 0]

The default length of pretrained networks rests on it, and which weights are kept: `lowest_loss` is
the accuracy of those with the lowest validation loss. Some training images of each class are
learned from, a tenth of them validates, and others (100 a class at most) judge; the test split is
not looked at. With flips and shifts, at 64 px, photographs at 128 px.
"""

import argparse
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
from bench_real_sets import unpack
from bench_unlabelled import SETS, accuracy, recipe

from kfp_vision.components.data_import.importer import ImportConfig, import_dataset
from kfp_vision.components.shared.architectures.names import DEFAULT_PRETRAINED
from kfp_vision.components.shared.recipe.document import Setting, write_recipe
from kfp_vision.components.shared.recipe.user_choices import UserChoices
from kfp_vision.components.shared.training.checkpoints import read_checkpoint
from kfp_vision.components.training.train import train_model

_SETS = {**SETS, "ants-bees": lambda folder: unpack("ants-bees", folder)}
_SIDES = {"cifar10-10k": 64, "fashion-mnist": 64, "ants-bees": 128}
_JUDGES = 100


def divide(source: Path, folder: Path, labels: int, seed: int) -> Path:
    """Returns a folder whose split `train` has `labels` images a class, and `test` others."""
    generator = np.random.default_rng(seed)
    for name in sorted(path.name for path in (source / "train").iterdir()):
        files = sorted((source / "train" / name).iterdir())
        order = generator.permutation(len(files))
        parts = {"train": order[:labels], "test": order[labels : labels + _JUDGES]}
        for split, rows in parts.items():
            (folder / split / name).mkdir(parents=True)
            for row in rows:
                shutil.copy(files[row], folder / split / name)
    return folder


def run(name: str, labels: int, seed: int, lengths: list[int]) -> dict[str, dict[str, Any]]:
    """Returns epochs -> steps, seconds and accuracies, of what was kept and of the lowest loss."""
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder, dataset = Path(scratch), Path(scratch, "dataset")
        source = divide(_SETS[name](folder), folder / "divided", labels, seed)
        info = import_dataset(str(source), dataset, ImportConfig(seed=seed))
        given = recipe(_SIDES[name], "never")
        if len(info.classes) == 2:
            given = given.with_settings("data", {"positive_class": Setting(info.classes[0], "set")})
        write_recipe(given, folder / "in.json")
        for epochs in lengths:
            output, checkpoints = folder / str(epochs), folder / f"{epochs} checkpoints"
            choices = UserChoices(architecture=DEFAULT_PRETRAINED, epochs=epochs, seed=seed)
            result = train_model(dataset, folder / "in.json", output, checkpoints, choices)
            model = keras.models.load_model(output / "model.keras", compile=False, safe_mode=True)
            found[str(epochs)] = {
                "steps": result.steps,
                "seconds": round(result.seconds),
                "accuracy": round(accuracy(dataset, model, len(info.classes)), 4),
            }
            load_lowest_loss(model, checkpoints)
            lowest = accuracy(dataset, model, len(info.classes))
            found[str(epochs)]["lowest_loss"] = round(lowest, 4)
    return found


def load_lowest_loss(model: keras.Model, checkpoints: Path) -> None:
    """Gives a model the kept weights whose validation loss is the lowest of all evaluations."""
    (state,) = checkpoints.glob("*/state.npz")
    known = read_checkpoint(state)
    assert known is not None
    lowest = min(known[1]["best"], key=lambda kept: kept["metrics"]["loss"])
    weights = read_checkpoint(state.parent / lowest["file"])
    assert weights is not None
    for variable, value in zip(model.variables, weights[0], strict=True):
        variable.assign(value)


def main() -> None:
    """Prints each cell, then the result: set, labels a class, seed -> epochs -> figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", nargs="+", default=list(_SETS), choices=_SETS)
    parser.add_argument("--labels", type=int, default=20)
    parser.add_argument("--epochs", nargs="+", type=int, default=[12, 80, 170, 400])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    arguments = parser.parse_args()
    result = {}
    for name in arguments.sets:
        for seed in arguments.seeds:
            key = f"{name} {arguments.labels} {seed}"
            result[key] = run(name, arguments.labels, seed, arguments.epochs)
            print(key, result[key], flush=True)
    print("RESULT " + json.dumps(result))


if __name__ == "__main__":
    main()
