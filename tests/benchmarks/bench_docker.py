"""What a container costs a task: the start of an interpreter with kfp, in processes and containers.

Needs a Docker engine and the image of `make images`. Both are started in turn, so that a busy
machine slows them alike; medians and the smallest values are printed.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from kfp_vision.components.shared.runtime.memory import available_memory_bytes
from kfp_vision.components.shared.runtime.processes import usable_cpus
from kfp_vision.pipelines.local.container_settings import ContainerSettings
from kfp_vision.pipelines.local.containers import check_engine, run_container

ROUNDS = 15
# As the executor of a task begins.
CODE = "import os; os.environ['_KFP_RUNTIME'] = 'true'; from kfp.dsl import executor_main"


def _seconds(start: Callable[[], object]) -> float:
    begun = time.perf_counter()
    start()
    return time.perf_counter() - begun


def main() -> None:
    """Measures and prints."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("output", "scratch"):
            Path(folder, name).mkdir()
        settings = ContainerSettings(
            output=f"{folder}/output",
            champions="",
            inputs={},
            variables=[],
            network="none",
            working_dir=folder,
            cpus=usable_cpus(),
            memory_bytes=available_memory_bytes(),
            gpu=check_engine(),
        )

        def contained(*command: str) -> float:
            return _seconds(lambda: run_container(settings, Path(folder, "scratch"), command, {}))

        rounds = [
            (
                _seconds(lambda: subprocess.run([sys.executable, "-c", CODE], check=True)),
                contained("python3", "-c", CODE),
                contained("true"),
            )
            for _ in range(ROUNDS + 1)
        ][1:]  # The first one reads the files from the disk.
    processes, containers, empty = zip(*rounds, strict=True)
    print("seconds              median   smallest")
    for name, values in (("process", processes), ("container", containers), ("empty", empty)):
        print(f"{name:<20} {statistics.median(values):6.2f} {min(values):10.2f}")
    overheads = [container - process for process, container, _ in rounds]
    result = {
        "overhead_s": round(statistics.median(overheads), 2),
        "overhead_of_smallest_s": round(min(containers) - min(processes), 2),
        "empty_container_s": round(statistics.median(empty), 2),
        "rounds": ROUNDS,
    }
    print(f"RESULT {json.dumps(result)}")


if __name__ == "__main__":
    main()
