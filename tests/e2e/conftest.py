"""What the end-to-end tests share: the server, and small runs on it."""

import dataclasses
import json
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kfp_backend import RUN_S, SMALL_RUN, Backend, NoBackendError, uploaded, write_digits

from kfp_vision.pipelines.cluster.runs import Run


@dataclasses.dataclass(frozen=True)
class Finished:
    """A run that has ended, and what `fetch` has brought of it.

    Attributes:
        run: At its end.
        output: Local folder.
    """

    run: Run
    output: Path

    def report(self) -> dict[str, Any]:
        """Returns `report.json`."""
        return self._read("report.json")

    def artifacts(self) -> dict[str, str]:
        """Returns artifact -> where it lies."""
        return self._read("artifacts.json")

    def _read(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.output / name).read_text())
        return found


@pytest.fixture(scope="session")
def backend() -> Backend:
    try:
        return Backend.from_environment()
    except NoBackendError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty digits of each class."""
    folder = tmp_path_factory.mktemp("data") / "digits"
    write_digits(folder, 60)
    return folder


@pytest.fixture(scope="session")
def root(backend: Backend, digits: Path) -> Iterator[str]:
    """A folder of the bucket with the digits in `data/`."""
    with uploaded(backend, digits, f"e2e-{uuid.uuid4().hex[:8]}") as uri:
        yield uri


@pytest.fixture(scope="session")
def small_run(
    backend: Backend, root: str, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Finished]:
    """Runs the small training on the server with a seed, and fetches its results."""

    def run(seed: int, name: str, watch: Callable[[Run], object] = lambda run: None) -> Finished:
        output = f"{root}/{name}"
        run_id = backend.submit(f"{root}/data", output, *SMALL_RUN, "--seed", seed)
        ended = backend.wait(run_id, RUN_S, watch)
        folder = tmp_path_factory.mktemp(name)
        answer = backend.call("fetch", run_id, "--output", folder)
        status = backend.call("status", run_id).stdout
        assert (ended.state, answer.returncode) == ("SUCCEEDED", 0), status + answer.stderr
        return Finished(ended, folder)

    return run


@pytest.fixture(scope="session")
def on_this_machine(
    backend: Backend, digits: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[int], dict[str, Any]]:
    """Returns `report.json` of the small training by `kfp-vision run`, with a seed."""

    def run(seed: int) -> dict[str, Any]:
        output = tmp_path_factory.mktemp("local") / "out"
        # Its class folders have the names of those in the bucket, and so has the set.
        command = backend.command("run")[:2]
        command += ["--dataset-uri", str(digits), "--output", str(output), *SMALL_RUN]
        subprocess.run([*command, "--seed", str(seed)], check=True, capture_output=True)
        found: dict[str, Any] = json.loads((output / "report.json").read_text())
        return found

    return run


@pytest.fixture(scope="session")
def finished(small_run: Callable[..., Finished]) -> Finished:
    """A run without a fault, with the seed 0."""
    return small_run(0, "plain")
