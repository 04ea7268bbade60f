"""The pods that a Kubeflow Pipelines server 2.17 and Argo 4.0 make of a compiled task.

Read from `compiler/argocompiler` and `driver/k8s.go` of the server and `workflowpod.go` of Argo,
for what admission and scheduling look at: containers, security, resources, nodes, volumes.
Arguments are left out.
"""

import itertools
from collections.abc import Iterator
from typing import Any

from compiled_pipeline import Document, Task

__all__ = ["driver_pod", "executor_pod"]

_HARDENED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
_NON_ROOT = {**_HARDENED, "runAsNonRoot": True}
# `executor` of KFP's workflow-controller-configmap.
_ARGO = {**_NON_ROOT, "runAsUser": 65532}
_POD_SECURITY = {"seccompProfile": {"type": "RuntimeDefault"}}
_SCRATCH = {
    "kfp-launcher": "/kfp-launcher",
    "gcs-scratch": "/gcs",
    "s3-scratch": "/s3",
    "minio-scratch": "/minio",
    "dot-local-scratch": "/.local",
    "dot-cache-scratch": "/.cache",
    "dot-config-scratch": "/.config",
}
_numbers = itertools.count()


def executor_pod(task: Task, namespace: str, account: str = "kfp-vision") -> Document:
    """Returns the pod that runs a task."""
    config = task.kubernetes
    volumes, mounts = zip(*_volumes(config), strict=True)
    launcher = {
        **_container("kfp-launcher", "ghcr.io/kubeflow/kfp-launcher:2.17.0", _NON_ROOT),
        "volumeMounts": [{"name": "kfp-launcher", "mountPath": "/kfp-launcher"}],
        "resources": {
            "requests": {"cpu": "100m"},
            "limits": {"cpu": "500m", "memory": "256Mi"},
        },
    }
    main = {
        **_container("main", task.container["image"], {**_HARDENED, **config["securityContext"]}),
        "volumeMounts": list(mounts),
        "resources": _resources(task.container["resources"]),
        "env": list(_environment(task)),
    }
    pod = _pod(task.stage, namespace, account, main, _POD_SECURITY)
    pod["metadata"]["labels"] |= config.get("podMetadata", {}).get("labels", {})
    spec = pod["spec"]
    spec["initContainers"].append(launcher)
    spec |= {
        "volumes": spec["volumes"] + list(volumes),
        "activeDeadlineSeconds": int(config["activeDeadlineSeconds"]),
        "nodeSelector": config.get("nodeSelector", {}).get("labels", {}),
        "tolerations": config.get("tolerations", []),
        "imagePullSecrets": [
            {"name": each["secretName"]} for each in config.get("imagePullSecret", [])
        ],
    }
    if terms := config.get("nodeAffinity"):
        required = {"nodeSelectorTerms": terms}
        spec["affinity"] = {
            "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}
        }
    return pod


def driver_pod(namespace: str, account: str = "kfp-vision") -> Document:
    """Returns the pod that prepares a task."""
    main = {
        **_container("main", "ghcr.io/kubeflow/kfp-driver:2.17.0", _NON_ROOT),
        "resources": {
            "requests": {"cpu": "100m", "memory": "64Mi"},
            "limits": {"cpu": "500m", "memory": "512Mi"},
        },
    }
    return _pod("driver", namespace, account, main, {**_POD_SECURITY, "runAsNonRoot": True})


def _pod(
    name: str, namespace: str, account: str, main: Document, security: Document
) -> dict[str, Any]:
    """Returns a pod of Argo: its own containers beside the one of the template."""
    image = "quay.io/argoproj/argoexec:v4.0.5"
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{name.replace('_', '-')}-{next(_numbers)}",
            "namespace": namespace,
            "labels": {
                "pipelines.kubeflow.org/v2_component": "true",
                "workflows.argoproj.io/workflow": "run",
            },
        },
        "spec": {
            "serviceAccountName": account,
            "restartPolicy": "Never",
            "securityContext": security,
            "initContainers": [_container("init", image, _ARGO)],
            "containers": [_container("wait", image, _ARGO), main],
            "volumes": [{"name": "var-run-argo", "emptyDir": {}}],
        },
    }


def _container(name: str, image: str, security: Document) -> Document:
    return {"name": name, "image": image, "command": ["/program"], "securityContext": security}


def _resources(resources: Document) -> Document:
    limits = {"memory": resources["resourceMemoryLimit"]}
    if accelerator := resources.get("accelerator"):
        limits[accelerator["resourceType"]] = accelerator["resourceCount"]
    # The compiler writes CPUs as a number.
    requests = {
        "cpu": f"{resources['cpuRequest']:g}",
        "memory": resources["resourceMemoryRequest"],
    }
    return {"requests": requests, "limits": limits}


def _environment(task: Task) -> Iterator[Document]:
    yield from task.container.get("env", [])
    for secret in task.kubernetes.get("secretAsEnv", []):
        for each in secret["keyToEnv"]:
            reference = {
                "name": secret["secretName"],
                "key": each["secretKey"],
                "optional": secret["optional"],
            }
            yield {"name": each["envVar"], "valueFrom": {"secretKeyRef": reference}}


def _volumes(config: Document) -> Iterator[tuple[Document, Document]]:
    """Yields each volume with its mount."""
    for name, path in _SCRATCH.items():
        yield {"name": name, "emptyDir": {}}, {"name": name, "mountPath": path}
    for each in config["emptyDirMounts"]:
        name = each["volumeName"]
        source = {"medium": each.get("medium", ""), "sizeLimit": each["sizeLimit"]}
        yield {"name": name, "emptyDir": source}, {"name": name, "mountPath": each["mountPath"]}
    for each in config.get("secretAsVolume", []):
        name = each["secretName"]
        source = {"secretName": name, "optional": each.get("optional", False)}
        yield {"name": name, "secret": source}, {"name": name, "mountPath": each["mountPath"]}
    for each in config.get("pvcMount", []):
        name = each["pvcNameParameter"]["runtimeValue"]["constant"]
        source = {"claimName": name}
        mount = {"name": name, "mountPath": each["mountPath"]}
        yield {"name": name, "persistentVolumeClaim": source}, mount
