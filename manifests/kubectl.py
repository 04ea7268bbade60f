"""`kubectl` for one cluster and the namespace of Kubeflow Pipelines."""

import contextlib
import json
import re
import subprocess
import threading
from collections import deque
from collections.abc import Iterator
from typing import Any

__all__ = ["NAMESPACE", "ClusterError", "Kubectl"]

NAMESPACE = "kubeflow"
_SCOPE = ("--namespace", NAMESPACE, "--output=json")


class ClusterError(RuntimeError):
    """What a person has to mend; the message says what, and how."""


class Kubectl:
    """Runs `kubectl` in a context.

    Attributes:
        context: Of the kubeconfig; empty: the current one.
    """

    def __init__(self, context: str = "") -> None:
        self.context = context
        self._command = ["kubectl", *([f"--context={context}"] if context else [])]

    def run(self, *arguments: str, stdin: str = "") -> str:
        """Returns what a command prints.

        Raises:
            ClusterError: It fails; the message holds what it says.
        """
        answer = subprocess.run(
            [*self._command, *arguments], input=stdin, capture_output=True, text=True
        )
        if answer.returncode:
            raise ClusterError(f"`kubectl {' '.join(arguments[:3])}`: {answer.stderr.strip()}")
        return answer.stdout

    def get(self, kind: str, name: str) -> Any:
        """Returns an object of the namespace; None where there is no such."""
        answer = self.run("get", kind, name, *_SCOPE, "--ignore-not-found")
        return json.loads(answer) if answer.strip() else None

    def all(self, kind: str) -> list[Any]:
        """Returns all objects of a kind in the namespace."""
        return list(json.loads(self.run("get", kind, *_SCOPE))["items"])

    def check(self) -> None:
        """Asks the cluster whether it is there.

        Raises:
            ClusterError: It does not answer within seconds.
        """
        try:
            self.run("get", "--raw=/readyz", "--request-timeout=10s")
        except ClusterError as error:
            where = self.context or "the current one"
            raise ClusterError(
                f"The cluster of the context must answer. Received: {where}, {error}. "
                "`kubectl config get-contexts` lists them."
            ) from error

    @contextlib.contextmanager
    def forward(self, service: str, port: int) -> Iterator[str]:
        """Makes a port of a service one of this machine; yields its URL.

        Raises:
            ClusterError: There is no such service, or no pod behind it.
        """
        target = [f"service/{service}", f":{port}", f"--namespace={NAMESPACE}"]
        process = subprocess.Popen(
            [*self._command, "port-forward", *target],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            assert process.stdout is not None
            first = process.stdout.readline()
            found = re.search(r"127\.0\.0\.1:(\d+)", first)
            if found is None:
                raise ClusterError(f"The port of {service} cannot be forwarded: {first.strip()}")
            # It prints a line for each connection, and stops when nobody reads them.
            reader = threading.Thread(target=deque, args=(process.stdout, 0), daemon=True)
            reader.start()
            yield f"http://127.0.0.1:{found[1]}"
        finally:
            process.terminate()
            process.wait()
