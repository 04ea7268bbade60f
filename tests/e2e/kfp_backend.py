"""A running Kubeflow Pipelines server, as the environment describes it, and runs on it.

What is read: KFP_HOST, KFP_BUCKET (a bucket that pods and this machine reach) and the credentials
for it (`AWS_*`, `GOOGLE_*`); and, where they differ from the defaults, KFP_NAMESPACE (kubeflow),
KFP_CONTEXT (of the kube configuration: the current one), KFP_PROFILE (local), KFP_REGISTRY and
KFP_SECRET, which `kfp-vision submit` takes.
"""

import contextlib
import dataclasses
import functools
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import kfp
import kubernetes
from PIL import Image
from sklearn.datasets import load_digits

from kfp_vision.components.shared.runtime.storage import open_folder, remove, upload
from kfp_vision.pipelines.cluster.connection import BackendError, connect
from kfp_vision.pipelines.cluster.runs import Run, read_run

__all__ = [
    *("COMMAND", "RUN_S", "SMALL_RUN"),
    *("Backend", "Measured", "NoBackendError"),
    *("metrics", "uploaded", "write_digits"),
]

COMMAND = str(Path(sys.executable).with_name("kfp-vision"))
_POLL_S = 1.0
# A run of a few minutes, on a machine that does other things too.
RUN_S = 3600
# Trains for a minute or two and takes nothing from the clock: equal wherever it runs.
SMALL_RUN = (
    *("--architecture", "separable", "--epochs", "500", "--preset", "best"),
    *("--no-learn-batch-size", "--no-search-augmentation"),
)


class NoBackendError(RuntimeError):
    """The environment describes no server."""


@dataclasses.dataclass(frozen=True)
class Measured:
    """What a run has taken.

    Attributes:
        seconds: From its creation to its end.
        busy_s: In which a container of a stage ran.
        pods: Of drivers and stages.
    """

    seconds: float
    busy_s: float
    pods: int

    @property
    def orchestration_share(self) -> float:
        """Part of the seconds in which no stage ran: scheduling, drivers, starts of pods."""
        return 1 - self.busy_s / self.seconds


@dataclasses.dataclass(frozen=True)
class Backend:
    """A server, and the cluster below it."""

    host: str
    bucket: str
    namespace: str
    context: str | None
    options: tuple[str, ...]

    @classmethod
    def from_environment(cls) -> "Backend":
        """Returns the server.

        Raises:
            NoBackendError: A variable is missing.
        """
        given = {name: os.environ.get(name, "") for name in ("KFP_HOST", "KFP_BUCKET")}
        if missing := [name for name, value in given.items() if not value]:
            raise NoBackendError(f"needs a Kubeflow Pipelines server: set {' and '.join(missing)}")
        options = ["--profile", os.environ.get("KFP_PROFILE", "local")]
        for option in ("registry", "secret"):
            if value := os.environ.get(f"KFP_{option.upper()}"):
                options += [f"--{option}", value]
        return cls(
            given["KFP_HOST"],
            given["KFP_BUCKET"].rstrip("/"),
            os.environ.get("KFP_NAMESPACE", "kubeflow"),
            os.environ.get("KFP_CONTEXT"),
            tuple(options),
        )

    @functools.cached_property
    def client(self) -> kfp.Client:
        """Of the server."""
        return connect(self.host, self.namespace)

    @functools.cached_property
    def kubernetes(self) -> Any:
        """The core API of the cluster."""
        api = kubernetes.config.new_client_from_config(context=self.context)
        return kubernetes.client.CoreV1Api(api)

    def command(self, name: str, *arguments: object, **changes: Any) -> list[str]:
        """Returns a command line of kfp-vision for this server.

        Args:
            name: Of the command.
            arguments: Of the command.
            changes: `host`, where it is another one.
        """
        host = changes.get("host", self.host)
        server = ("--host", host, "--namespace", self.namespace)
        return [COMMAND, name, *map(str, arguments), *server]

    def call(self, name: str, *arguments: object, **changes: Any) -> "Answer":
        """Runs a command of kfp-vision until its end."""
        return subprocess.run(
            self.command(name, *arguments, **changes), capture_output=True, text=True, timeout=600
        )

    def submit(self, dataset: str, output: str, *options: object) -> str:
        """Starts a run and returns its ID."""
        places = ("--dataset-uri", dataset, "--output", output)
        answer = self.call("submit", *places, *self.options, *options, "--no-follow")
        if answer.returncode:
            raise RuntimeError(answer.stdout + answer.stderr)
        return self.run_id(answer.stdout)

    def run_id(self, said: str) -> str:
        """Returns the ID of the run that `submit` has printed."""
        found = re.search(r"#/runs/details/([\w-]+)", said)
        if found is None:
            raise RuntimeError(f"`submit` must print the run. Received: {said}")
        return found[1]

    def wait(
        self, run_id: str, seconds: float, watch: Callable[[Run], object] = lambda run: None
    ) -> Run:
        """Returns a run at its end.

        Args:
            run_id: Of the run.
            seconds: After which it is too late.
            watch: Called about once a second with the state of the run.

        Raises:
            TimeoutError: The run goes on; it is ended.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            # The server may be away for some time: tests restart it.
            with contextlib.suppress(BackendError):
                run = read_run(self.client, run_id)
                if run.ended:
                    return run
                watch(run)
            time.sleep(_POLL_S)
        self.client.terminate_run(run_id)
        raise TimeoutError(f"A run must end in {seconds:.0f} s. Received: {run_id}, which goes on")

    def log(self, pod: str) -> list[str]:
        """Returns what the task in a pod has printed; nothing when the pod has gone."""
        with contextlib.suppress(kubernetes.client.ApiException):
            text = self.kubernetes.read_namespaced_pod_log(pod, self.namespace, container="main")
            return str(text).splitlines()
        return []

    def measure(self, run: Run) -> Measured:
        """Returns what a finished run has taken."""
        selector = f"workflows.argoproj.io/workflow={run.workflow.name}"
        listed = self.kubernetes.list_namespaced_pod(self.namespace, label_selector=selector)
        stages = {attempt.pod for stage in run.workflow.stages for attempt in stage.attempts}
        spans = sorted(
            (ended.started_at.timestamp(), ended.finished_at.timestamp())
            for pod in listed.items
            if pod.metadata.name in stages
            for container in pod.status.container_statuses or []
            if container.name == "main" and (ended := container.state.terminated)
        )
        busy, until = 0.0, 0.0
        for started, finished in spans:
            busy += max(0.0, finished - max(started, until))
            until = max(until, finished)
        return Measured(run.seconds, busy, len(listed.items))


Answer = subprocess.CompletedProcess[str]


def write_digits(folder: Path, images: int, first: int = 0) -> None:
    """Writes so many digits of each class of scikit-learn as PNG files, 16 x 16 pixels.

    Args:
        folder: With a folder of each class.
        images: Of each class.
        first: Those before it are left out.
    """
    digits = load_digits()
    for label in range(10):
        (folder / f"digit {label}").mkdir(parents=True)
        found = digits.images[digits.target == label][first : first + images]
        for index, pixels in enumerate(found, first):
            image = Image.fromarray((pixels * 255 / 16).astype("uint8"))
            image = image.resize((16, 16), Image.Resampling.NEAREST)
            image.save(folder / f"digit {label}" / f"{index}.png")


@contextlib.contextmanager
def uploaded(backend: Backend, folder: Path, name: str) -> Iterator[str]:
    """Yields a folder of the bucket that has the files in `data/`; it is removed at the end."""
    root = f"{backend.bucket}/{name}"
    upload(folder, f"{root}/data")
    try:
        yield root
    finally:
        for path in open_folder(root)[0].list_files():
            remove(f"{root}/{path}")


def metrics(report: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns what a report says of the test images."""
    found: Mapping[str, Any] = report["metrics"]["test"]
    return found
