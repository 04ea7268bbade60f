"""What the pods of a run say: their logs, and why one cannot start.

The API server hands out the log of a pod, its UI too, below another path; why a pod waits is known
to Argo, in the workflow, and in more detail to Kubernetes, which is asked through the UI. Where
neither answers, the current kube context of this machine is asked.

Sources in kubeflow/pipelines 2.17.0: `apiserver/main.go` and `run_log_server.go`;
`frontend/server/handlers/pod-logs.ts` and `pod-info.ts`.
"""

import contextlib
import json
from collections.abc import Mapping
from typing import Any

import kfp
from urllib3.exceptions import HTTPError

from kfp_vision.pipelines.cluster.connection import BackendError, get
from kfp_vision.pipelines.cluster.kube_context import ask_context

__all__ = ["Pods", "is_hopeless"]

_KUBE_TIMEOUT_S = (3.0, 5.0)
# What every pod waits for at first.
_STARTING = ("", "PodInitializing", "ContainerCreating")
# Kubernetes tries these again for ever; time alone does not mend them.
_HOPELESS = (
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "CreateContainerConfigError",
    "CreateContainerError",
)
# The API sends an error with the status of success, the UI its page for what it does not know, and
# a gateway its login page.
_NO_LOG = ('{"error_message":', "<!doctype html", "<html")


def is_hopeless(reason: str) -> bool:
    """Returns whether a pod that waits for this needs a person, not time."""
    return reason.startswith(_HOPELESS)


class Pods:
    """The pods of one run."""

    def __init__(self, client: kfp.Client, run_id: str, namespace: str) -> None:
        self._client, self._run_id, self._namespace = client, run_id, namespace

    def log(self, pod: str) -> list[str]:
        """Returns the lines that its task has printed so far; none when they are not to be had."""
        for path, query in (
            (f"/apis/v1alpha1/runs/{self._run_id}/nodes/{pod}/log", {}),
            ("/k8s/pod/logs", {"runid": self._run_id, **self._query(pod)}),
        ):
            # The connection may break while the body is read.
            with contextlib.suppress(BackendError, HTTPError):
                answer = get(self._client, path, **query)
                text = answer.data.decode(errors="replace")
                if not text.lstrip().lower().startswith(_NO_LOG):
                    return text.splitlines()
        text = ask_context(
            lambda api: api.read_namespaced_pod_log(
                pod, self._namespace, container="main", _request_timeout=_KUBE_TIMEOUT_S
            )
        )
        return (text or "").splitlines()

    def why_waiting(self, pod: str, message: str) -> str:
        """Returns why a pod cannot start, as `REASON: message`; empty when it may be starting.

        Args:
            pod: Its name.
            message: What Argo says.
        """
        if message.partition(":")[0] not in _STARTING:
            return message
        return _reason(self._pod(pod))

    def _pod(self, pod: str) -> Mapping[str, Any]:
        """Returns the pod as Kubernetes keeps it; empty when nobody tells."""
        with contextlib.suppress(BackendError, HTTPError, ValueError):
            found: Any = json.loads(get(self._client, "/k8s/pod", **self._query(pod)).data)
            return dict(found)
        found = ask_context(
            lambda api: api.api_client.sanitize_for_serialization(
                api.read_namespaced_pod(pod, self._namespace, _request_timeout=_KUBE_TIMEOUT_S)
            )
        )
        return found or {}

    def _query(self, pod: str) -> dict[str, str]:
        return {"podname": pod, "podnamespace": self._namespace}


def _reason(pod: Mapping[str, Any]) -> str:
    status = pod.get("status", {})
    for kind in ("initContainerStatuses", "containerStatuses"):
        for container in status.get(kind) or []:
            waiting = container.get("state", {}).get("waiting") or {}
            if waiting.get("reason", "") not in _STARTING:
                return f"{waiting['reason']}: {waiting.get('message', '')}".removesuffix(": ")
    for condition in status.get("conditions") or []:
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return f"{condition.get('reason', '')}: {condition.get('message', '')}"
    return ""
