"""Test accuracy of a small network, of the networks beside it, and of all of them together.

python tests/benchmarks/bench_teachers.py [--sets NAME ...] [--seeds 0 1 2] [--teachers 2]
    [--minutes 8]

The model is `separable`; the stage has so many minutes for the networks beside it. `gain` is the
test accuracy of the ensemble minus that of the model; `kept` how the members are joined.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from bench_unlabelled import SETS, accuracy, recipe

from kfp_vision.components.data_import.importer import ImportConfig, import_dataset
from kfp_vision.components.shared.recipe.budget import with_budget
from kfp_vision.components.shared.recipe.document import Recipe, Setting, read_recipe, write_recipe
from kfp_vision.components.shared.recipe.user_choices import UserChoices
from kfp_vision.components.teachers.train_teachers import train_teachers
from kfp_vision.components.training.train import train_model

_MODEL = "separable"


def run(name: str, seed: int, teachers: int, minutes: float) -> dict[str, Any]:
    """Returns the accuracies of model and ensemble, and what the stage says of its members."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        dataset, checkpoints = folder / "dataset", folder / "checkpoints"
        info = import_dataset(str(SETS[name](folder)), dataset, ImportConfig(seed=seed))
        write_recipe(recipe(None), folder / "in.json")
        choices = UserChoices(architecture=_MODEL, seed=seed)
        train_model(dataset, folder / "in.json", folder / "plain", checkpoints, choices)
        # The minutes are those of the stage alone.
        trained = with_budget(read_recipe(folder / "plain/recipe.json"), "balanced", minutes)
        wishes = {"teachers": teachers, "deploy": "ensemble"}
        data = {name: Setting(value, "benchmark") for name, value in wishes.items()}
        sections = {**trained.sections, "data": {**trained.sections["data"], **data}}
        write_recipe(Recipe(sections), folder / "plain/recipe.json")
        result = train_teachers(dataset, folder / "plain", folder / "together", checkpoints, seed)
        plain, together = (
            accuracy(dataset, folder / each, len(info.classes)) for each in ("plain", "together")
        )
        return {
            "plain": plain,
            "ensemble": together,
            "kept": result.kept,
            "gains": {each.way: vars(each.gain) for each in result.tried},
            "members": {
                f"{at} {each.kind}": [each.value, round(each.weight, 3), each.images_seen]
                for at, each in enumerate(result.members)
            },
            "failed": result.failed,
            "disagreement": [round(each, 3) for each in result.disagreement[0]],
            "seconds": round(result.seconds),
        }


def main() -> None:
    """Runs all cells, prints them, then the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--teachers", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=8.0)
    arguments = parser.parse_args()
    gains: dict[str, list[float]] = {}
    for name in arguments.sets:
        values = []
        for seed in arguments.seeds:
            cell = run(name, seed, arguments.teachers, arguments.minutes)
            print(f"{name} {seed}: {json.dumps(cell)}", flush=True)
            values.append(cell["ensemble"] - cell["plain"])
        error = np.std(values, ddof=1) / len(values) ** 0.5 if len(values) > 1 else 0.0
        gains[name] = [round(float(np.mean(values)), 4), round(float(error), 4)]
    print("RESULT " + json.dumps({"gain": gains}))


if __name__ == "__main__":
    main()
