"""A run on a real Kubeflow Pipelines server: what orchestration takes, and what faults cost.

Needs a server, as `tests/e2e/kfp_backend.py` says. The first run is one of a quarter of an hour
with all stages, on Fashion-MNIST; the second one, small, is shaken by the faults of
`tests/e2e/cluster_faults.py`. `--minutes 0` leaves the first one out.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parent.parent
sys.path.insert(0, str(TESTS / "e2e"))

from cluster_faults import FAULTS, Injector, missing_commands  # noqa: E402
from kfp_backend import (  # noqa: E402
    SMALL_RUN,
    Backend,
    NoBackendError,
    uploaded,
    write_digits,
)

_LATE_S = 7200.0


def measure_whole(backend: Backend, scratch: Path, minutes: float) -> dict[str, Any]:
    """Returns what a run with every stage takes."""
    module = "kfp_vision.components.data_import.fashion_mnist"
    subprocess.run([sys.executable, "-m", module, str(scratch / "fashion")], check=True)
    with uploaded(backend, scratch / "fashion", f"bench-{uuid.uuid4().hex[:8]}") as root:
        options = ("--max-minutes", str(minutes))
        run_id = backend.submit(f"{root}/data", f"{root}/out", *options)
        ended = backend.wait(run_id, _LATE_S)
        measured = backend.measure(ended)
    return {
        "state": ended.state,
        "seconds": round(measured.seconds),
        "busy_s": round(measured.busy_s),
        "orchestration_share": round(measured.orchestration_share, 3),
        "tasks": len(ended.workflow.stages),
        "pods": measured.pods,
    }


def measure_faults(backend: Backend, scratch: Path) -> dict[str, Any]:
    """Returns what a run repeats and loses by the faults that there are commands for."""
    write_digits(scratch / "digits", 60)
    with uploaded(backend, scratch / "digits", f"bench-{uuid.uuid4().hex[:8]}") as root:
        seed = uuid.uuid4().int % 2**16
        run_id = backend.submit(f"{root}/data", f"{root}/out", *SMALL_RUN, "--seed", str(seed))
        injector = Injector(backend)
        ended = backend.wait(run_id, _LATE_S, injector.watch)
        return {
            "state_after_faults": ended.state,
            "faults_injected": injector.injected,
            "faults_left_out": [each.name for each in FAULTS if missing_commands(each)],
            "repeated_work": injector.repeated(ended),
            "lost": round(injector.lost_intervals(ended), 2),
        }


def main() -> None:
    """Prints what both runs have taken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=12, help="budget of the first run")
    given = parser.parse_args()
    try:
        backend = Backend.from_environment()
    except NoBackendError as error:
        print("RESULT " + json.dumps({"skipped": str(error)}))
        return
    with tempfile.TemporaryDirectory() as folder:
        result = measure_whole(backend, Path(folder), given.minutes) if given.minutes else {}
        result |= measure_faults(backend, Path(folder))
    print("RESULT " + json.dumps(result))


if __name__ == "__main__":
    main()
