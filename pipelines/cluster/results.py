"""The results of a run on a server, brought to this machine.

They come from the bucket of the run's output; where this machine has no way to it, through the
server's UI, which hands out objects of the stores that it knows: `/artifacts/STORE/BUCKET/KEY`
(`frontend/server/handlers/artifacts.ts` of kubeflow/pipelines 2.17.0). The API server itself reads
the artifacts of Argo only, none of a pipeline of version 2.
"""

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import kfp
import urllib3

from kfp_vision.components.shared.runtime.disk import explain_full_disk
from kfp_vision.components.shared.runtime.storage import (
    MANIFEST_FILE,
    StorageError,
    download,
    is_remote,
    local_path,
    open_folder,
)
from kfp_vision.components.shared.runtime.storage.manifests import (
    digest_of_file,
    mismatch,
    parse_manifest,
)
from kfp_vision.pipelines.cluster.connection import BackendError, get
from kfp_vision.pipelines.cluster.runs import Run
from kfp_vision.pipelines.publishing.publish import ARTIFACTS_FILE, RUN_ID, replace_results

__all__ = ["ReplacedError", "fetch_results", "read_report"]

# Names of the UI for a store; `minio` is that of the server itself, whatever it is made of.
_STORES = {"gs": ("gcs",), "s3": ("s3", "minio"), "minio": ("minio",)}


class ReplacedError(ValueError):
    """The output of a run holds the results of another one."""


def fetch_results(client: kfp.Client, run: Run, output: str) -> list[Path]:
    """Copies report, recipe, predictions and models of a run, and returns where they are.

    They take the place of results that lie in the folder; other files there stay.

    Raises:
        ValueError: The run has no results, or goes on, or the folder is none of this machine.
        ReplacedError: Those in its output are of another run.
        StorageError: The output cannot be read, or was damaged on the way.
    """
    target = local_path(output, "output")
    if target.is_file():
        raise ValueError(f"`output` must be a folder. Received: {target}, a file.")
    if not run.output_uri:
        raise ValueError(f"The run must be one of this pipeline. Received: {run.name}, no output.")
    if not run.ended:
        raise ValueError(f"The run must have ended. Received: {run.name}, {run.state.lower()}")
    if run.workflow.stages and not run.published:
        raise ValueError(
            f"The run must have published results. Received: {run.name}, which has none "
            f"({run.state.lower()}). `kfp-vision status {run.run_id}` says how it ended."
        )
    _require_own(run, _read(client, run, ARTIFACTS_FILE))
    target.mkdir(parents=True, exist_ok=True)
    with explain_full_disk(target), tempfile.TemporaryDirectory(prefix=".", dir=target) as scratch:
        copied = Path(scratch)
        try:
            download(run.output_uri, copied)
        except StorageError as error:
            _fetch_through_ui(client, run, copied, error)
        # Another run may have published meanwhile.
        _require_own(run, (copied / ARTIFACTS_FILE).read_bytes())
        return replace_results(copied, target)


def read_report(client: kfp.Client, run: Run) -> dict[str, Any]:
    """Returns `report.json` of a run.

    Raises:
        ReplacedError: The one in its output is of another run.
        StorageError: It cannot be read.
    """
    _require_own(run, _read(client, run, ARTIFACTS_FILE))
    report: dict[str, Any] = json.loads(_read(client, run, "report.json"))
    return report


def _require_own(run: Run, listing: bytes) -> None:
    """Refuses the results of another run.

    Args:
        run: Whose output it is.
        listing: `artifacts.json` of the output.

    Raises:
        ReplacedError: They are.
    """
    found = ""
    with contextlib.suppress(ValueError, AttributeError):
        found = str(json.loads(listing).get(RUN_ID, ""))
    if found != run.run_id:
        owner = f"those of run {found}" if found else "those of a run that is not named"
        raise ReplacedError(
            f"{run.output_uri} must hold the results of run {run.run_id}. Received: {owner}, which "
            "has published there since. Give every run an output of its own; to have these back, "
            "submit the run again with another `--output`: it comes from the cache."
        )


def _read(client: kfp.Client, run: Run, name: str) -> bytes:
    """Returns a file of the output."""
    try:
        if not is_remote(run.output_uri):
            raise StorageError(
                f"Results must be in a bucket to be read here. Received: {run.output_uri}, on a "
                "volume of the cluster. `kubectl cp` copies them from a pod that mounts it."
            )
        return open_folder(run.output_uri)[0].read(name)
    except StorageError as error:
        with _from_ui(client, run, name, error) as answer:
            return answer.data


def _fetch_through_ui(client: kfp.Client, run: Run, output: Path, error: StorageError) -> None:
    """Copies the files that the manifest of the output names."""
    with _from_ui(client, run, MANIFEST_FILE, error) as answer:
        content = answer.data
    for name, record in parse_manifest(content, MANIFEST_FILE).files.items():
        target = output / name
        if not target.resolve().is_relative_to(output.resolve()):
            raise StorageError(f"A name must lead to a place below the output. Received: {name!r}")
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as file, _from_ui(client, run, name, error) as answer:
            shutil.copyfileobj(answer, file)
        if digest_of_file(target) != record:
            raise mismatch(f"{run.output_uri}/{name}")


@contextlib.contextmanager
def _from_ui(
    client: kfp.Client, run: Run, name: str, error: StorageError
) -> Iterator[urllib3.BaseHTTPResponse]:
    """Yields the content of a file of the output, still unread.

    Raises:
        StorageError: `error`, when there is no UI, it does not know the bucket, or the output is in
            none; another one, when the connection breaks.
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
            break
    else:
        raise error
    try:
        yield answer
    except urllib3.exceptions.HTTPError as broken:
        raise StorageError(
            f"The connection must last until {name} is read. Received: {broken}. Try again."
        ) from broken
