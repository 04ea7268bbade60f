"""Kubeflow Pipelines in a cluster, our manifests on top of it, and waiting until all is ready."""

import base64
import json
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from kfp_vision.pipelines.cluster.placement import PART_LABEL
from manifests.kubectl import NAMESPACE, ClusterError, Kubectl

__all__ = [
    "KFP_VERSION",
    "SECRET",
    "apply_overlay",
    "install_kfp",
    "read_overlay",
    "storage_secret",
    "wait_until_ready",
]

# The server of the version that pyproject.toml pins of its SDK.
KFP_VERSION = "2.17.0"
_SOURCE = "github.com/kubeflow/pipelines/manifests/kustomize"
# The object store of the server, as its pods and ours see it.
_STORE = "http://seaweedfs.kubeflow:9000"
SECRET = "kfp-vision-storage"
_STOCK_SECRET = "mlpipeline-minio-artifact"
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
# The object with the server's version.
_SETTINGS = "pipeline-install-config"
_CRD_S, _READY_S, _INTERVAL_S = 120, 900, 2


def install_kfp(kubectl: Kubectl) -> bool:
    """Installs the server unless it is there; returns whether it did.

    Raises:
        ClusterError: There is one of another version, or the installation fails.
    """
    found = kubectl.get("configmap", _SETTINGS)
    if found is not None:
        version = found["data"].get("appVersion", "unknown")
        if version != KFP_VERSION:
            raise ClusterError(
                f"Kubeflow Pipelines must be {KFP_VERSION}. Received: {version}, in namespace "
                f"{NAMESPACE}. Upgrade it, or choose another cluster with CONTEXT=..."
            )
        return False
    apply = ("apply", "--server-side", "--filename=-")
    settings: list[str] = []
    for part in ("cluster-scoped-resources", "env/platform-agnostic"):
        text = kubectl.run("kustomize", f"{_SOURCE}/{part}?ref={KFP_VERSION}")
        others: list[str] = []
        for document in text.split("\n---\n"):
            is_settings = re.search(rf"^  name: {_SETTINGS}$", document, re.MULTILINE)
            (settings if is_settings else others).append(document)
        kubectl.run(*apply, stdin="\n---\n".join(others))
        kubectl.run("wait", "--for=condition=Established", "crd", "--all", f"--timeout={_CRD_S}s")
    # Last: with it the installation is complete, without it the next call repeats all.
    kubectl.run(*apply, stdin="\n---\n".join(settings))
    return True


def read_overlay(kubectl: Kubectl, name: str) -> list[Any]:
    """Returns the objects of an overlay.

    Raises:
        ClusterError: There is no such overlay, or its settings are not filled in.
    """
    text = kubectl.run("kustomize", str(_overlay(name)))
    if unset := sorted(set(re.findall(r"YOUR-\w+", text))):
        raise ClusterError(
            f"The values of manifests/overlays/{name}/settings.yaml must be yours. Received: "
            f"{', '.join(unset)}. Fill them in."
        )
    return list(yaml.safe_load_all(text))


def apply_overlay(kubectl: Kubectl, name: str) -> list[str]:
    """Applies an overlay on top of the server; returns the objects that this one does not have.

    Fields of KFP's own objects are merged into them. Where those were made by a plain `kubectl
    apply`, its annotation goes first: otherwise kubectl would take all fields for ours, and remove
    those that our files do not name.

    Raises:
        ClusterError: There is no such overlay or no server, or the cluster refuses it.
    """
    objects = read_overlay(kubectl, name)
    if kubectl.get("namespace", NAMESPACE) is None:
        raise ClusterError(
            f"The cluster must have Kubeflow Pipelines. Received: no namespace {NAMESPACE}. `make "
            f"run-local CONTEXT=... OVERLAY={name}` installs it."
        )
    missing = []
    for each in objects.copy():
        kind, label = each["kind"], f"{each['kind']}/{each['metadata']['name']}"
        if PART_LABEL.items() <= each["metadata"].get("labels", {}).items():
            continue
        if kubectl.get(kind, each["metadata"]["name"]) is None:
            objects.remove(each)
            missing.append(label)
        else:
            kubectl.run("annotate", "-n", NAMESPACE, label, f"{_LAST_APPLIED}-")
    flags = ("--server-side", "--force-conflicts", "--field-manager=kfp-vision")
    kubectl.run("apply", *flags, "--filename=-", stdin=yaml.safe_dump_all(objects))
    return missing


def storage_secret(kubectl: Kubectl) -> dict[str, str]:
    """Returns the keys of our secret; where there is none it gets those of the server's store.

    Raises:
        ClusterError: There is neither secret.
    """
    found = kubectl.get("secret", SECRET)
    if found is not None:
        return _decoded(found)
    stock = kubectl.get("secret", _STOCK_SECRET)
    if stock is None:
        raise ClusterError(
            f"The namespace {NAMESPACE} must have the secret {SECRET}, or {_STOCK_SECRET} of the "
            "server's own store. Received: neither. manifests/storage-secret.yaml is a template."
        )
    keys = _decoded(stock)
    values = {
        "AWS_ACCESS_KEY_ID": keys["accesskey"],
        "AWS_SECRET_ACCESS_KEY": keys["secretkey"],
        "AWS_ENDPOINT_URL": _STORE,
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": SECRET, "namespace": NAMESPACE, "labels": PART_LABEL},
        "stringData": values,
    }
    kubectl.run("create", "--filename=-", stdin=json.dumps(secret))
    return values


def wait_until_ready(kubectl: Kubectl, seconds: float = _READY_S) -> None:
    """Returns when every deployment of the namespace is available.

    Raises:
        ClusterError: Time is over; the message names each pod that is not ready, and why.
    """
    waiting: list[str] = []
    for _ in _intervals(seconds):
        deployments = kubectl.all("deployments")
        waiting = [each["metadata"]["name"] for each in deployments if not _available(each)]
        if not waiting:
            return
    pods = "\n".join(f"  {line}" for line in _unready(kubectl)) or "  (it has no pods)"
    raise ClusterError(
        f"Kubeflow Pipelines must be ready within {seconds:.0f} s. Received: {', '.join(waiting)} "
        f"not available.\n{pods}\n`kubectl describe pods -n {NAMESPACE}` says more; the same "
        "command continues."
    )


def _available(deployment: Mapping[str, Any]) -> bool:
    wanted = deployment["spec"].get("replicas", 1)
    status = deployment.get("status", {})
    newest = status.get("observedGeneration") == deployment["metadata"]["generation"]
    ready = min(status.get("availableReplicas", 0), status.get("updatedReplicas", 0))
    return newest and bool(ready >= wanted)


def _unready(kubectl: Kubectl) -> Iterator[str]:
    for pod in kubectl.all("pods"):
        status = pod.get("status", {})
        conditions = {each["type"]: each for each in status.get("conditions", [])}
        if (
            status.get("phase") == "Succeeded"
            or conditions.get("Ready", {}).get("status") == "True"
        ):
            continue
        containers = (
            *status.get("initContainerStatuses", []),
            *status.get("containerStatuses", []),
        )
        reasons = [
            f"{waiting.get('reason')}: {waiting.get('message', '')}".removesuffix(": ")
            for each in containers
            if (waiting := each.get("state", {}).get("waiting"))
        ]
        placed = conditions.get("PodScheduled", {})
        if placed.get("status") == "False":
            reasons.append(f"{placed.get('reason')}: {placed.get('message')}")
        yield f"{pod['metadata']['name']}: {'; '.join(reasons) or status.get('phase')}"


def _decoded(secret: Mapping[str, Any]) -> dict[str, str]:
    return {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}


def _intervals(seconds: float) -> Iterator[None]:
    """Yields at intervals until the time is over."""
    end = time.monotonic() + seconds
    yield
    while time.monotonic() < end:
        time.sleep(_INTERVAL_S)
        yield


def _overlay(name: str) -> Path:
    """Returns the folder of an overlay.

    Raises:
        ClusterError: There is none of this name.
    """
    folder = Path(__file__).parent / "overlays"
    names = sorted(path.name for path in folder.iterdir())
    if name not in names:
        raise ClusterError(
            f"An overlay must be one of {', '.join(names)}. Received: {name!r}. "
            "Choose one with OVERLAY=..."
        )
    return folder / name
