"""A Kubeflow Pipelines server for tests: the v2beta1 API as version 2.17.0 speaks it.

It keeps pipelines, versions, experiments, recurring runs and runs; what happens to a run is written
into it by the test, as Argo's workflow. A path, method or field that the real server does not have
is refused.

Sources in kubeflow/pipelines 2.17.0: `backend/api/v2beta1/*.proto`, `apiserver/main.go`,
`apiserver/server/{api_converter,pipeline_upload_server,run_log_server}.go`.
"""

import dataclasses
import json
import re
import zlib
from collections.abc import Sequence
from email import message_from_bytes
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml
from http_answers import Answer, Asked

__all__ = ["KfpServer", "driver_of", "pod_of", "stage", "waiting_root"]

WORKFLOW = "kfp-vision-training-abcde"
TIME = "2026-11-27T00:00:00Z"
RUN_FIELDS = {
    *("experiment_id", "display_name", "pipeline_version_reference", "runtime_config"),
    "service_account",
}
RECURRING_FIELDS = RUN_FIELDS | {
    *("description", "trigger", "max_concurrency", "no_catchup", "mode"),
}


_DRIVER, _EXECUTOR = "system-container-driver", "system-container-impl"


def stage(
    name: str, driver: str, executor: str = "", attempts: Sequence[str] = (), **more: Any
) -> list[dict[str, Any]]:
    """Returns the nodes of a task, as Argo names and nests them.

    Args:
        name: Of the task.
        driver: Phase of its driver.
        executor: Phase of its executor, the retries of which it sums up; empty: there is none yet.
        attempts: Phases of the pods of the executor.
        more: `message` of the last pod, `seconds` that it took, `cached`.
    """
    parent = "(0).root(0)."
    outputs = {"cached-decision": "true" if more.get("cached") else "false", "condition": "nil"}
    last_of_driver = more if not attempts else {}
    nodes = [
        _node(f"{parent}{name}-driver", "Retry", driver, _DRIVER),
        _node(f"{parent}{name}-driver(0)", "Pod", driver, _DRIVER, outputs, **last_of_driver),
    ]
    if executor:
        path = f"{parent}{name}(0).executor"
        nodes.append(_node(path, "Retry", executor, f"retry-{_EXECUTOR}"))
        nodes += [
            _node(
                f"{path}({number})",
                "Pod",
                phase,
                f"retry-{_EXECUTOR}",
                **(more if number == len(attempts) - 1 else {"message": "Error (exit code 1)"}),
            )
            for number, phase in enumerate(attempts)
        ]
    return nodes


def waiting_root(message: str) -> list[dict[str, Any]]:
    """Returns the nodes of a run whose first pod, the driver of the whole DAG, waits."""
    return [
        _node(f"(0).root-driver{end}", kind, "Pending", "system-dag-driver", message=message)
        for end, kind in (("", "Retry"), ("(0)", "Pod"))
    ]


def pod_of(name: str, attempt: int = 0) -> str:
    """Returns the name of the pod of an executor."""
    return _pod(f"(0).root(0).{name}(0).executor({attempt})", f"retry-{_EXECUTOR}")


def driver_of(name: str) -> str:
    """Returns the name of the pod of a driver."""
    return _pod(f"(0).root(0).{name}-driver(0)", _DRIVER)


def _pod(path: str, template: str) -> str:
    return f"{WORKFLOW}-{template}-{zlib.crc32(path.encode())}"


def _node(
    path: str,
    kind: str,
    phase: str,
    template: str,
    outputs: dict[str, str] | None = None,
    message: str = "",
    seconds: int = 0,
    cached: bool = False,
) -> dict[str, Any]:
    node: dict[str, Any] = {
        "id": f"{WORKFLOW}-{zlib.crc32(path.encode())}",
        "name": WORKFLOW + path,
        "type": kind,
        "templateName": template,
        "phase": phase,
        "startedAt": TIME,
        "finishedAt": None,
    }
    if phase not in ("Pending", "Running"):
        node["finishedAt"] = f"2026-11-27T00:00:{seconds:02d}Z"
    if message:
        node["message"] = message
    if outputs:
        node["outputs"] = {
            "parameters": [{"name": name, "value": value} for name, value in outputs.items()]
        }
    return node


@dataclasses.dataclass
class KfpServer:
    """A server.

    Attributes:
        requests: Every request, as `METHOD path`.
        refused: Those that a real server would not have taken.
        states: Of the run, one for each time it is read; the last one stays.
        nodes: Of the run's workflow, the same way.
        logs: Pod -> what it has printed.
        pods: Pod -> as Kubernetes keeps it; the UI hands it out.
        objects: `STORE/BUCKET/KEY` -> what the UI hands out of a store.
        recurring: Of the recurring runs.
        deleted: Recurring run -> how its runs were to be dealt with.
        runs: Of recurring runs, the newest first.
        host: Where it listens, for the tests.
        ui: Whether this is the UI's server, in front of the API.
        away: How many requests are answered as by a gateway without a server behind it.
    """

    requests: list[str] = dataclasses.field(default_factory=list)
    refused: list[str] = dataclasses.field(default_factory=list)
    pipelines: dict[str, str] = dataclasses.field(default_factory=dict)
    versions: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    experiments: dict[str, str] = dataclasses.field(default_factory=dict)
    run: dict[str, Any] = dataclasses.field(default_factory=dict)
    states: list[str] = dataclasses.field(default_factory=lambda: ["PENDING"])
    nodes: list[list[dict[str, Any]]] = dataclasses.field(default_factory=lambda: [[]])
    logs: dict[str, str] = dataclasses.field(default_factory=dict)
    pods: dict[str, Any] = dataclasses.field(default_factory=dict)
    objects: dict[str, bytes] = dataclasses.field(default_factory=dict)
    recurring: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    deleted: dict[str, str] = dataclasses.field(default_factory=dict)
    runs: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    host: str = ""
    ui: bool = False
    away: int = 0

    def __call__(self, asked: Asked) -> Answer:
        """Answers a request."""
        url = urlsplit(asked.path)
        self.requests.append(f"{asked.method} {url.path}")
        if self.away:
            self.away -= 1
            return Answer(b"no healthy upstream", 503, "text/plain")
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        for method, pattern, handle in self._routes():
            match = re.fullmatch(pattern, url.path)
            if match and method == asked.method:
                return handle(asked, query, *match.groups())
        if self.ui:
            return Answer(b"<!doctype html><html>Kubeflow Pipelines", content_type="text/html")
        if not url.path.startswith(("/k8s/", "/artifacts/")):  # Of the UI: a client has to try.
            self.refused.append(f"{asked.method} {asked.path}")
        return Answer(b"404 page not found\n", 404, "text/plain")

    def _routes(self) -> list[Any]:
        v2 = "/apis/v2beta1"
        api: list[Any] = [
            ("GET", f"{v2}/healthz", self._healthz),
            ("GET", f"{v2}/experiments", self._list_experiments),
            ("POST", f"{v2}/experiments", self._create_experiment),
            ("GET", f"{v2}/pipelines", self._list_pipelines),
            ("POST", f"{v2}/pipelines", self._create_pipeline),
            ("POST", f"{v2}/pipelines/upload_version", self._upload_version),
            ("GET", f"{v2}/pipelines/([^/]+)/versions", self._list_versions),
            ("GET", f"{v2}/recurringruns", self._list_recurring),
            ("POST", f"{v2}/recurringruns", self._create_recurring),
            ("DELETE", f"{v2}/recurringruns/([^/:]+)", self._delete_recurring),
            ("POST", f"{v2}/runs", self._create_run),
            ("GET", f"{v2}/runs", self._list_runs),
            ("GET", f"{v2}/runs/([^/:]+)", self._get_run),
            ("POST", f"{v2}/runs/([^/:]+):terminate", self._terminate),
            ("GET", "/apis/v1beta1/runs/([^/:]+)", self._get_detail),
        ]
        if self.ui:
            return [
                *api,
                ("GET", "/k8s/pod/logs", self._ui_log),
                ("GET", "/k8s/pod", self._ui_pod),
                ("GET", "/artifacts/(.+)", self._ui_artifact),
            ]
        return [*api, ("GET", "/apis/v1alpha1/runs/([^/]+)/nodes/([^/]+)/log", self._log)]

    def _healthz(self, asked: Asked, query: dict[str, str]) -> Answer:
        return _json({"commit_sha": "c", "tag_name": "2.17.0", "multi_user": False})

    def _list_experiments(self, asked: Asked, query: dict[str, str]) -> Answer:
        return _json(_listed("experiments", self.experiments, "experiment_id", query))

    def _create_experiment(self, asked: Asked, query: dict[str, str]) -> Answer:
        name = json.loads(asked.body)["display_name"]
        self.experiments[name] = f"experiment-{len(self.experiments)}"
        return _json({"experiment_id": self.experiments[name], "display_name": name})

    def _list_pipelines(self, asked: Asked, query: dict[str, str]) -> Answer:
        return _json(_listed("pipelines", self.pipelines, "pipeline_id", query))

    def _create_pipeline(self, asked: Asked, query: dict[str, str]) -> Answer:
        body = json.loads(asked.body)
        if not body.get("name"):
            return _error("name is required", 400)
        self.pipelines[body["display_name"]] = "pipeline-0"
        return _json({"pipeline_id": "pipeline-0", "display_name": body["display_name"]})

    def _upload_version(self, asked: Asked, query: dict[str, str]) -> Answer:
        header = f"Content-Type: {asked.headers['content-type']}\r\n\r\n".encode()
        form = message_from_bytes(header + asked.body)
        [part] = [each for each in form.walk() if not each.is_multipart()]
        package = bytes(part.get_payload(decode=True))
        spec, platform = yaml.load_all(package, yaml.CSafeLoader)
        if query["name"] in self.versions:
            return _json({"error_message": "Failed to create a pipeline version"}, 409)
        self.versions[query["name"]] = {
            "pipeline_id": query["pipelineid"],
            "pipeline_version_id": f"version-{len(self.versions)}",
            "display_name": query["name"],
            "name": query["name"],
            "pipeline_spec": {"pipeline_spec": spec, "platform_spec": platform},
        }
        return _json(self.versions[query["name"]])

    def _list_versions(self, asked: Asked, query: dict[str, str], pipeline: str) -> Answer:
        wanted = _wanted(query)
        found = [each for name, each in self.versions.items() if wanted in (None, name)]
        return _json({"pipeline_versions": found, "total_size": len(found)} if found else {})

    def _list_recurring(self, asked: Asked, query: dict[str, str]) -> Answer:
        wanted = _wanted(query)
        found = [each for each in self.recurring.values() if wanted in (None, each["display_name"])]
        # Pages of one, to see that all are read.
        place = int(query.get("page_token") or 0)
        more = {"next_page_token": str(place + 1)} if place + 1 < len(found) else {}
        return _json({"recurringRuns": found[place : place + 1], **more} if found else {})

    def _create_recurring(self, asked: Asked, query: dict[str, str]) -> Answer:
        body = json.loads(asked.body)
        if error := self._refusal(body, RECURRING_FIELDS):
            return _error(error, 400)
        name = f"recurring-{len(self.recurring) + len(self.deleted)}"
        self.recurring[name] = {
            **body,
            "recurring_run_id": name,
            "created_at": f"2026-11-27T00:00:{len(self.deleted):02d}Z",
            "max_concurrency": str(body["max_concurrency"]),
            "status": f"{body['mode']}D",
            "service_account": body.get("service_account", "pipeline-runner"),
            "namespace": "kubeflow",
        }
        return _json(self.recurring[name])

    def _delete_recurring(self, asked: Asked, query: dict[str, str], name: str) -> Answer:
        if name not in self.recurring:
            return _error(f"RecurringRun {name} not found", 404)
        del self.recurring[name]
        self.deleted[name] = query.get("propagation_policy", "")
        return _json({})

    def _refusal(self, body: dict[str, Any], fields: set[str]) -> str:
        """Returns why a run is not made; empty when it is."""
        if unknown := set(body) - fields:
            return f"unknown field {sorted(unknown)}"
        reference = body["pipeline_version_reference"]["pipeline_version_id"]
        [version] = [
            each for each in self.versions.values() if each["pipeline_version_id"] == reference
        ]
        inputs = version["pipeline_spec"]["pipeline_spec"]["root"]["inputDefinitions"]["parameters"]
        unknown = set(body["runtime_config"]["parameters"]) - set(inputs)
        return f"unknown parameters {sorted(unknown)}" if unknown else ""

    def _create_run(self, asked: Asked, query: dict[str, str]) -> Answer:
        body = json.loads(asked.body)
        if error := self._refusal(body, RUN_FIELDS):
            return _error(error, 400)
        self.run = {**body, "run_id": "run-0", "created_at": TIME, "state": "PENDING"}
        return _json(self.run)

    def _list_runs(self, asked: Asked, query: dict[str, str]) -> Answer:
        wanted = _wanted(query, "recurring_run_id")
        found = [each for each in self.runs if each["recurring_run_id"] == wanted]
        return _json({"runs": found, "total_size": len(found)} if found else {})

    def _get_run(self, asked: Asked, query: dict[str, str], run_id: str) -> Answer:
        if run_id != self.run.get("run_id"):
            return _error(f"Run {run_id} not found", 404)
        state = self.states[0] if len(self.states) == 1 else self.states.pop(0)
        ended = state in ("SUCCEEDED", "FAILED", "CANCELED")
        self.run["state"] = state
        self.run.setdefault("state_history", []).append({"update_time": TIME, "state": state})
        finished = "2026-11-27T00:10:00Z" if ended else "1970-01-01T00:00:00Z"
        return _json({**self.run, "finished_at": finished})

    def _get_detail(self, asked: Asked, query: dict[str, str], run_id: str) -> Answer:
        nodes = self.nodes[0] if len(self.nodes) == 1 else self.nodes.pop(0)
        workflow = {
            "metadata": {"name": WORKFLOW, "namespace": "kubeflow", "annotations": {}},
            "status": {"nodes": {each["id"]: each for each in nodes}},
        }
        manifest = {"workflow_manifest": json.dumps(workflow)} if nodes else {}
        return _json({"run": {"id": run_id}, "pipeline_runtime": manifest})

    def _terminate(self, asked: Asked, query: dict[str, str], run_id: str) -> Answer:
        self.states = ["CANCELING", "FAILED"]
        return _json({})

    def _log(self, asked: Asked, query: dict[str, str], run_id: str, name: str) -> Answer:
        if name in self.logs:
            return Answer(self.logs[name].encode(), content_type="text/plain; charset=utf-8")
        # The status is written before anything goes wrong.
        body = {"error_message": f"Failed to read logs for run {run_id}", "error_details": ""}
        return Answer(json.dumps(body, separators=(",", ":")).encode(), content_type="text/plain")

    def _ui_log(self, asked: Asked, query: dict[str, str]) -> Answer:
        if query["podname"] in self.logs:
            return Answer(self.logs[query["podname"]].encode(), content_type="text/plain")
        return Answer(b"Could not get main container logs", 500, "text/html; charset=utf-8")

    def _ui_pod(self, asked: Asked, query: dict[str, str]) -> Answer:
        if query["podname"] in self.pods:
            found = json.dumps(self.pods[query["podname"]]).encode()
            return Answer(found, content_type="text/html; charset=utf-8")
        return Answer(b"Could not get pod", 500, "text/html; charset=utf-8")

    def _ui_artifact(self, asked: Asked, query: dict[str, str], path: str) -> Answer:
        if path in self.objects:
            return Answer(self.objects[path], content_type="")
        return Answer(b"No objects found", 404, "text/html; charset=utf-8")


def _json(content: Any, status: int = 200) -> Answer:
    return Answer(json.dumps(content).encode(), status)


def _error(message: str, status: int) -> Answer:
    return _json({"error": message, "code": 3, "message": message, "details": []}, status)


def _wanted(query: dict[str, str], key: str = "display_name") -> str | None:
    """Returns the value of the key that a list is filtered by."""
    if not query.get("filter"):
        return None
    [predicate] = json.loads(query["filter"])["predicates"]
    assert predicate["key"] == key
    return str(predicate.get("stringValue") or predicate.get("string_value"))


def _listed(kind: str, known: dict[str, str], key: str, query: dict[str, str]) -> dict[str, Any]:
    wanted = _wanted(query)
    found = [
        {key: each, "display_name": name} for name, each in known.items() if wanted in (None, name)
    ]
    return {kind: found, "total_size": len(found)} if found else {}
