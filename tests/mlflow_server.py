"""A real MLflow server on this machine, as `mlflow-skinny` and Flask make it."""

import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from storage_servers import free_ports
from waiting import wait_until

__all__ = ["mlflow_server"]


@contextmanager
def mlflow_server(folder: Path, port: int = 0) -> Iterator[str]:
    """Yields its address; runs and files lie in a folder, which another server can go on with."""
    port = port or next(iter(free_ports(1)))
    address = f"http://127.0.0.1:{port}"
    environment = {
        "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{folder / 'runs.sqlite'}",
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(folder / "files"),
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    command = [sys.executable, "-m", "flask", "--app", "mlflow.server:app", "run"]
    with (folder / "server.log").open("ab") as log:
        server = subprocess.Popen(
            [*command, "--port", str(port)],
            env=os.environ | environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            wait_until(lambda: _answers(address), 300)
            yield address
        finally:
            server.terminate()
            server.wait()


def _answers(address: str) -> bool:
    # The first question of a client makes the database.
    question = f"{address}/api/2.0/mlflow/experiments/get-by-name?experiment_name=Default"
    try:
        with urllib.request.urlopen(question, timeout=60) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
