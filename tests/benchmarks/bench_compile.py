"""Times compiling the pipeline in a fresh interpreter: python tests/benchmarks/bench_compile.py."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPEATS = 5
CODE = (
    "import sys; from kfp import compiler;"
    "from kfp_vision.pipelines.training import training_pipeline;"
    "compiler.Compiler().compile(training_pipeline(1), sys.argv[1])"
)


def main() -> None:
    """Prints the seconds of each compilation and their median."""
    seconds = []
    with tempfile.TemporaryDirectory() as scratch:
        for _ in range(REPEATS):
            started = time.perf_counter()
            target = str(Path(scratch, "pipeline.yaml"))
            subprocess.run([sys.executable, "-c", CODE, target], check=True)
            seconds.append(round(time.perf_counter() - started, 3))
    median = sorted(seconds)[REPEATS // 2]
    print("RESULT " + json.dumps({"median_s": median, "seconds": seconds, "limit_s": 5}))


if __name__ == "__main__":
    main()
