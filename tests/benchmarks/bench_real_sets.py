"""Runs `kfp-vision run` with every default on the real development sets, and compares.

python tests/benchmarks/bench_real_sets.py [NAME ...]

The sets are in ../shared/data beside the repository; solar cells come from the package
`elpv-dataset`, defective where the probability of a defect is at least one half.
"""

import csv
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

import elpv_dataset

_SHARED = Path(__file__).parents[3] / "shared" / "data"


def unpack(name: str, folder: Path) -> Path:
    """Unpacks a development set and returns its folder."""
    with tarfile.open(_SHARED / f"{name}.tar") as archive:
        archive.extractall(folder, filter="data")
    return folder / name


def solar_cells(folder: Path) -> Path:
    """Copies the images of elpv-dataset with a table of two labels and returns the folder."""
    data = Path(elpv_dataset.__file__).parent / "data"
    rows = [line.split() for line in (data / "labels.csv").read_text().splitlines()]
    shutil.copytree(data / "images", folder / "images")
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label"])
        for path, probability, _ in rows:
            writer.writerow([path, "defective" if float(probability) >= 0.5 else "functional"])
    return folder


SETS: dict[str, Callable[[Path], Path]] = {
    "cifar10-10k": lambda folder: unpack("cifar10-10k", folder),
    "camvid-tiles-multilabel": lambda folder: unpack("camvid-tiles-multilabel", folder),
    "elpv-dataset": lambda folder: solar_cells(folder / "elpv"),
}


def main() -> None:
    """Prints what the runs print, and for each its minutes and scores beside the baselines."""
    result = {}
    for name in sys.argv[1:] or SETS:
        with tempfile.TemporaryDirectory() as scratch:
            dataset = SETS[name](Path(scratch))
            benchmark = Path(__file__).with_name("bench_demo.py")
            command = [sys.executable, str(benchmark), "--dataset-uri", str(dataset)]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:
                line = ""
                for line in run.stdout or ():
                    print(line, end="", flush=True)
            if run.returncode:
                raise SystemExit(f"`kfp-vision run` must succeed on {name}. See above.")
        result[name] = json.loads(line.removeprefix("RESULT "))
    print("RESULT " + json.dumps(result))


if __name__ == "__main__":
    main()
