"""The objects of a standalone Kubeflow Pipelines server that our manifests change."""

from typing import Any

__all__ = ["NAMESPACE", "stock_objects"]

NAMESPACE = "kubeflow"
_CONTROLLER = {
    "name": "workflow-controller",
    "image": "quay.io/argoproj/workflow-controller:v4.0.5",
    "env": [{"name": "TRANSIENT_ERROR_PATTERN", "value": "preempt"}],
}


def stock_objects() -> list[dict[str, Any]]:
    """Returns the namespace, and objects in it with some of the fields that must survive."""

    def named(kind: str, name: str, **fields: Any) -> dict[str, Any]:
        metadata = {"name": name, "namespace": NAMESPACE}
        return {"apiVersion": "v1", "kind": kind, "metadata": metadata, **fields}

    security = {"enforce": "baseline", "warn": "restricted"}
    labels = {f"pod-security.kubernetes.io/{mode}": level for mode, level in security.items()}
    config = {"executor": "imagePullPolicy: IfNotPresent", "workflowDefaults": "spec: {}"}
    app = {"app": "workflow-controller"}
    template = {"metadata": {"labels": app}, "spec": {"containers": [_CONTROLLER]}}
    deployment = named(
        "Deployment",
        "workflow-controller",
        spec={"selector": {"matchLabels": app}, "template": template},
    )
    namespace = {"name": NAMESPACE, "labels": labels}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": namespace},
        named("ConfigMap", "kfp-launcher", data={"defaultPipelineRoot": ""}),
        named("ConfigMap", "workflow-controller-configmap", data=config),
        named("ServiceAccount", "ml-pipeline"),
        named("ServiceAccount", "ml-pipeline-ui"),
        {**deployment, "apiVersion": "apps/v1"},
    ]
