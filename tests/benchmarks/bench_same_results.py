"""Prints the results of short runs with fixed seeds: two versions of the code are compared by them.

python tests/benchmarks/bench_same_results.py [RESULT_OF_ANOTHER_VERSION.json]

Three development sets, two seeds, no search. Batch size and learning rate are given: the probe
measures time, which differs from run to run. With a file it prints what differs and fails if
anything does.
"""

import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pyarrow.parquet as pq
from bench_real_sets import SETS

_OPTIONS = ["--image-size", "16", "--batch-size", "64", "--learning-rate", "0.004"]
_OPTIONS += ["--no-learn-batch-size", "--no-search-augmentation"]
_EPOCHS = {"cifar10-10k": 4, "camvid-tiles-multilabel": 12, "elpv-dataset": 24}
_SEEDS = (0, 1)


def _digest(arrays: list[np.ndarray]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def results(dataset: Path, epochs: int, seed: int, scratch: Path) -> dict[str, Any]:
    """Runs the pipeline and returns its scores, and digests of the weights and predictions."""
    output = scratch / f"out-{seed}"
    command = [Path(sys.executable).with_name("kfp-vision"), "run", "--dataset-uri", dataset]
    command += [*_OPTIONS, "--epochs", str(epochs), "--seed", str(seed), "--output", output]
    subprocess.run([str(part) for part in command], check=True)
    report = json.loads((output / "report.json").read_text(encoding="utf-8"))
    model = keras.models.load_model(output / "model" / "model.keras", compile=False)
    table = pq.read_table(output / "predictions.parquet")
    probabilities = [table[name].to_numpy() for name in table.column_names if name[:2] == "p_"]
    return {
        "metrics": report["metrics"],
        "baselines": report["baselines"],
        "weights": _digest([np.asarray(weight) for weight in model.weights]),
        "predictions": _digest(probabilities),
    }


def _differences(before: Any, after: Any, path: str) -> list[str]:
    """Returns a line for every value that differs."""
    if isinstance(before, dict) and isinstance(after, dict):
        names = sorted({*before, *after})
        return [
            line
            for name in names
            for line in _differences(before.get(name), after.get(name), f"{path}/{name}")
        ]
    return [] if before == after else [f"{path}: {before} -> {after}"]


def main() -> None:
    """Prints the results of every set and seed, and what differs from those of a file."""
    found: dict[str, dict[str, Any]] = {}
    for name, make in SETS.items():
        with tempfile.TemporaryDirectory() as scratch:
            dataset = make(Path(scratch))
            found[name] = {
                str(seed): results(dataset, _EPOCHS[name], seed, Path(scratch)) for seed in _SEEDS
            }
    differences = []
    if len(sys.argv) > 1:
        before = json.loads(Path(sys.argv[1]).read_text().rpartition("RESULT ")[2])
        differences = _differences(before, found, "")
        print("\n".join(differences) or "Every value agrees.")
    print("RESULT " + json.dumps(found))
    raise SystemExit(bool(differences))


if __name__ == "__main__":
    main()
