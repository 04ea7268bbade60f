"""Test accuracy with few labels: labels alone, and with the images that have none.

python tests/benchmarks/bench_unlabelled.py [--sets NAME ...] [--labels 20 50 100 250]
    [--seeds 0 1 2] [--kinds right wrong half] [--arms auto always] [--most 800] [--side 0]
    [--epochs 0] [--results FILE]

Of each class there are up to `--most` training images. So many keep their label and a tenth of
these validates; the others have none. `gain` is the accuracy of the network after self-training
minus that of the best of its rivals, with labels alone: the training before it, and one of as many
images in all, the augmentation the same, by its best checkpoint and by its last weights. `wrong`:
the images without labels are cells under a microscope; `half`: as many of these as right ones.
`always` compares both arms. `--side` is that of the inputs, `--epochs` the length of the training
before; 0 takes what is found good for a set, and the default. Cells of the benchmark that FILE
holds are not run again: a file is for the same other options.
"""

import argparse
import dataclasses
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from bench_real_sets import unpack
from PIL import Image

from kfp_vision.components.data_import.fashion_mnist import provide_fashion_mnist
from kfp_vision.components.data_import.importer import ImportConfig, import_dataset
from kfp_vision.components.self_training.self_train import self_train
from kfp_vision.components.shared.architectures.names import DEFAULT_PRETRAINED
from kfp_vision.components.shared.artifacts.training_result import TrainingResult
from kfp_vision.components.shared.augmentation.known_policies import flip_and_crop
from kfp_vision.components.shared.datasets.labelled import open_labelled
from kfp_vision.components.shared.datasets.store import iterate_images, open_split
from kfp_vision.components.shared.metrics.acceptance import Gain
from kfp_vision.components.shared.recipe.document import Recipe, Setting, write_recipe
from kfp_vision.components.shared.recipe.policies import AUGMENTATION, POLICY
from kfp_vision.components.shared.recipe.user_choices import UserChoices
from kfp_vision.components.shared.tasks import get_task
from kfp_vision.components.shared.training.checkpoints import read_checkpoint
from kfp_vision.components.training.train import train_model

# Sides that the comparison of networks finds good for these sets in minutes.
SIDES = {"cifar10-10k": 96, "fashion-mnist": 64}
# Of each class of the large set, labels included; and of the test split.
_MOST, _TEST = 800, 200


def cifar(folder: Path) -> Path:
    """Returns a folder with the splits `train` and `test`."""
    return unpack("cifar10-10k", folder)


def clothes(folder: Path) -> Path:
    """The same for a sample of Fashion-MNIST."""
    source = provide_fashion_mnist(folder / "idx")
    import_dataset(str(source), folder / "store", ImportConfig())
    for split, most in (("train", _MOST), ("test", _TEST)):
        table = open_split(folder / "store", split)
        labels = np.array(table["labels"].to_pylist())[:, 0]
        rows = np.concatenate([np.flatnonzero(labels == label)[:most] for label in range(10)])
        for row, pixels in zip(rows, iterate_images(table, rows), strict=True):
            path = folder / "clothes" / split / str(labels[row]) / f"{row}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels[..., 0]).save(path)
    return folder / "clothes"


RIVALS = ("plain", "longer", "longer, last")
SETS: dict[str, Callable[[Path], Path]] = {"cifar10-10k": cifar, "fashion-mnist": clothes}


def divide(
    source: Path, folder: Path, labels: int, kind: str, seed: int, most: int = _MOST
) -> tuple[Path, Path]:
    """Returns a folder of images with labels and one of images without."""
    labelled, unlabeled = folder / "labelled", folder / "unlabeled"
    shutil.copytree(source / "test", labelled / "test")
    unlabeled.mkdir()
    generator = np.random.default_rng(seed)
    for name in sorted(path.name for path in (source / "train").iterdir()):
        files = sorted((source / "train" / name).iterdir())
        (labelled / "train" / name).mkdir(parents=True)
        for place, index in enumerate(generator.permutation(len(files))[:most]):
            if place < labels:
                shutil.copy(files[index], labelled / "train" / name)
            elif kind != "wrong":
                shutil.copy(files[index], unlabeled / f"{name}-{files[index].name}")
    if kind != "right":
        cells = sorted((unpack("nuclei-coco", folder) / "train").glob("*.png"))
        wanted = max(1, len(list(unlabeled.iterdir()))) if kind == "half" else most * 10
        crops = generator.integers(0, len(cells), wanted)
        for number, index in enumerate(crops):
            with Image.open(cells[index]) as image:
                side = min(image.size) // 2
                left, top = (int(generator.integers(0, each - side + 1)) for each in image.size)
                cut = image.convert("RGB").crop((left, top, left + side, top + side))
                cut.resize((32, 32)).save(unlabeled / f"cells-{number}.png")
    return labelled, unlabeled


def accuracy(dataset: Path, model: keras.Model, classes: int) -> float:
    """Returns that of a model on the test images."""
    test = open_labelled(dataset, "test", model.input_shape[1:], get_task("multiclass"), classes)
    right = [
        np.asarray(model(images.astype(np.float32), training=False)).argmax(1) == targets["label"]
        for images, targets in test.batches()
    ]
    return float(np.concatenate(right).mean())


def run(
    name: str, labels: int, kind: str, seed: int, arguments: argparse.Namespace
) -> dict[str, Any]:
    """Returns the accuracies of the models, rounds kept, and gains with their intervals.

    The longer rivals are those of images without labels of the right kind.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        labelled, unlabeled = divide(SETS[name](folder), folder, labels, kind, seed, arguments.most)
        dataset = folder / "dataset"
        config = ImportConfig(unlabeled_uri=str(unlabeled), seed=seed)
        info = import_dataset(str(labelled), dataset, config)
        write_recipe(recipe(arguments.side or SIDES[name], arguments.arms), folder / "in.json")

        def train(epochs: int, output: str) -> TrainingResult:
            choices = UserChoices(architecture=DEFAULT_PRETRAINED, epochs=epochs, seed=seed)
            given = (dataset, folder / "in.json", folder / output, folder / output / "checkpoints")
            return train_model(*given, choices)

        plain = train(arguments.epochs, "plain")
        began = time.monotonic()
        result = self_train(
            dataset, folder / "plain", folder / "taught", folder / "checkpoints", seed
        )
        seconds = time.monotonic() - began
        held = [*result.trials, *result.rounds]
        seen = plain.images_seen + result.images_seen
        models = ["plain", "taught"]
        if kind == "right":
            train(round(seen / info.splits["train"]), "longer")
            models.append("longer")
        measured: dict[str, Any] = {}
        for each in models:
            path = folder / each / "model.keras"
            model = keras.models.load_model(path, compile=False, safe_mode=True)
            measured[each] = accuracy(dataset, model, len(info.classes))
        if kind == "right":
            # The state begins with the variables of the model at the last step.
            (path,) = (folder / "longer/checkpoints").glob("*/state.npz")
            state = read_checkpoint(path)
            assert state is not None
            for variable, value in zip(model.variables, state[0], strict=False):
                variable.assign(value)
            measured["longer, last"] = accuracy(dataset, model, len(info.classes))
        rows = [
            [each.number, each.arm, each.neighbours, *map(_rounded, (each.gain, each.refined))]
            for each in held
        ]
        counts = {"kept": result.num_accepted, "foreign": result.foreign, "rounds": rows}
        return {**measured, **counts, "seconds": round(seconds)}


def _rounded(gain: Gain | None) -> list[float]:
    return [round(number, 3) for number in dataclasses.astuple(gain)] if gain else []


def recipe(side: int | None, arms: str = "always") -> Recipe:
    """Returns what the trainings start from; without a side, in the size of the images."""
    values = {
        "class_weights": None,
        "primary_metric": "accuracy",
        "positive_class": None,
        "use_validation_for_training": False,
        "self_train": arms,
        "distill": "always",
    }
    policy = Setting(flip_and_crop().to_json(), "benchmark", source="user")
    data = {key: Setting(value, "benchmark") for key, value in values.items()}
    model = {"image_size": Setting([side] * 2, "benchmark", source="user")} if side else {}
    return Recipe({"data": data, "model": model, AUGMENTATION: {POLICY: policy}})


def summary(cells: dict[str, dict[str, Any]]) -> dict[str, dict[str, list[float]]]:
    """Returns set -> labels a class, and kind -> mean and standard error of the gain."""
    found: dict[str, dict[str, list[float]]] = {}
    for key in cells:
        name, labels, kind, _ = key.split()
        gains = np.array(
            [
                each["taught"] - max(each[rival] for rival in RIVALS)
                if kind == "right"
                else each["taught"] - each["plain"]
                for other, each in cells.items()
                if other.split()[:3] == [name, labels, kind]
            ]
        )
        error = gains.std(ddof=1) / len(gains) ** 0.5 if len(gains) > 1 else 0.0
        row = [round(float(gains.mean()), 4), round(float(error), 4)]
        found.setdefault(name, {})[labels if kind == "right" else f"{labels} {kind}"] = row
    return found


def main() -> None:
    """Runs the cells that are missing, prints them, then the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS)
    parser.add_argument("--labels", nargs="+", type=int, default=[20, 50, 100, 250])
    parser.add_argument("--kinds", nargs="+", default=["right"], choices=["right", "wrong", "half"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--arms", default="auto", choices=["auto", "always"])
    parser.add_argument("--most", type=int, default=_MOST)
    parser.add_argument("--side", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=0)
    parser.add_argument("--results", type=Path)
    arguments = parser.parse_args()
    results = arguments.results
    cells = json.loads(results.read_text()) if results and results.exists() else {}
    keys = [
        (name, labels, kind, seed)
        for name in arguments.sets
        for kind in arguments.kinds
        for labels in arguments.labels
        for seed in arguments.seeds
    ]
    for key in keys:
        text = " ".join(map(str, key))
        if text not in cells:
            cells[text] = run(*key, arguments)
            print(f"{text}: {cells[text]}")
            if results:
                results.write_text(json.dumps(cells, indent=1))
    found = summary(cells)
    wrong = {
        name: {key: row for key, row in rows.items() if " " in key} for name, rows in found.items()
    }
    gains = {
        name: {key: row for key, row in rows.items() if " " not in key}
        for name, rows in found.items()
    }
    print("RESULT " + json.dumps({"gain": gains, "wrong_images_change": wrong}))


if __name__ == "__main__":
    main()
