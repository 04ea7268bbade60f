"""The objects of a standalone Kubeflow Pipelines server that our manifests change."""

from typing import Any

__all__ = ["NAMESPACE", "resource_definition", "stock_objects"]

NAMESPACE = "kubeflow"
_CONTROLLER = {
    "name": "workflow-controller",
    "image": "quay.io/argoproj/workflow-controller:v4.0.5",
    "env": [{"name": "TRANSIENT_ERROR_PATTERN", "value": "preempt"}],
}
_SERVER = {"image": "ghcr.io/kubeflow/kfp-api-server:2.17.0"}


def resource_definition(kind: str, plural: str) -> dict[str, Any]:
    """Returns the definition of a resource of Argo, without its fields."""
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1alpha1", "served": True, "storage": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.argoproj.io"},
        "spec": {
            "group": "argoproj.io",
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural},
            "versions": [version | {"schema": {"openAPIV3Schema": schema}}],
        },
    }


def stock_objects() -> list[dict[str, Any]]:
    """Returns the namespace, and objects in it with some of the fields that must survive."""

    def named(kind: str, name: str, **fields: Any) -> dict[str, Any]:
        metadata = {"name": name, "namespace": NAMESPACE}
        return {"apiVersion": "v1", "kind": kind, "metadata": metadata, **fields}

    def deployment(name: str, container: dict[str, Any]) -> dict[str, Any]:
        app = {"app": name}
        template = {"metadata": {"labels": app}, "spec": {"containers": [container]}}
        spec = {"selector": {"matchLabels": app}, "template": template}
        return named("Deployment", name, spec=spec) | {"apiVersion": "apps/v1"}

    security = {"enforce": "baseline", "warn": "restricted"}
    labels = {f"pod-security.kubernetes.io/{mode}": level for mode, level in security.items()}
    config = {"executor": "imagePullPolicy: IfNotPresent", "workflowDefaults": "spec: {}"}
    namespace = {"name": NAMESPACE, "labels": labels}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": namespace},
        named("ConfigMap", "kfp-launcher", data={"defaultPipelineRoot": ""}),
        named("ConfigMap", "workflow-controller-configmap", data=config),
        named("ServiceAccount", "ml-pipeline"),
        named("ServiceAccount", "ml-pipeline-ui"),
        deployment("workflow-controller", _CONTROLLER),
        *(deployment(name, _SERVER | {"name": name}) for name in ("ml-pipeline", "ml-pipeline-ui")),
    ]
