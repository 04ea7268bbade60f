"""Published versions of a pipeline: one for each distinct compiled file."""

import contextlib
import dataclasses
import hashlib
import io
import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import kfp
import yaml
from kfp_server_api import V2beta1Pipeline

from kfp_vision.pipelines.cluster.connection import BackendError
from kfp_vision.pipelines.cluster.placement import WORKSPACE

__all__ = ["PIPELINE", "Version", "find_version", "publish_version"]

# The name of the training pipeline, in its file and on the server.
PIPELINE = "kfp-vision-training"
# Ten times as fast; PyYAML may have been built without it.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DIGITS = 12
_SHOWN = 5


@dataclasses.dataclass(frozen=True)
class Version:
    """A pipeline that is on the server.

    Attributes:
        inputs: Names of its parameters.
        workspace: Whether its tasks see a volume at `placement.WORKSPACE`.
    """

    pipeline_id: str
    version_id: str
    name: str
    inputs: frozenset[str]
    workspace: bool


def publish_version(client: kfp.Client, package: Path) -> Version:
    """Returns the version that holds a compiled file; uploads it when there is none.

    Its name is that of this package's version and a digest of the file.

    Raises:
        BackendError: The server does not answer, or refuses.
    """
    content = package.read_bytes()
    pipeline = next(yaml.load_all(content, _LOADER))["pipelineInfo"]["name"]
    name = f"{version('kfp-vision')}-{hashlib.sha256(content).hexdigest()[:_DIGITS]}"
    pipeline_id = _pipeline_id(client, pipeline) or _create(client, pipeline)
    found = _version(client, pipeline_id, name)
    if found is None:
        try:
            # The SDK prints a link.
            with contextlib.redirect_stdout(io.StringIO()):
                client.upload_pipeline_version(str(package), name, pipeline_id=pipeline_id)
        except BackendError as error:
            if error.status != 409:  # Somebody else was faster.
                raise
        found = _version(client, pipeline_id, name)
    if found is None:
        raise BackendError(f"The server must keep version {name} of {pipeline}, and does not.")
    return found


def find_version(client: kfp.Client, name: str, pipeline: str = PIPELINE) -> Version:
    """Returns a published version.

    Raises:
        ValueError: There is none of this name; the message names the newest ones.
        BackendError: The server does not answer, or refuses.
    """
    pipeline_id = _pipeline_id(client, pipeline)
    if not pipeline_id:
        raise ValueError(
            f"A version must be one of the pipeline {pipeline}. Received: {name!r}, and a server "
            "without that pipeline. Without a version, that of this package is published."
        )
    found = _version(client, pipeline_id, name)
    if found is None:
        listed = client.list_pipeline_versions(
            pipeline_id, page_size=_SHOWN, sort_by="created_at desc"
        )
        names = [each.display_name for each in listed.pipeline_versions or []]
        raise ValueError(
            f"A version must be one of the pipeline {pipeline}. Received: {name!r}. The newest "
            f"are: {', '.join(names) or 'none'}"
        )
    return found


def _named(name: str) -> str:
    """Returns the filter of a list by name."""
    equals = {"operation": "EQUALS", "key": "display_name", "stringValue": name}
    return json.dumps({"predicates": [equals]})


def _pipeline_id(client: kfp.Client, name: str) -> str:
    """Returns the ID of a pipeline of this user's namespace; empty when there is none."""
    namespace = client.get_user_namespace()
    found = client.list_pipelines(filter=_named(name), namespace=namespace).pipelines or []
    return found[0].pipeline_id if found else ""


def _create(client: kfp.Client, name: str) -> str:
    pipeline = V2beta1Pipeline(
        name=name, display_name=name, namespace=client.get_user_namespace() or None
    )
    try:
        made = client._pipelines_api.pipeline_service_create_pipeline(pipeline=pipeline)
    except BackendError as error:
        if error.status != 409:
            raise
        return _pipeline_id(client, name)
    return str(made.pipeline_id)


def _version(client: kfp.Client, pipeline_id: str, name: str) -> Version | None:
    listed = client.list_pipeline_versions(pipeline_id, filter=_named(name))
    for found in listed.pipeline_versions or []:
        spec = found.pipeline_spec or {}
        return Version(
            pipeline_id,
            found.pipeline_version_id,
            found.display_name,
            _inputs(spec),
            _mounts_workspace(spec),
        )
    return None


def _inputs(spec: Mapping[str, Any]) -> frozenset[str]:
    # With a second document, for Kubernetes, the first one lies a level deeper.
    root = spec.get("pipeline_spec", spec).get("root", {})
    return frozenset(root.get("inputDefinitions", {}).get("parameters", {}))


def _mounts_workspace(spec: Mapping[str, Any]) -> bool:
    kubernetes = spec.get("platform_spec", {}).get("platforms", {}).get("kubernetes", {})
    executors = kubernetes.get("deploymentSpec", {}).get("executors", {}).values()
    mounts = [mount for each in executors for mount in each.get("pvcMount", [])]
    return any(mount.get("mountPath") == WORKSPACE for mount in mounts)
