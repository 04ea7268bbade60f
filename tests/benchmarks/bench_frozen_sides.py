"""Validation accuracy of the frozen-features baseline by the side of the images.

python tests/benchmarks/bench_frozen_sides.py [--sets cifar10-10k ...] [--sides 64 96 128 ...]

It is what the limits in `frozen_baseline.py` rest on. Of the training images at most 3,000 are used
and of the validation images 1,000; the test split is not looked at. Error: sqrt(p (1 - p) / M).
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from bench_real_sets import unpack

from kfp_vision.components.data_import.fashion_mnist import provide_fashion_mnist
from kfp_vision.components.data_import.importer import ImportConfig, import_dataset
from kfp_vision.components.shared.architectures.frozen_features import open_backbone
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.datasets.image_features import read_features
from kfp_vision.components.shared.datasets.store import open_split
from kfp_vision.components.shared.tasks import task_of
from kfp_vision.components.shared.tasks.baselines import Samples
from kfp_vision.components.shared.tasks.frozen_baseline import BACKBONE, fit_head

SETS: dict[str, Callable[[Path], Path]] = {
    "ants-bees": lambda folder: unpack("ants-bees", folder),
    "cifar10-10k": lambda folder: unpack("cifar10-10k", folder),
    "fashion-mnist": lambda folder: provide_fashion_mnist(folder / "fashion-mnist"),
}
MAX_IMAGES = {"train": 3000, "validation": 1000}


def accuracy(dataset: Path, info: DatasetInfo, side: int) -> tuple[float, float]:
    """Returns the accuracy on validation images and its standard error."""
    samples = {}
    for split, most in MAX_IMAGES.items():
        count = min(info.splits[split], most)
        rows = np.sort(np.random.default_rng(0).choice(info.splits[split], count, replace=False))
        read = task_of(info).open_targets(
            open_split(dataset, split), (side, side), len(info.classes)
        )
        features = read_features(
            open_backbone(BACKBONE), dataset, split, rows, (side, side), info.channels, None
        )
        samples[split] = Samples(features, read(rows)["label"])
    held_out = samples["validation"]
    predict = fit_head(samples["train"], held_out, len(info.classes), balanced=False)
    right = predict(held_out.features).argmax(1) == held_out.labels
    return float(right.mean()), float((right.mean() * (1 - right.mean()) / len(right)) ** 0.5)


def main() -> None:
    """Prints each accuracy, then the result: set -> side -> [accuracy, standard error]."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--sides", nargs="+", type=int, default=[32, 64, 96, 128, 160, 224])
    arguments = parser.parse_args()
    result: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.sets:
            dataset = Path(folder, f"{name}.dataset")
            info = import_dataset(str(SETS[name](Path(folder))), dataset, ImportConfig())
            result[name] = {}
            for side in arguments.sides:
                result[name][str(side)] = [
                    round(value, 4) for value in accuracy(dataset, info, side)
                ]
                print(name, side, *result[name][str(side)], flush=True)
    print("RESULT " + json.dumps(result))


if __name__ == "__main__":
    main()
