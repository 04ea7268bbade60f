"""The primary metric and the minutes of default runs, on a set of every task in the image.

python tests/benchmarks/bench_tasks.py [--sets NAME ...] [--seeds 0 1 2] [--minutes 15]
    [--results DIR]

A run takes a set as it is, with no parameter but seed and budget. With `--results` what has ended
is not run again: a folder is for one `--minutes`.
"""

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from bench_real_sets import unpack


@dataclasses.dataclass(frozen=True)
class _Run:
    """One run: the metric that decides, on the test images, and what it took."""

    metric: float
    minutes: float


# Name of an archive -> the metric that is reported.
_SETS = {
    "camvid-masks": "mean_iou",
    "bccd-voc": "map50",
    "nuclei-coco": "mask_map50",
    "mouse-keypoints-coco": "pck",
}


def _run(source: Path, output: Path, metric: str, seed: int, max_minutes: float) -> _Run:
    command = [Path(sys.executable).with_name("kfp-vision"), "run", "--dataset-uri", source]
    options = ["--output", output, "--seed", seed, "--max-minutes", max_minutes]
    began = time.monotonic()
    # A rejected model is a result, too.
    ended = subprocess.run([*map(str, command), *map(str, options)], check=False)
    minutes = (time.monotonic() - began) / 60
    if not (output / "report.json").exists():
        raise RuntimeError(f"A run must leave a report. Received: exit code {ended.returncode}")
    report = json.loads((output / "report.json").read_text())
    return _Run(report["metrics"]["test"][metric]["value"], minutes)


def _mean(values: list[float]) -> list[float]:
    """Returns the mean and its standard error; 0 of one value."""
    error = np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else 0.0
    return [round(float(np.mean(values)), 4), round(float(error), 4)]


def main() -> None:
    """Prints what the runs print, then metric and minutes of each set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", nargs="+", choices=list(_SETS), default=list(_SETS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--results", type=Path)
    arguments = parser.parse_args()
    sets = {}
    with tempfile.TemporaryDirectory() as scratch:
        results = arguments.results or Path(scratch) / "results"
        results.mkdir(parents=True, exist_ok=True)
        for name in arguments.sets:
            source, metric, runs = unpack(name, Path(scratch)), _SETS[name], []
            for seed in arguments.seeds:
                kept = results / f"{name}-{seed}.json"
                if not kept.exists():
                    output = results / f"{name}-{seed}"
                    run = _run(source, output, metric, seed, arguments.minutes)
                    kept.write_text(json.dumps(dataclasses.asdict(run)))
                runs.append(_Run(**json.loads(kept.read_text())))
            sets[name] = {
                metric: _mean([each.metric for each in runs]),
                "minutes": round(float(np.mean([each.minutes for each in runs])), 2),
            }
    print("RESULT " + json.dumps({"sets": sets}))


if __name__ == "__main__":
    main()
