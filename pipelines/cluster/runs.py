"""One run on a server: its state, its stages, and how it ended."""

import dataclasses
import gzip
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import kfp
from urllib3.exceptions import HTTPError

from kfp_vision.pipelines.cluster.connection import BackendError, get
from kfp_vision.pipelines.cluster.workflow import Workflow, read_workflow

__all__ = ["Run", "read_run", "run_page"]

# What an answer of another shape makes its reader raise.
_UNREADABLE = (
    *(AttributeError, KeyError, TypeError, gzip.BadGzipFile),
    *(json.JSONDecodeError, UnicodeDecodeError),
)
_ENDED = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")


@dataclasses.dataclass(frozen=True)
class Run:
    """A run.

    Attributes:
        state: As the API calls it, in its words; empty before the run is scheduled.
        parameters: As the user set them.
        seconds: Wall-clock time from its creation to its end; 0 until then.
        canceled: Whether somebody has ended it.
    """

    run_id: str
    name: str
    state: str
    parameters: Mapping[str, Any]
    seconds: float
    canceled: bool
    workflow: Workflow

    @property
    def ended(self) -> bool:
        """Whether no stage will start any more."""
        return self.state in _ENDED

    @property
    def published(self) -> bool:
        """Whether its results have come to its output; another run may have replaced them."""
        stages = self.workflow.stages
        return any(each.name == "publish" and each.state in ("done", "cached") for each in stages)

    @property
    def output_uri(self) -> str:
        """Where its results go; empty for a run of another pipeline."""
        return str(self.parameters.get("output_uri", "")).rstrip("/")


def read_run(client: kfp.Client, run_id: str) -> Run:
    """Returns a run of the server.

    Raises:
        ValueError: There is no such run.
        BackendError: The server does not answer, or refuses.
    """
    if not run_id.strip():
        raise ValueError(f"The run must be one of the server. Received: {run_id!r}")
    try:
        found = client.get_run(run_id)
        return _run(found, json.loads(get(client, f"/apis/v1beta1/runs/{run_id}").data))
    except BackendError as error:
        if error.status != 404:
            raise
        raise ValueError(f"The run must be one of the server. Received: {run_id!r}") from error
    except HTTPError as error:  # The body is read after the request.
        raise BackendError(f"The connection broke while the run was read: {error}") from error
    except _UNREADABLE as error:
        raise BackendError(
            f"A run must be told as Kubeflow Pipelines 2.17 tells it. Received: {run_id} otherwise "
            f"({type(error).__name__}: {error}). Check `--host` and the server's version."
        ) from error


def _run(found: Any, detail: Mapping[str, Any]) -> Run:
    """Returns a run, from what the two versions of the API say of it."""
    if found.run_id is None:  # The SDK makes this of what is no JSON.
        raise KeyError("run_id")
    manifest = detail.get("pipeline_runtime", {}).get("workflow_manifest", "")
    history = [each.state for each in found.state_history or []]
    config = found.runtime_config
    return Run(
        run_id=found.run_id,
        name=found.display_name,
        state=found.state or "",
        parameters=(config and config.parameters) or {},
        seconds=_seconds(found.created_at, found.finished_at),
        canceled=found.state == "CANCELED" or "CANCELING" in history,
        workflow=read_workflow(manifest),
    )


def _seconds(created: datetime, finished: datetime | None) -> float:
    # What has not ended yet ended in 1970.
    return max(0.0, (finished - created).total_seconds()) if finished else 0.0


def run_page(client: kfp.Client, run_id: str) -> str:
    """Returns the address of a run in the server's UI."""
    return f"{client._get_url_prefix()}/#/runs/details/{run_id}"
