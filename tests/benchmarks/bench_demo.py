"""Runs the demo in an empty folder: wall time, accuracy, exports, orchestration share.

python tests/benchmarks/bench_demo.py [--dataset-uri DIR] [OPTION OF kfp-vision run ...]

Without a dataset it is Fashion-MNIST. Installing the package is not part of it.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path


def main() -> None:
    """Prints what the run printed, and its figures."""
    options = sys.argv[1:]
    with tempfile.TemporaryDirectory() as scratch:
        if "--dataset-uri" not in options:
            data = str(Path(scratch, "data"))
            module = "kfp_vision.components.data_import.fashion_mnist"
            subprocess.run([sys.executable, "-m", module, data], check=True)
            options += ["--dataset-uri", data]
        output = Path(scratch, "out")
        command = Path(sys.executable).with_name("kfp-vision")
        subprocess.run([command, "run", *options, "--output", output], check=True)
        run = json.loads((output / "run.json").read_text(encoding="utf-8"))
        report = json.loads((output / "report.json").read_text(encoding="utf-8"))
    result = {
        "seconds": round(run["seconds"], 1),
        "orchestration_share": round(run["orchestration_share"], 4),
        "primary": report["metrics"]["primary"],
        "test": report["metrics"]["test"],
        "baselines": {
            name: {metric: score["value"] for metric, score in scores.items()}
            for name, scores in report["baselines"].items()
        },
        "exports_passed": {entry["format"]: entry["passed"] for entry in report["exports"]},
        "stage_seconds": {stage["name"]: round(stage["seconds"], 1) for stage in run["stages"]},
    }
    print("RESULT " + json.dumps(result))


if __name__ == "__main__":
    main()
