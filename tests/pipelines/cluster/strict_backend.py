"""A strict Kubeflow Pipelines backend for tests: runs a compiled pipeline as version 2.17 would.

kfp's local orchestrator walks the DAG. Every task is a process with an empty disk, a read-only
image and nothing in its environment but the secret; its artifacts are copied from and to a bucket
file by file. Refused is what a backend refuses, and what would come back from it changed.

Sources in kubeflow/pipelines 2.17.0: `backend/src/apiserver/template/v2_template.go` (arguments);
in `backend/src/v2`: `driver/resolve.go` (placeholders), `component/launcher_v2.go` (downloads,
command, outputs), `objectstore/object_store.go` (folders), `metadata/converter.go` (metadata).
"""

import contextlib
import dataclasses
import itertools
import json
import shutil
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import boto3
import yaml
from google.protobuf import json_format
from kfp import components, dsl, local
from kfp.dsl import executor
from kfp.local import config, status, task_dispatcher
from kfp.local.orchestrator import task_executor
from kfp.local.orchestrator.enhanced_dag_orchestrator import ConditionEvaluator
from task_container import run_container
from wire_format import Refused, refuse_constant, returned_value, runtime_artifact, wire

# The kernel's MAX_ARG_STRLEN: the executor's input is one argument.
MAX_ARGUMENT_BYTES = 128 * 1024


class _PreemptedError(Exception):
    """The node of a task is gone."""


@dataclasses.dataclass
class Backend:
    """A backend.

    Attributes:
        disks: Folder for the disks of the tasks; each is removed after its task.
        root_uri: Where artifacts lie, `s3://`; the endpoint is that of this process.
        secret: The Kubernetes secret that profiles name: key -> value.
        preempt: Task -> whether its container is killed at what it has printed, once.
        logs: Task -> what it printed; an attempt has a number of its own.
        pauses_s: Seconds before each retry; they are not waited for.
    """

    disks: Path
    root_uri: str
    secret: Mapping[str, str] = dataclasses.field(default_factory=dict)
    preempt: dict[str, Callable[[str], bool]] = dataclasses.field(default_factory=dict)
    logs: dict[str, str] = dataclasses.field(default_factory=dict)
    pauses_s: list[float] = dataclasses.field(default_factory=list)

    def run(self, package: Path, arguments: Mapping[str, Any]) -> None:
        """Runs a compiled pipeline.

        Raises:
            Refused: By the first task that fails, or an argument is none that there is.
        """
        self._numbers, self._lock = itertools.count(1), threading.Lock()
        self._objects = boto3.client("s3")
        self._refusals: list[Exception] = []
        pipeline, *platforms = yaml.safe_load_all(package.read_text(encoding="utf-8"))
        _check_arguments(pipeline, arguments)
        self._loops = _loop_sources(pipeline)
        self._platform = platforms[0]["platforms"]["kubernetes"] if platforms else {}
        local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(self.disks / "unused"))
        runs = mock.patch.object(task_dispatcher, "run_single_task_implementation", self._task)
        waits = mock.patch.object(
            task_executor, "time", SimpleNamespace(sleep=self.pauses_s.append)
        )
        conditions = mock.patch.object(
            ConditionEvaluator, "_resolve_pipeline_channel", staticmethod(_named_output)
        )
        try:
            with runs, waits, conditions:
                components.load_component_from_file(str(package))(**arguments)
        except RuntimeError:
            if not self._refusals:
                raise
        finally:
            config.LocalExecutionConfig.instance = None
        if self._refusals:
            raise self._refusals[0]

    def _task(
        self,
        component_name: str,
        component_spec: Any,
        executor_spec: Any,
        arguments: Any,
        unique_pipeline_id: str,
        **_: Any,
    ) -> tuple[dict[str, Any], status.Status]:
        """Stands in for the function of kfp that runs a task."""
        with self._lock:
            name = f"{next(self._numbers):02}-{component_name.removeprefix('comp-')}"
        disk = self.disks / name
        try:
            # The driver resolves a placeholder where it is all of a value.
            arguments = {
                key: unique_pipeline_id if each == dsl.PIPELINE_JOB_ID_PLACEHOLDER else each
                for key, each in arguments.items()
            }
            inputs = self._inputs(component_spec, arguments)
            outputs = self._outputs(component_spec, name, disk)
            self._download(inputs, disk)
            self._execute(name, executor_spec.container, {"inputs": inputs, "outputs": outputs})
            produced = self._collect(component_spec, outputs, disk)
        except _PreemptedError:
            # kfp retries as the policy of the task says.
            return {}, status.Status.FAILURE
        except Exception as error:  # noqa: BLE001 - kfp would only say that a task has failed.
            if not isinstance(error, Refused):
                error = Refused(f"{name}: {type(error).__name__}: {error}")
            self._refusals.append(error)
            # Raising ends the task without kfp's own retries.
            raise RuntimeError(str(error)) from error
        finally:
            shutil.rmtree(disk, ignore_errors=True)
        return produced, status.Status.SUCCESS

    def _inputs(self, spec: Any, arguments: Mapping[str, Any]) -> dict[str, Any]:
        defined = spec.input_definitions
        defaults = {
            name: json_format.MessageToDict(each.default_value)
            for name, each in defined.parameters.items()
            if each.HasField("default_value")
        }
        given = {name: value for name, value in arguments.items() if name in defined.parameters}
        artifacts = {
            name: {"artifacts": [runtime_artifact(each) for each in _as_list(arguments[name])]}
            for name in defined.artifacts
        }
        return {
            "parameterValues": {name: wire(each) for name, each in {**defaults, **given}.items()},
            "artifacts": artifacts,
        }

    def _outputs(self, spec: Any, task: str, disk: Path) -> dict[str, Any]:
        root = self.root_uri.replace("s3://", "minio://")
        artifacts = {
            name: {
                "artifacts": [
                    {
                        "name": name,
                        "uri": f"{root}/v2/artifacts/run/{task}/{name}",
                        "type": {"schemaTitle": each.artifact_type.schema_title},
                        "metadata": {},
                    }
                ]
            }
            for name, each in spec.output_definitions.artifacts.items()
        }
        parameters = {
            name: {"outputFile": str(disk / "tmp/kfp/outputs" / name)}
            for name in spec.output_definitions.parameters
        }
        return {
            "artifacts": artifacts,
            "parameters": parameters,
            "outputFile": str(disk / "tmp/kfp_outputs/output_metadata.json"),
        }

    def _download(self, inputs: Mapping[str, Any], disk: Path) -> None:
        """Copies every object of every input artifact, whether the task reads it or not."""
        (disk / "tmp").mkdir(parents=True)
        for artifact in _artifacts(inputs):
            bucket, prefix = artifact["uri"].removeprefix("minio://").split("/", 1)
            pages = self._objects.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=bucket, Prefix=prefix):
                for key in (each["Key"] for each in page.get("Contents", [])):
                    if key == prefix or key.startswith(prefix + "/"):
                        path = disk / "minio" / bucket / key
                        path.parent.mkdir(parents=True, exist_ok=True)
                        self._objects.download_file(bucket, key, str(path))

    def _execute(self, task: str, container: Any, executor_input: Mapping[str, Any]) -> None:
        disk, text = self.disks / task, json.dumps(executor_input, allow_nan=False)
        for artifact in _artifacts(executor_input["outputs"]):
            _local(artifact, disk).parent.mkdir(parents=True, exist_ok=True)
        command = [each.replace("{{$}}", text) for each in [*container.command, *container.args]]
        for argument in command:
            if len(argument.encode()) >= MAX_ARGUMENT_BYTES:
                raise Refused(
                    f"{task}: an argument must be below {MAX_ARGUMENT_BYTES} bytes. "
                    f"Received: {len(argument.encode())}"
                )
        name = task.split("-", 1)[1]
        kill_at = self.preempt.get(name, lambda log: False)
        ending, self.logs[task] = run_container(command, disk, self._secret_of(name), kill_at)
        if ending == "killed":
            del self.preempt[name]
            raise _PreemptedError
        if ending != 0:
            raise Refused(f"{task}: exit code {ending}\n{self.logs[task][-3000:]}")

    def _secret_of(self, name: str) -> dict[str, str]:
        """Returns the environment variables that the platform document gives a task."""
        executors = self._platform.get("deploymentSpec", {}).get("executors", {})
        secrets = executors.get(f"exec-{name}", {}).get("secretAsEnv", [])
        pairs = {pair["envVar"]: pair["secretKey"] for each in secrets for pair in each["keyToEnv"]}
        return {name: self.secret[key] for name, key in pairs.items() if key in self.secret}

    def _collect(self, spec: Any, outputs: Mapping[str, Any], disk: Path) -> dict[str, Any]:
        """Returns what the orchestrator hands on: parameters, and artifacts as they come back."""
        written = {}
        path = Path(outputs["outputFile"])
        if path.exists():
            written = json.loads(path.read_text(), parse_constant=refuse_constant)
        produced = dict(written.get("parameterValues", {}))
        for name in spec.output_definitions.parameters:
            if name not in produced:
                raise Refused(f"The output {name!r} must be written. Received: {path} without it.")
            if (disk.name.split("-", 1)[1], name) in self._loops and not produced[name]:
                raise Refused(f"A loop must not be empty. Received: {name} = [] of {disk.name}")
        for name, output in outputs["artifacts"].items():
            (artifact,) = output["artifacts"]
            (said,) = written["artifacts"][name]["artifacts"]
            self._upload(_local(artifact, disk), *artifact["uri"].split("/", 3)[2:])
            kind = artifact["type"]["schemaTitle"]
            returned = {
                key: returned_value(key, each, kind) for key, each in said["metadata"].items()
            }
            extra = {"display_name": name, "store_session_info": "{}"}
            produced[name] = executor.create_artifact_instance(
                {**artifact, "name": str(next(self._numbers)), "metadata": {**returned, **extra}}
            )
        return produced

    def _upload(self, path: Path, bucket: str, key: str) -> None:
        """Copies a file, or the files below a folder: a bucket has no folders."""
        if path.is_dir():
            for each in sorted(path.iterdir()):
                if each.is_symlink() and each.is_dir():
                    raise Refused(f"An artifact must not link to folders. Received: {each}")
                self._upload(each, bucket, f"{key}/{each.name}")
        elif path.exists():
            self._objects.upload_file(str(path), bucket, key)


def _check_arguments(pipeline: Mapping[str, Any], arguments: Mapping[str, Any]) -> None:
    """Checks the arguments of a run as the API server does, before anything starts."""
    inputs = pipeline["root"].get("inputDefinitions", {}).get("parameters", {})
    if unknown := set(arguments) - set(inputs):
        raise Refused(f"parameter(s) provided are not required by pipeline: {sorted(unknown)}")
    for name, value in arguments.items():
        allowed = inputs[name].get("literals", [value])
        if value not in allowed:
            raise Refused(f"{name} {value!r} does not match any of the allowed values: {allowed}")


def _loop_sources(pipeline: Mapping[str, Any]) -> set[tuple[str, str]]:
    """Returns task and output of the lists that loops run over."""
    dags = [pipeline["root"], *pipeline.get("components", {}).values()]
    tasks = [task for each in dags for task in each.get("dag", {}).get("tasks", {}).values()]
    sources = set()
    for task in tasks:
        items = task.get("parameterIterator", {}).get("items", {}).get("inputParameter", "")
        given = task.get("inputs", {}).get("parameters", {}).get(items, {})
        if "taskOutputParameter" in given:
            output = given["taskOutputParameter"]
            sources.add((output["producerTask"], output["outputParameterKey"]))
    return sources


def _named_output(channel: str, io_store: Any) -> Any:
    """Returns what a condition reads, as the server does: of kfp.local only an unnamed output."""
    words = channel.removeprefix("pipelinechannel--").split("-")
    for place in range(1, len(words)):
        with contextlib.suppress(ValueError):
            return io_store.get_task_output("-".join(words[:place]), "-".join(words[place:]))
    return io_store.get_parent_input(channel)


def _artifacts(side: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [each for held in side["artifacts"].values() for each in held["artifacts"]]


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _local(artifact: Mapping[str, Any], disk: Path) -> Path:
    return disk / "minio" / artifact["uri"].removeprefix("minio://")
