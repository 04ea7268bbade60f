"""What cannot work is named, by the commands, within a minute: nothing hangs."""

import base64
import contextlib
import dataclasses
import os
import queue
import re
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator

import kubernetes
import pytest
import yaml
from kfp_backend import SMALL_RUN, Backend

pytestmark = pytest.mark.e2e
# Other runs may keep the first pod waiting; its trouble is named within a minute.
START_S, SENTENCE_S = 600.0, 60.0


class Followed:
    """`submit` while it follows a run, which is canceled at the end."""

    def __init__(self, backend: Backend, *options: str) -> None:
        self._backend = backend
        self._said: list[str] = []
        self._process = subprocess.Popen(
            backend.command("submit", *SMALL_RUN, *options),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)

    def __enter__(self) -> "Followed":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(30)
        self._process.kill()
        with contextlib.suppress(RuntimeError):
            self._backend.call("cancel", self._backend.run_id("".join(self._said)))

    def line(self, pattern: str, seconds: float) -> str:
        """Returns the next line that matches."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            with contextlib.suppress(queue.Empty):
                line = self._lines.get(timeout=left)
                self._said.append(line)
                if re.search(pattern, line):
                    return line
        raise AssertionError(f"nothing like {pattern!r} in {seconds} s: {''.join(self._said)}")


def places(root: str) -> list[str]:
    return ["--dataset-uri", f"{root}/data", "--output", f"{root}/bad-{uuid.uuid4().hex[:6]}"]


def refused(answer, *words: str) -> None:
    assert answer.returncode == 2
    said = answer.stdout + answer.stderr
    assert "Traceback" not in said
    for word in words:
        assert word in said


@pytest.mark.parametrize("host", ["http://127.0.0.1:9", "http://nowhere.invalid"])
def test_a_wrong_host(backend: Backend, root, host):
    refused(backend.call("submit", *places(root), host=host), host)


def test_an_expired_token(backend: Backend, root, monkeypatch):
    if not backend.client.get_kfp_healthz().multi_user:
        pytest.skip("this server asks for no token: it has one user")
    monkeypatch.setenv("KFP_EXISTING_TOKEN", "expired")
    refused(backend.call("submit", *places(root)), "KFP_EXISTING_TOKEN")


def test_a_namespace_that_is_none_of_the_users(backend: Backend, root):
    if not backend.client.get_kfp_healthz().multi_user:
        pytest.skip("this server has one namespace for all: it has one user")
    other = dataclasses.replace(backend, namespace="missing")
    refused(other.call("submit", *places(root)), "missing")


def test_a_version_that_does_not_exist(backend: Backend, root):
    refused(backend.call("submit", *places(root), "--version", "none"), "Received: 'none'")


def test_a_schedule_file_with_an_unknown_key(backend: Backend, root, tmp_path):
    file = tmp_path / "schedule.yaml"
    uris = {f"{name}_uri": f"{root}/{name}" for name in ("dataset", "output", "champion")}
    content = {"name": "photos", "corn": "0 0 3 * * *", "parameters": uris}
    file.write_text(yaml.safe_dump(content))
    refused(backend.call("schedule", "apply", file), "'corn'. Did you mean cron")


def test_an_image_that_cannot_be_pulled_is_named_within_a_minute(backend: Backend, root):
    registry = "registry.invalid/team"
    options = [*places(root), "--registry", registry]
    with Followed(backend, *options) as followed:
        followed.line("list-sources +started", START_S)
        assert "list-sources" in followed.line(registry, SENTENCE_S)


@pytest.fixture
def wrong_secret(backend: Backend) -> Iterator[str]:
    """A secret with an access key that the store does not know."""
    keys = {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "wrong"}
    for name in ("AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION"):
        if os.environ.get(name):
            keys[name] = os.environ[name]
    name = f"kfp-vision-wrong-{uuid.uuid4().hex[:6]}"
    secret = kubernetes.client.V1Secret(
        metadata=kubernetes.client.V1ObjectMeta(name=name),
        data={key: base64.b64encode(value.encode()).decode() for key, value in keys.items()},
    )
    backend.kubernetes.create_namespaced_secret(backend.namespace, secret)
    yield name
    backend.kubernetes.delete_namespaced_secret(name, backend.namespace)


def test_wrong_credentials_of_the_store_are_named(backend: Backend, root, wrong_secret):
    if not root.startswith("s3://"):
        pytest.skip("the secret holds keys of S3")
    options = [*places(root), *backend.options, "--secret", wrong_secret]
    with Followed(backend, *options) as followed:
        line = followed.line("list-sources +attempt 1 failed", START_S)
        assert "StorageError" in line
        assert root in line
