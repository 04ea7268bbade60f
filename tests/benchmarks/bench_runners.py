"""The demo at two epochs in processes and in containers: predictions, and what a task costs.

Needs a Docker engine and the image of `make images`. Nothing is learned by the clock, so that both
runs train the same network with the same settings.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

_OPTIONS = ["--epochs", "2", "--architecture", "separable"]
_OPTIONS += ["--no-learn-batch-size", "--no-search-augmentation"]
RUNNERS = ("subprocess", "docker")


def run(data: str, output: Path, runner: str) -> dict[str, Any]:
    """Returns `run.json` and `report.json` of a run, under `run` and `report`."""
    command = [str(Path(sys.executable).with_name("kfp-vision")), "run", "--runner", runner]
    command += [*_OPTIONS, "--dataset-uri", data, "--output", str(output)]
    subprocess.run(command, check=True)
    return {name: json.loads((output / f"{name}.json").read_text()) for name in ("run", "report")}


def task_costs(stages: list[dict[str, Any]]) -> dict[str, float]:
    """Returns the seconds of each task beside its work."""
    return {each["name"]: each["seconds"] - each["work_seconds"] for each in stages}


def main() -> None:
    """Runs both and prints where they differ."""
    with tempfile.TemporaryDirectory() as scratch:
        data = str(Path(scratch, "data"))
        module = "kfp_vision.components.data_import.fashion_mnist"
        subprocess.run([sys.executable, "-m", module, data], check=True)
        outputs = [Path(scratch, runner) for runner in RUNNERS]
        ended = [run(data, *each) for each in zip(outputs, RUNNERS, strict=True)]
        tables = [pq.read_table(each / "predictions.parquet") for each in outputs]
    before, contained = (task_costs(each["run"]["stages"]) for each in ended)
    beyond = {name: round(contained[name] - seconds, 2) for name, seconds in before.items()}
    metrics = [each["report"]["metrics"]["test"] for each in ended]
    result = {
        "same_predictions": tables[0].equals(tables[1]),
        "same_metrics": metrics[0] == metrics[1],
        "seconds": [round(each["run"]["seconds"], 1) for each in ended],
        "beyond_processes_s": beyond,
        "mean_beyond_processes_s": round(sum(beyond.values()) / len(beyond), 2),
    }
    print("RESULT " + json.dumps(result))


if __name__ == "__main__":
    main()
