"""Test accuracy of a student that a better network has taught, and of one that labels have.

python tests/benchmarks/bench_distill.py [--sets NAME ...] [--seeds 0 1 2] [--trainings 8]
    [--views 32] [--narrow] [--results FILE]

The student is `separable`, its teacher a fine-tuned EfficientNet-Lite0. `longer` is the student
trained by labels alone for as many images as training and distillation take together, the
augmentation the same. `student_gain` is taught minus longer, `share_of_ensemble_gain` that of the
gain of the teacher over the student before. The student learns as long as `--trainings` plain ones,
in `--views` of an image at most; `--narrow`: without the wide augmentation. Cells of the benchmark
that FILE holds are not run again: a file is for the same other options.
"""

import argparse
import dataclasses
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

import keras
import numpy as np
from bench_unlabelled import SETS, SIDES, accuracy, recipe

from kfp_vision.components.data_import.importer import ImportConfig, import_dataset
from kfp_vision.components.distillation import pictures, student, teaching
from kfp_vision.components.distillation.distill import distill
from kfp_vision.components.distillation.lesson import lesson_policy
from kfp_vision.components.shared.architectures.names import DEFAULT_PRETRAINED
from kfp_vision.components.shared.artifacts.teachers_result import ENSEMBLE_FILE
from kfp_vision.components.shared.artifacts.training_result import MODEL_FILE, TrainingResult
from kfp_vision.components.shared.augmentation.policy import Mixing, Policy
from kfp_vision.components.shared.recipe.distilled import MOST_PASSES
from kfp_vision.components.shared.recipe.document import write_recipe
from kfp_vision.components.shared.recipe.user_choices import UserChoices
from kfp_vision.components.training.train import train_model

_STUDENT = "separable"


def load(path: Path) -> keras.Model:
    """Returns a model of a file."""
    return keras.models.load_model(path, compile=False, safe_mode=True)


def run(name: str, seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Returns the accuracies of the four models, and what distillation did."""

    def narrow(policy: Policy) -> Policy:
        return dataclasses.replace(policy, mixing=Mixing())

    policy_of = narrow if arguments.narrow else lesson_policy
    with (
        patch.object(student, "MOST_PASSES", arguments.trainings),
        patch.object(pictures, "MAX_VIEWS", arguments.views),
        patch.object(teaching, "lesson_policy", policy_of),
        tempfile.TemporaryDirectory() as scratch,
    ):
        folder = Path(scratch)
        dataset, checkpoints = folder / "dataset", folder / "checkpoints"
        info = import_dataset(str(SETS[name](folder)), dataset, ImportConfig(seed=seed))
        write_recipe(recipe(SIDES[name]), folder / "teacher.json")
        write_recipe(recipe(None), folder / "student.json")

        def train(start: str, architecture: str, output: str, epochs: int = 0) -> TrainingResult:
            choices = UserChoices(architecture=architecture, epochs=epochs, seed=seed)
            given = (dataset, folder / f"{start}.json", folder / output, checkpoints)
            return train_model(*given, choices)

        plain = train("student", _STUDENT, "plain")
        train("teacher", DEFAULT_PRETRAINED, "teacher")
        shutil.copyfile(folder / "teacher" / MODEL_FILE, folder / "plain" / ENSEMBLE_FILE)
        result = distill(dataset, folder / "plain", folder / "taught", checkpoints, seed)
        epochs = round((plain.images_seen + result.images_seen) / info.splits["train"])
        train("student", _STUDENT, "longer", epochs)
        measured = {
            each: accuracy(dataset, load(folder / each / MODEL_FILE), len(info.classes))
            for each in ("plain", "teacher", "taught", "longer")
        }
        seconds = {"distill_s": result.seconds, "plain_s": plain.seconds}
        chosen = ("temperature", "label_share", "feature_weight")
        how = {each: getattr(result, each) for each in chosen}
        how["gain"] = dataclasses.astuple(result.gain) if result.gain else None
        return {**measured, **how, "pictures": result.pictures, "kept": result.is_kept, **seconds}


def summary(cells: dict[str, dict[str, Any]]) -> dict[str, dict[str, list[float]]]:
    """Returns figure -> set -> mean and standard error over seeds."""
    found: dict[str, dict[str, list[float]]] = {"student_gain": {}, "share_of_ensemble_gain": {}}
    for name in dict.fromkeys(key.split()[0] for key in cells):
        rows = [each for key, each in cells.items() if key.split()[0] == name]
        figures = {
            "student_gain": [each["taught"] - each["longer"] for each in rows],
            "share_of_ensemble_gain": [
                (each["taught"] - each["plain"]) / (each["teacher"] - each["plain"])
                for each in rows
            ],
        }
        for figure, values in figures.items():
            error = np.std(values, ddof=1) / len(values) ** 0.5 if len(values) > 1 else 0.0
            found[figure][name] = [round(float(np.mean(values)), 4), round(float(error), 4)]
    return found


def main() -> None:
    """Runs the cells that are missing, prints them, then the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--trainings", type=float, default=MOST_PASSES)
    parser.add_argument("--views", type=int, default=pictures.MAX_VIEWS)
    parser.add_argument("--narrow", action="store_true")
    parser.add_argument("--results", type=Path)
    arguments = parser.parse_args()
    results = arguments.results
    cells = json.loads(results.read_text()) if results and results.exists() else {}
    for name in arguments.sets:
        for seed in arguments.seeds:
            key = f"{name} {seed}"
            if key not in cells:
                cells[key] = run(name, seed, arguments)
                print(f"{key}: {cells[key]}")
                if results:
                    results.write_text(json.dumps(cells, indent=1))
    print("RESULT " + json.dumps(summary(cells)))


if __name__ == "__main__":
    main()
