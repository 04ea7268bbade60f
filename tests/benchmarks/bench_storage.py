"""Rates against the vendors' own clients, and what becomes of files when requests break.

The stores are SeaweedFS (S3) and fake-gcs-server on this machine: rates are those of clients that
share its cores with the store, without the latency of a network. Rivals: boto3's transfer manager
and google-cloud-storage's (which uploads in one stream: the store has no multipart uploads); for
small files, the same clients with one request at a time.
"""

import contextlib
import json
import os
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from google.auth.credentials import AnonymousCredentials
from google.cloud.storage import Client, transfer_manager

from kfp_vision.components.shared.runtime.storage import StorageError, download, open_folder, upload
from kfp_vision.components.shared.runtime.storage.buckets import open_bucket
from kfp_vision.components.shared.runtime.storage.reading import map_in_order

sys.path.insert(0, str(Path(__file__).parent.parent))
from storage_faults import Fault, FaultyProxy, proxied
from storage_servers import KEYS, FakeGcs, SeaweedFs, running

_MIB = 2**20
_LARGE_MIB, _PAIRS = 64, 7
_SMALL_BYTES, _SMALL, _ONE_AT_A_TIME = 4000, 3000, 400
_REQUESTS = 64
_ROUNDS = 2
_WHOLE = "all files whole"
_VARIABLES = {"s3": "AWS_ENDPOINT_URL", "gs": "STORAGE_EMULATOR_HOST"}
_DRAW = random.Random(0)


def _point_at(kind: str, url: str) -> None:
    os.environ.update({_VARIABLES[kind]: url, "AWS_REGION": "us-east-1", **KEYS})
    open_bucket.cache_clear()


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _paired(mine: Callable[[], object], theirs: Callable[[], object]) -> list[tuple[float, float]]:
    """Returns the seconds of both, taken in turns; each begins half of the pairs."""
    pairs = []
    for number in range(_PAIRS):
        if number % 2:
            pairs.append((_seconds(mine), _seconds(theirs)))
        else:
            pairs.append((_seconds(theirs), _seconds(mine))[::-1])
    return pairs


class _S3:
    def __init__(self, server: SeaweedFs) -> None:
        self._client = server.client()

    def upload(self, path: Path, key: str) -> None:
        self._client.upload_file(str(path), "bucket", key)

    def download(self, key: str, path: Path) -> None:
        self._client.download_file("bucket", key, str(path))

    def read(self, key: str) -> bytes:
        return self._client.get_object(Bucket="bucket", Key=key)["Body"].read()


class _Gs:
    def __init__(self) -> None:
        credentials = AnonymousCredentials()
        self._bucket = Client(project="none", credentials=credentials).bucket("bucket")

    def upload(self, path: Path, key: str) -> None:
        self._bucket.blob(key).upload_from_filename(str(path))

    def download(self, key: str, path: Path) -> None:
        transfer_manager.download_chunks_concurrently(
            self._bucket.blob(key),
            str(path),
            chunk_size=8 * _MIB,
            max_workers=16,
            worker_type=transfer_manager.THREAD,
        )

    def read(self, key: str) -> bytes:
        return self._bucket.blob(key).download_as_bytes()


def large_files(kind: str, rival: _S3 | _Gs, folder: Path) -> dict[str, float]:
    """Returns direction -> our rate over the rival's, the median of alternating pairs."""
    source, back = folder / "large", folder / "back"
    source.write_bytes(os.urandom(_LARGE_MIB * _MIB))
    ours = f"{kind}://bucket/ours"
    work = {
        "upload": (lambda: upload(source, ours), lambda: rival.upload(source, "theirs")),
        "download": (lambda: download(ours, back), lambda: rival.download("theirs", back)),
    }
    ratios = {}
    for direction, (mine, theirs) in work.items():
        pairs = _paired(mine, theirs)
        assert back.read_bytes() == source.read_bytes() if direction == "download" else True
        ratios[direction] = statistics.median(their / my for my, their in pairs)
        rates = [_LARGE_MIB / statistics.median(each) for each in zip(*pairs, strict=True)]
        print(f"{kind} {direction}: {rates[0]:.0f} MiB/s, the vendor's client {rates[1]:.0f}")
    return ratios


def small_files(kind: str, rival: _S3 | _Gs) -> float:
    """Returns images/s of a listed folder over those of one request at a time."""
    contents = [os.urandom(_SMALL_BYTES) for _ in range(_SMALL)]
    store = open_bucket(kind, "bucket")
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda i: store.put(contents[i], f"small/{i:06d}"), range(_SMALL)))
    folder, _ = open_folder(f"{kind}://bucket/small")

    def together() -> None:
        with ThreadPoolExecutor(_REQUESTS) as pool:
            found = map_in_order(pool, folder.read, folder.list_files(), 2 * _REQUESTS)
            assert all(map(bytes.__eq__, found, contents))

    def one_at_a_time() -> None:
        for number in range(_ONE_AT_A_TIME):
            assert rival.read(f"small/{number:06d}") == contents[number]

    pairs = _paired(together, one_at_a_time)
    rates = [
        (_SMALL / mine, _ONE_AT_A_TIME / theirs, _SMALL / mine * theirs / _ONE_AT_A_TIME)
        for mine, theirs in pairs
    ]
    mine, theirs, ratio = map(statistics.median, zip(*rates, strict=True))
    print(f"{kind} small files: {mine:.0f}/s listed and read, one at a time {theirs:.0f}/s")
    return ratio


def _faults(method: str) -> Iterator[tuple[str, list[Fault]]]:
    """Yields the faults of requests of a method, at random bytes."""
    for status in (503, 429):
        yield str(status), [Fault("status", status, method)] * 4
    reset = "reset_answer" if method == "GET" else "reset_request"
    yield reset, [Fault(reset, _DRAW.randrange(1, 4 * _MIB), method) for _ in range(4)]
    if method == "GET":
        yield "truncate", [Fault("truncate", _DRAW.randrange(1, 4 * _MIB), "GET") for _ in "four"]
        yield "slow", [Fault("slow", 0.005, "GET")] * 4


def _damage(source: Path, uri: str, target: Path, what: str) -> tuple[int, int]:
    """Returns how many files are missing without an error, and how many differ.

    After an error, a reader gets the whole artifact or an error, too.
    """
    if what != _WHOLE:
        target = target.with_name(f"{target.name}-again")
        with contextlib.suppress(StorageError):
            download(uri, target)
            what = _WHOLE
    files = {path.name: path.read_bytes() for path in source.iterdir()}
    found = {path.name: path.read_bytes() for path in target.iterdir()} if target.is_dir() else {}
    lost = len(files.keys() - found) if what == _WHOLE else 0
    return lost, sum(files.get(name) != found[name] for name in found)


def _transfer(source: Path, uri: str, target: Path, before: Callable[[str], None]) -> str:
    """Copies a folder there and back; returns what happened."""
    try:
        before("upload")
        upload(source, uri)
        before("download")
        download(uri, target)
    except StorageError as error:
        return f"error: {str(error)[:150]}"
    return _WHOLE


def broken_requests(kind: str, proxy: FaultyProxy, folder: Path) -> tuple[int, int, int]:
    """Returns the numbers of faults, of lost and of half-written files; prints a table."""
    total = lost = half = 0
    writes = ("PUT",) if kind == "s3" else ("POST", "PUT")
    cases = [("download", "GET", *case) for case in _faults("GET")]
    cases += [("upload", method, *case) for method in writes for case in _faults(method)]
    for number, (phase, method, name, faults) in enumerate(cases * _ROUNDS):
        proxy.injected.clear()

        def inject(now: str, phase: str = phase, faults: list[Fault] = faults) -> None:
            proxy.faults[:] = faults if now == phase else []

        target = folder / f"{kind}-{number}"
        uri = f"{kind}://bucket/faults/{number}"
        what = _transfer(folder / "source", uri, target, inject)
        missing, differing = _damage(folder / "source", uri, target, what)
        injected = len(proxy.injected)
        print(f"{kind} {phase} {method} {name}: {injected} of {len(faults)} injected, {what}")
        total, lost, half = total + injected, lost + missing, half + differing
    return total, lost, half


def killed_store(kind: str, server: SeaweedFs | FakeGcs, folder: Path) -> tuple[int, int, int]:
    """The same for a store that is killed in a transfer, and started again."""

    def restart() -> None:
        server.kill()
        server.start()

    lost = half = 0
    for number in range(_ROUNDS):
        timer = threading.Timer(_DRAW.uniform(0.05, 0.4), restart)
        timer.start()
        target = folder / f"{kind}-killed-{number}"
        uri = f"{kind}://bucket/killed/{number}"
        what = _transfer(folder / "source", uri, target, lambda _: None)
        timer.join()
        missing, differing = _damage(folder / "source", uri, target, what)
        print(f"{kind} store killed and started again: {what}")
        lost, half = lost + missing, half + differing
    return _ROUNDS, lost, half


def main() -> None:
    """Prints one line a measurement and the result."""
    ratios: list[float] = []
    small: list[float] = []
    counts: list[tuple[int, int, int]] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for name in ("seaweedfs", "gcs", "source"):
            (folder / name).mkdir()
        for number, size in enumerate((20 * _MIB, 5 * _MIB, *[4000] * 20)):
            (folder / "source" / f"{number:02d}").write_bytes(os.urandom(size))
        seaweedfs = SeaweedFs(folder / "seaweedfs")
        stack.enter_context(running(seaweedfs))
        gcs = FakeGcs(folder / "gcs")
        stack.enter_context(running(gcs))
        servers: dict[str, SeaweedFs | FakeGcs] = {"s3": seaweedfs, "gs": gcs}
        for kind, server in servers.items():
            _point_at(kind, server.url)
            rival = _S3(seaweedfs) if kind == "s3" else _Gs()
            ratios += large_files(kind, rival, folder).values()
            small.append(small_files(kind, rival))
            with proxied(server.url, renames=kind == "gs") as proxy:
                _point_at(kind, proxy.url)
                counts.append(broken_requests(kind, proxy, folder))
            _point_at(kind, server.url)
            counts.append(killed_store(kind, server, folder))
    injected, lost, half = map(sum, zip(*counts, strict=True))
    result = {
        "rate_ratio": round(min(ratios), 2),
        "small_files_ratio": round(min(small), 2),
        "faults_injected": injected,
        "lost": lost,
        "half_written": half,
    }
    print(f"RESULT {json.dumps(result)}")


if __name__ == "__main__":
    main()
