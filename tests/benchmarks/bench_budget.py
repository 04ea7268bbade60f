"""Minutes of a whole run with all of its arms, over the minutes that it was given.

python tests/benchmarks/bench_budget.py [--labels 100] [--minutes 8 15] [--seed 0]

Thumbnails of ten classes: so many of a class keep their label, the others of the training images
have none. The network is `separable`; pretraining, self-training, two teachers and distillation are
asked for, and an arm without time left is named. `late` is the run over its minutes, minus 1;
`stages` has seconds and what the newest plan before each stage had estimated.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench_unlabelled import SETS, divide

_ARMS = ("--pretrain", "always", "--self-train", "always", "--teachers", "2", "--distill", "always")


def run(labels: int, minutes: float, seed: int) -> dict[str, Any]:
    """Returns the seconds of a run and of its stages."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        labelled, unlabeled = divide(SETS["cifar10-10k"](folder), folder, labels, "right", seed)
        data = ("--dataset-uri", labelled, "--unlabeled-uri", unlabeled)
        limits = ("--max-minutes", str(minutes), "--seed", str(seed))
        command = [Path(sys.executable).with_name("kfp-vision"), "run", *data, *limits, *_ARMS]
        command += ["--architecture", "separable", "--output", folder / "out"]
        subprocess.run(command, check=True)
        ended = json.loads((folder / "out/run.json").read_text(encoding="utf-8"))
        report = json.loads((folder / "out/report.json").read_text(encoding="utf-8"))
    return {
        "minutes": round(ended["seconds"] / 60, 2),
        "late": round(ended["seconds"] / (60 * minutes) - 1, 3),
        "stages": {
            each["name"]: [
                round(each["seconds"]),
                each["estimated_s"] and round(each["estimated_s"]),
            ]
            for each in report["cost"]["stages"]
        },
        "arms": {each["name"]: each["kept"] for each in report["arms"]},
    }


def main() -> None:
    """Prints the figures of a run for each number of minutes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--labels", type=int, default=100)
    parser.add_argument("--minutes", nargs="+", type=float, default=[8.0, 15.0])
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    found = {f"{each:g}": run(given.labels, each, given.seed) for each in given.minutes}
    print("RESULT " + json.dumps({"budget": found}))


if __name__ == "__main__":
    main()
