"""The results of a run on a server, brought to this machine.

They come from the bucket of the run's output; where this machine has no way to it, through the
server's UI, which hands out objects of the stores that it knows: `/artifacts/STORE/BUCKET/KEY`
(`frontend/server/handlers/artifacts.ts` of kubeflow/pipelines 2.17.0). The API server itself reads
the artifacts of Argo only, none of a pipeline of version 2.
"""

import json
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import quote

import kfp
import urllib3

from kfp_vision.components.shared.runtime.storage import (
    MANIFEST_FILE,
    StorageError,
    download,
    open_folder,
)
from kfp_vision.components.shared.runtime.storage.manifests import (
    digest_of_file,
    mismatch,
    parse_manifest,
)
from kfp_vision.pipelines.cluster.connection import BackendError, get
from kfp_vision.pipelines.cluster.runs import Run

__all__ = ["fetch_results", "read_report"]

# Names of the UI for a store; `minio` is that of the server itself, whatever it is made of.
_STORES = {"gs": ("gcs",), "s3": ("s3", "minio"), "minio": ("minio",)}


def fetch_results(client: kfp.Client, run: Run, output: Path) -> list[Path]:
    """Copies report, recipe, predictions and models of a run, and returns where they are.

    Raises:
        ValueError: The run names no output, or goes on.
        StorageError: The output cannot be read, or was damaged on the way.
    """
    if not run.output_uri:
        raise ValueError(f"The run must be one of this pipeline. Received: {run.name}, no output.")
    if not run.ended:
        raise ValueError(f"The run must have ended. Received: {run.name}, {run.state.lower()}")
    try:
        download(run.output_uri, output)
    except StorageError as error:
        _fetch_through_ui(client, run, output, error)
    return sorted(
        path for path in output.rglob("*") if path.is_file() and path.name != MANIFEST_FILE
    )


def read_report(client: kfp.Client, run: Run) -> dict[str, Any]:
    """Returns `report.json` of a run.

    Raises:
        StorageError: It cannot be read.
    """
    try:
        content = open_folder(run.output_uri)[0].read("report.json")
    except StorageError as error:
        content = _from_ui(client, run, "report.json", error).data
    report: dict[str, Any] = json.loads(content)
    return report


def _fetch_through_ui(client: kfp.Client, run: Run, output: Path, error: StorageError) -> None:
    """Copies the files that the manifest of the output names."""
    content = _from_ui(client, run, MANIFEST_FILE, error).data
    for name, record in parse_manifest(content, MANIFEST_FILE).files.items():
        target = output / name
        if not target.resolve().is_relative_to(output.resolve()):
            raise StorageError(f"A name must lead to a place below the output. Received: {name!r}")
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as file:
            shutil.copyfileobj(_from_ui(client, run, name, error), file)
        if digest_of_file(target) != record:
            target.unlink()
            raise mismatch(f"{run.output_uri}/{name}")


def _from_ui(
    client: kfp.Client, run: Run, name: str, error: StorageError
) -> urllib3.BaseHTTPResponse:
    """Returns the content of a file of the output, still unread.

    Raises:
        StorageError: `error`, when there is no UI, it does not know the bucket, or the output is in
            none.
    """
    scheme, _, path = run.output_uri.partition("://")
    for store in _STORES.get(scheme, ()):
        try:
            answer = get(
                client,
                f"/artifacts/{store}/{quote(path)}/{name}",
                namespace=run.workflow.namespace,
            )
        except BackendError:
            continue
        if "html" not in answer.headers.get("Content-Type", ""):
            return answer
    raise error
