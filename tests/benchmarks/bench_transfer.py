"""Test metric and minutes of a run from scratch, of frozen features, and of a run with defaults.

python tests/benchmarks/bench_transfer.py [--sets NAME ...] [--seeds 0 1 2] [--methods NAME ...]
    [--results FILE]

Sets of several kinds: a few hundred photographs, thumbnails, tiles with many labels, cells, gray
and imbalanced solar cells, and gray pictures of clothes. `scratch` is `kfp-vision run
--architecture separable`, `auto` is `kfp-vision run`; `frozen_features` is the baseline of the
latter, with its time alone. Cells that FILE holds are not run again.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import numpy as np
from bench_real_sets import solar_cells, unpack
from PIL import Image

from kfp_vision.components.data_import.fashion_mnist import provide_fashion_mnist
from kfp_vision.components.data_import.importer import ImportConfig, import_dataset
from kfp_vision.components.shared.tasks import task_of
from kfp_vision.components.shared.tasks.frozen_baseline import predict_frozen_features

_BOX, _MIN_SIDE = ("xmin", "ymin", "xmax", "ymax"), 8


def blood_cells(folder: Path) -> Path:
    """Cuts the boxes of bccd-voc out; train and val are for training, and returns the folder."""
    source = unpack("bccd-voc", folder)
    for split, names in (("train", ("train", "val")), ("test", ("test",))):
        for name in names:
            listed = (source / "ImageSets/Main" / f"{name}.txt").read_text().split()
            for stem in listed:
                image = Image.open(source / "JPEGImages" / f"{stem}.jpg")
                boxes = ET.parse(source / "Annotations" / f"{stem}.xml").getroot().iter("object")
                for number, each in enumerate(boxes):
                    left, top, right, bottom = (
                        int(float(each.findtext(f"bndbox/{side}", "0"))) for side in _BOX
                    )
                    if min(right - left, bottom - top) >= _MIN_SIDE:
                        cells = folder / "cells" / split / each.findtext("name", "")
                        cells.mkdir(parents=True, exist_ok=True)
                        image.crop((left, top, right, bottom)).save(cells / f"{stem}_{number}.png")
    return folder / "cells"


SETS: dict[str, Callable[[Path], Path]] = {
    "ants-bees": lambda folder: unpack("ants-bees", folder),
    "cifar10-10k": lambda folder: unpack("cifar10-10k", folder),
    "camvid-tiles-multilabel": lambda folder: unpack("camvid-tiles-multilabel", folder),
    "bccd-cells": blood_cells,
    "elpv": lambda folder: solar_cells(folder / "elpv"),
    "fashion-mnist": lambda folder: provide_fashion_mnist(folder / "fashion-mnist"),
}
_OPTIONS = {"scratch": ["--architecture", "separable"], "auto": []}
METHODS = ("scratch", "frozen_features", "auto")


def run(dataset: Path, folder: Path, method: str, seed: int) -> dict[str, list[float]]:
    """Returns [metric, minutes] of the method and, of `auto`, of its baseline too."""
    command = [Path(sys.executable).with_name("kfp-vision"), "run", "--dataset-uri", dataset]
    output = folder / f"{method}-{seed}"
    command += ["--output", output, "--seed", seed, *_OPTIONS[method]]
    began = time.monotonic()
    subprocess.run([*map(str, command)], check=True)
    minutes = (time.monotonic() - began) / 60
    report = json.loads((output / "report.json").read_text())
    primary = report["metrics"]["primary"]
    found = {method: [report["metrics"]["test"][primary]["value"], minutes]}
    if method == "auto":
        baseline = report["baselines"]["frozen_features"][primary]["value"]
        found["frozen_features"] = [baseline, frozen_minutes(dataset, folder, primary, seed)]
    return found


def frozen_minutes(dataset: Path, folder: Path, primary: str, seed: int) -> float:
    """Returns the minutes of the baseline alone, features included."""
    imported = folder / "imported"
    info = import_dataset(str(dataset), imported, ImportConfig(seed=seed))
    began = time.monotonic()
    balanced = primary == "balanced_accuracy"
    predict_frozen_features(task_of(info), imported, info, balanced, seed, None)
    return (time.monotonic() - began) / 60


def summary(cells: dict[str, list[float]]) -> dict[str, dict[str, list[float]]]:
    """Returns set -> method -> [mean metric, standard error over the seeds, mean minutes]."""
    found: dict[str, dict[str, list[float]]] = {}
    for name in SETS:
        for method in METHODS:
            values = [value for key, value in cells.items() if key.split()[:2] == [name, method]]
            if values:
                metrics, minutes = np.array(values).T
                error = metrics.std(ddof=1) / len(metrics) ** 0.5 if len(metrics) > 1 else 0.0
                row = [round(metrics.mean(), 4), round(error, 4), round(minutes.mean(), 1)]
                found.setdefault(name, {})[method] = row
    return found


def main() -> None:
    """Runs the cells that are missing, prints them, then the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS)
    parser.add_argument("--methods", nargs="+", default=["auto", "scratch"], choices=_OPTIONS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--results", type=Path)
    arguments = parser.parse_args()
    results = arguments.results
    cells = json.loads(results.read_text()) if results and results.exists() else {}
    for name in arguments.sets:
        for method in arguments.methods:
            for seed in arguments.seeds:
                if f"{name} {method} {seed}" in cells:
                    continue
                with tempfile.TemporaryDirectory() as scratch:
                    dataset = SETS[name](Path(scratch))
                    for key, value in run(dataset, Path(scratch), method, seed).items():
                        cells[f"{name} {key} {seed}"] = value
                        print(f"{name}, {key}, seed {seed}: {value[0]:.4f} in {value[1]:.1f} min")
                if results:
                    results.write_text(json.dumps(cells, indent=1))
    print("RESULT " + json.dumps({"sets": summary(cells)}))


if __name__ == "__main__":
    main()
