"""What all tests share: the machine, when pytest-xdist runs them in several processes, and buckets.

A bucket is one of a server on this machine (`storage_servers.py`).
"""

import gc
import inspect
import os
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import PurePath

import docker
import pytest
from docker.errors import DockerException, ImageNotFound
from storage_servers import KEYS, FakeGcs, SeaweedFs, free_ports, running
from xdist.scheduler import LoadFileScheduling

from kfp_vision.components.shared.runtime.container_images import CPU_IMAGE
from kfp_vision.components.shared.runtime.storage.buckets import open_bucket

# The files of tests that take longest, in processor time: last, they would keep one process busy
# while the others have nothing left to do.
_LONGEST = (
    "test_whole_pipeline",
    "test_local_run",
    "test_throughput",
    "test_rejected_run",
    "test_train",
    "test_replicas",
    "test_user_model",
    "test_api",
    "test_prediction",
)
# The files that look at `finished_run`, which takes minutes; some of their tests run it again.
_OF_FINISHED_RUN = ("test_local_run", "test_task_transfers", "test_api")
_SLOW_TIMEOUT_S = 7200
_WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_THREADS = max(1, (os.cpu_count() or 1) // _WORKERS)

# What is imported stays: going through it for garbage again and again takes a sixth of the time.
gc.disable()

if _WORKERS > 1:
    # Before TensorFlow is imported, and for the processes that tests start.
    for _name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(_name, str(_THREADS))


def _stack_without_source(context: int = 0) -> list[inspect.FrameInfo]:
    """Returns what `inspect.stack` does, without the source of the frames."""
    found, frame = [], inspect.currentframe()
    while frame := frame.f_back if frame else None:
        code = frame.f_code
        found.append(
            inspect.FrameInfo(frame, code.co_filename, frame.f_lineno, code.co_name, None, None)
        )
    return found


# kfp asks for it at every call of a task's method: Python then looks through all modules for the
# source of the frames of pytest-xdist, which has none: four seconds a compiled pipeline.
inspect.stack = _stack_without_source


class _FileScheduling(LoadFileScheduling):
    """Keeps the tests of a file in one process, and those of all files that share a run."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return "finished_run" if PurePath(file).stem in _OF_FINISHED_RUN else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> _FileScheduling:
    """Distributes the tests; `--dist loadfile` alone would make the run once in each process."""
    return _FileScheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Starts with the tests that take longest; the slow ones may take longer before they time out.

    pytest-xdist keeps the tests of a file in one process, so that fixtures are made once.
    """
    places = {name: place for place, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))
    for item in items:
        if "finished_run" in getattr(item, "fixturenames", ()):
            assert item.path.stem in _OF_FINISHED_RUN, f"{item.path} shares a run"
        if item.get_closest_marker("slow") or item.get_closest_marker("e2e"):
            item.add_marker(pytest.mark.timeout(_SLOW_TIMEOUT_S))


def pytest_collection_finish() -> None:
    """Leaves what the imports have made out of all later collections of garbage."""
    gc.freeze()
    gc.set_threshold(10_000)
    gc.enable()


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """New models get the same weights whichever tests ran before in this process."""
    if "keras" in sys.modules:
        sys.modules["keras"].utils.set_random_seed(0)


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A network file for 16 x 16 gray pixels, without a head.

    Tracing the networks of the zoo takes four times the processor time of a short training of it.
    """
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)
    body: list[layers.Layer] = []
    for filters in (32, 64):
        convolution = layers.Conv2D(filters, 3, strides=2, use_bias=False)
        body += [convolution, layers.BatchNormalization(), layers.ReLU()]
    path = tmp_path_factory.mktemp("small_model") / "small.keras"
    keras.Sequential([keras.Input((16, 16, 1)), layers.Rescaling(1 / 255), *body]).save(path)
    return str(path)


@pytest.fixture(scope="session")
def engine() -> "docker.DockerClient":
    """A Docker engine that has the image of this code."""
    try:
        client = docker.from_env()
        client.images.get(CPU_IMAGE)
    except ImageNotFound:
        pytest.skip(f"no image {CPU_IMAGE}: `make images` builds it")
    except DockerException as error:
        pytest.skip(f"no Docker engine: {error}")
    return client


@pytest.fixture
def free_port() -> Callable[[], int]:
    """A port that nobody listens on."""
    return lambda: free_ports(1)[0]


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFs]:
    with running(SeaweedFs(tmp_path_factory.mktemp("seaweedfs"))) as server:
        yield server


@pytest.fixture(scope="session")
def fake_gcs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeGcs]:
    with running(FakeGcs(tmp_path_factory.mktemp("fake_gcs"))) as server:
        yield server


@pytest.fixture
def s3(seaweedfs: SeaweedFs, s3_environment: Callable[..., None]) -> str:
    """A folder of its own in the bucket `bucket`."""
    s3_environment(seaweedfs.url)
    return f"s3://bucket/{uuid.uuid4().hex}"


@pytest.fixture
def s3_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Sets the endpoint and the keys of this process."""

    def set_environment(url: str, keys: dict[str, str] = KEYS) -> None:
        for name, value in {"AWS_ENDPOINT_URL": url, "AWS_REGION": "us-east-1", **keys}.items():
            monkeypatch.setenv(name, value)
        open_bucket.cache_clear()

    yield set_environment
    open_bucket.cache_clear()


@pytest.fixture
def gs(fake_gcs: FakeGcs, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A folder of its own in the bucket `bucket`."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", fake_gcs.url)
    open_bucket.cache_clear()
    yield f"gs://bucket/{uuid.uuid4().hex}"
    open_bucket.cache_clear()


@pytest.fixture(params=["s3", "gs"])
def bucket(request):
    """A folder of its own in a bucket of each kind."""
    return request.getfixturevalue(request.param)
