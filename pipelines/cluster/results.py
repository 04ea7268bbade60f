"""The results of a run on a server, brought to this machine."""

from pathlib import Path

from kfp_vision.components.shared.runtime.storage import MANIFEST_FILE, download
from kfp_vision.pipelines.cluster.runs import Run

__all__ = ["fetch_results"]


def fetch_results(run: Run, output: Path) -> list[Path]:
    """Copies report, recipe, predictions and models of a run, and returns where they are.

    Raises:
        ValueError: The run names no output, or goes on.
        StorageError: The output cannot be read, or was damaged on the way.
    """
    if not run.output_uri:
        raise ValueError(f"The run must be one of this pipeline. Received: {run.name}, no output.")
    if not run.ended:
        raise ValueError(f"The run must have ended. Received: {run.name}, {run.state.lower()}")
    download(run.output_uri, output)
    return sorted(
        path for path in output.rglob("*") if path.is_file() and path.name != MANIFEST_FILE
    )
