"""What all tests share: the machine, when pytest-xdist runs them in several processes, and buckets.

A bucket is a server on this machine that speaks the real protocol over HTTP.
"""

import json
import os
import socket
import sys
import urllib.request
from collections.abc import Callable

import gcsfs
import pytest
import s3fs
from moto.server import ThreadedMotoServer

# The files of tests that take longest, in processor time: last, they would keep one process busy
# while the others have nothing left to do.
_LONGEST = (
    "test_local_run",
    "test_throughput",
    "test_rejected_run",
    "test_train",
    "test_replicas",
    "test_user_model",
    "test_api",
    "test_prediction",
)
_SLOW_TIMEOUT_S = 7200
_WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_THREADS = max(1, (os.cpu_count() or 1) // _WORKERS)

if _WORKERS > 1:
    # Before TensorFlow is imported, and for the processes that tests start.
    for _name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(_name, str(_THREADS))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Starts with the tests that take longest; the slow ones may take longer before they time out.

    pytest-xdist keeps the tests of a file in one process, so that fixtures are made once.
    """
    places = {name: place for place, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.timeout(_SLOW_TIMEOUT_S))


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


@pytest.fixture
def free_port() -> Callable[[], int]:
    """A port that nobody listens on."""
    return _free_port


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def forget_connections() -> Callable[[], None]:
    return _forget_connections


def _forget_connections() -> None:
    # fsspec keeps one file system an URI scheme, with the endpoint of the test before.
    s3fs.S3FileSystem.clear_instance_cache()
    gcsfs.GCSFileSystem.clear_instance_cache()


@pytest.fixture
def s3(monkeypatch):
    port = _free_port()
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    _forget_connections()
    urllib.request.urlopen(f"http://127.0.0.1:{port}/moto-api/reset", b"").close()
    s3fs.S3FileSystem().mkdir("bucket")
    yield "s3://bucket"
    server.stop()
    _forget_connections()


@pytest.fixture
def gs(monkeypatch):
    emulator = pytest.importorskip("gcp_storage_emulator.server")
    port = _free_port()
    server = emulator.create_server("127.0.0.1", port, in_memory=True)
    server.start()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
    _forget_connections()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/storage/v1/b?project=test",
        json.dumps({"name": "bucket"}).encode(),
        {"Content-Type": "application/json"},
    )
    urllib.request.urlopen(request).close()
    yield "gs://bucket"
    server.stop()
    _forget_connections()


@pytest.fixture(params=["s3", "gs"])
def bucket(request):
    return request.getfixturevalue(request.param)
