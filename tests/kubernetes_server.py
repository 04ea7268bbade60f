"""A Kubernetes control plane on this machine: etcd, API server, scheduler; no node runs anything.

`make kubernetes` builds the programs; etcd and kubectl come from the system (Debian: etcd-server,
kubernetes-client). All listen on free ports of loopback.
"""

import contextlib
import json
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from kubernetes_programs.build import FOLDER, PROGRAMS
from storage_servers import free_ports

__all__ = ["ControlPlane", "running_control_plane"]

Document = Mapping[str, Any]
_START_S = 90


def _programs() -> dict[str, str]:
    """Returns where each program is; skips the test when one is missing."""
    places = {name: FOLDER / "bin" / name for name in PROGRAMS}
    if missing := [name for name, path in places.items() if not path.exists()]:
        pytest.skip(f"There is no {' and no '.join(missing)} in {FOLDER}/bin: `make kubernetes`.")
    found = {name: str(path) for name, path in places.items()}
    for name, package in (("etcd", "etcd-server"), ("kubectl", "kubernetes-client")):
        path = shutil.which(name)
        if path is None:
            pytest.skip(f"There is no {name} on the PATH (Debian: {package}).")
        found[name] = path
    return found


class ControlPlane:
    """The servers and the `kubectl` that talks to them as an administrator.

    Attributes:
        kubeconfig: File that a client needs.
        context: Its only context.
    """

    context = "test"

    def __init__(self, folder: Path, programs: Mapping[str, str]) -> None:
        self._folder, self._programs = folder, programs
        self._processes: list[subprocess.Popen[bytes]] = []
        self.kubeconfig = folder / "kubeconfig"

    def start(self) -> None:
        """Starts all; returns when the API server is ready."""
        client, peer, port, scheduler = free_ports(4)
        etcd = f"http://127.0.0.1:{client}"
        self._run(
            "etcd",
            *(f"--data-dir={self._folder / 'etcd'}", "--unsafe-no-fsync"),
            *(f"--listen-client-urls={etcd}", f"--advertise-client-urls={etcd}"),
            *(f"--listen-peer-urls=http://127.0.0.1:{peer}",),
            *(f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",),
            f"--initial-cluster=default=http://127.0.0.1:{peer}",
        )
        key, public, tokens = self._credentials(f"https://127.0.0.1:{port}")
        self._run(
            "kube-apiserver",
            *(f"--etcd-servers={etcd}", "--bind-address=127.0.0.1", f"--secure-port={port}"),
            *(f"--cert-dir={self._folder}", f"--token-auth-file={tokens}"),
            *("--authorization-mode=RBAC", "--service-cluster-ip-range=10.0.0.0/24"),
            "--service-account-issuer=https://kubernetes.default.svc",
            *(f"--service-account-key-file={public}", f"--service-account-signing-key-file={key}"),
            # No controller makes the account that a pod needs, nor says that a node is ready.
            "--disable-admission-plugins=ServiceAccount,TaintNodesByCondition",
            # etcd before 3.5 lacks what it asks for.
            "--feature-gates=WatchList=false",
        )
        self._wait_until_ready()
        self._run(
            "kube-scheduler",
            *(f"--kubeconfig={self.kubeconfig}", "--leader-elect=false"),
            *("--bind-address=127.0.0.1", f"--secure-port={scheduler}"),
        )

    def stop(self) -> None:
        """Ends all, the last one first."""
        for process in reversed(self._processes):
            process.kill()
            process.wait()

    def kubectl(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Runs kubectl."""
        return subprocess.run(
            [self._programs["kubectl"], f"--kubeconfig={self.kubeconfig}", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
        )

    def get(self, *arguments: str) -> Any:
        """Returns what kubectl prints as JSON.

        Raises:
            RuntimeError: It fails.
        """
        answer = self.kubectl(*arguments, "--output=json")
        if answer.returncode:
            raise RuntimeError(answer.stderr)
        return json.loads(answer.stdout)

    def create(self, *objects: Document) -> None:
        """Creates objects.

        Raises:
            RuntimeError: The server refuses one.
        """
        items = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        answer = self.kubectl("create", "--filename=-", stdin=json.dumps(items))
        if answer.returncode:
            raise RuntimeError(answer.stderr)

    def _run(self, program: str, *options: str) -> None:
        with (self._folder / f"{program}.log").open("ab") as log:
            command = [self._programs[program], *options]
            self._processes.append(subprocess.Popen(command, stdout=log, stderr=log))

    def _credentials(self, url: str) -> tuple[Path, Path, Path]:
        """Writes keys of service accounts, a token of an administrator and its kubeconfig."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        files = self._folder / "key.pem", self._folder / "public.pem", self._folder / "tokens.csv"
        files[0].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.TraditionalOpenSSL,
                serialization.NoEncryption(),
            )
        )
        files[1].write_bytes(
            key.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )
        token = secrets.token_hex()
        files[2].write_text(f"{token},admin,1,system:masters\n")
        self.kubeconfig.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": self.context,
                    "contexts": [
                        {"name": self.context, "context": {"cluster": "test", "user": "admin"}}
                    ],
                    "users": [{"name": "admin", "user": {"token": token}}],
                    "clusters": [
                        {
                            "name": "test",
                            "cluster": {
                                "server": url,
                                # Made by the server when it starts.
                                "certificate-authority": str(self._folder / "apiserver.crt"),
                            },
                        }
                    ],
                }
            )
        )
        return files

    def _wait_until_ready(self) -> None:
        end = time.monotonic() + _START_S
        while self.kubectl("get", "--raw=/readyz").returncode:
            ended = [each for each in self._processes if each.poll() is not None]
            if ended or time.monotonic() > end:
                logs = sorted(self._folder.glob("*.log"))
                tails = [path.read_text(errors="replace")[-1500:] for path in logs]
                raise RuntimeError("\n".join(["The control plane did not come up.", *tails]))
            time.sleep(0.1)


@contextlib.contextmanager
def running_control_plane(folder: Path) -> Iterator[ControlPlane]:
    """Starts a control plane, and ends it; skips the test where it cannot be started."""
    plane = ControlPlane(folder, _programs())
    try:
        plane.start()
        yield plane
    finally:
        plane.stop()
