"""Transfers through a proxy that breaks requests: all arrives whole, or an error says why not."""

import os
import random
import threading
import time
from datetime import timedelta

import pytest
from storage_faults import Fault
from storage_servers import FakeGcs, SeaweedFs, running

from kfp_vision.components.shared.runtime.storage import StorageError, download, open_folder, upload
from kfp_vision.components.shared.runtime.storage.buckets import MAX_TRIES, RETRIES, open_bucket

MIB = 2**20
DRAW = random.Random(0)
FAULTS = {
    "503": [Fault("status", 503)] * 3,
    "429": [Fault("status", 429)] * 3,
    "reset": [Fault("reset_answer", DRAW.randrange(1, 3 * MIB), "GET") for _ in range(4)],
    "reset at once": [Fault("reset_answer", 1, "GET")] * 2,
    "truncated": [Fault("truncate", DRAW.randrange(1, 3 * MIB), "GET") for _ in range(4)],
    "slow": [Fault("slow", 0.002, "GET")] * 3,
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    for name, size in {"large": 20 * MIB + 7, "middle": 4 * MIB, "small": 100}.items():
        (folder / name).write_bytes(os.urandom(size))
    return folder


def same(one, other):
    return all((other / path.name).read_bytes() == path.read_bytes() for path in one.iterdir())


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_broken_is_repeated(proxy, bucket, files, tmp_path, name):
    phases = 2 if name in ("503", "429") else 1
    proxy.faults += FAULTS[name] if phases == 2 else []
    upload(files, f"{bucket}/tree")
    assert not proxy.faults
    proxy.faults += FAULTS[name]
    download(f"{bucket}/tree", tmp_path / "down")
    assert same(files, tmp_path / "down")
    assert len(proxy.injected) == phases * len(FAULTS[name])


def test_an_upload_that_is_reset_is_repeated(proxy, bucket, files, tmp_path):
    # Google's client sends a large file with PUT, others with POST.
    methods = ("PUT", "POST", "PUT") if bucket.startswith("gs") else ("PUT",) * 3
    proxy.faults += [Fault("reset_request", DRAW.randrange(1, 3 * MIB), each) for each in methods]
    upload(files, f"{bucket}/tree")
    assert len(proxy.injected) == len(methods)
    download(f"{bucket}/tree", tmp_path / "down")
    assert same(files, tmp_path / "down")


def test_a_fault_behind_the_end_of_a_body_waits_for_a_longer_one(proxy, bucket, files):
    upload(files, f"{bucket}/tree")
    folder, _ = open_folder(f"{bucket}/tree")
    proxy.faults.append(Fault("truncate", 2 * MIB, "GET"))
    folder.read("small")
    assert not proxy.injected
    assert folder.read("middle") == (files / "middle").read_bytes()
    assert len(proxy.injected) == 1


def test_a_manifest_is_looked_for_once_in_each_folder_up_to_the_root(proxy, bucket, files):
    upload(files / "small", f"{bucket}/a/b/small")
    before = proxy.num_requests
    folder, name = open_folder(f"{bucket}/a/b/small")
    # The file itself, and `.manifest.json` in b, a, the folder of this test, and the root.
    assert proxy.num_requests - before == 5
    for _ in range(3):
        folder.read(name)
    assert proxy.num_requests - before == 8


def test_a_folder_above_that_may_not_be_read_is_not_looked_into(proxy, bucket, files):
    upload(files, f"{bucket}/a/b")
    upload(files / "small", f"{bucket}/a/c/small")
    proxy.faults.append(Fault("status", 403, "GET", "a/.manifest.json"))
    folder, name = open_folder(f"{bucket}/a/c/small")
    assert len(proxy.injected) == 1
    assert folder.read(name) == (files / "small").read_bytes()


@pytest.mark.parametrize("kind", ["status", "truncate", "reset_answer"])
def test_one_bound_for_all_that_may_break_a_read(proxy, bucket, files, monkeypatch, kind):
    upload(files / "small", f"{bucket}/small")
    at_once = timedelta(milliseconds=1)
    pauses = {"init_backoff": at_once, "max_backoff": at_once, "base": 2}
    monkeypatch.setitem(RETRIES, "backoff", pauses)
    open_bucket.cache_clear()
    folder, _ = open_folder(bucket)
    proxy.faults += [Fault(kind, 503 if kind == "status" else 1, "GET", "small")] * 100
    with pytest.raises(StorageError, match="Cannot reach .*small"):
        folder.read("small")
    assert len(proxy.injected) == MAX_TRIES


def test_what_is_always_broken_ends_in_an_error_and_leaves_nothing(
    proxy, bucket, files, tmp_path, monkeypatch
):
    monkeypatch.setitem(RETRIES, "max_retries", 2)
    upload(files, f"{bucket}/tree")
    open_bucket.cache_clear()
    proxy.faults += [Fault("truncate", 1000, "GET", "large")] * 200
    with pytest.raises(StorageError, match="Cannot reach .*tree/large"):
        download(f"{bucket}/tree", tmp_path / "down")
    assert {path.name for path in (tmp_path / "down").rglob("*")} <= {"middle", "small"}


def test_parts_of_an_object_without_an_etag_are_not_put_together(proxy, bucket, files, tmp_path):
    upload(files / "small", f"{bucket}/small")
    proxy.faults += [Fault("no_etag", 0, "HEAD", "small")] * 2
    # Of Google's buckets the client says so itself.
    with pytest.raises(StorageError, match=r"must give the ETag of|ETag Header missing"):
        download(f"{bucket}/small", tmp_path / "small")
    assert open_folder(bucket)[0].read("small") == (files / "small").read_bytes()


@pytest.fixture(params=["gs", pytest.param("s3", marks=pytest.mark.slow)])
def mortal(request, tmp_path, monkeypatch, s3_environment):
    """A store that a test may kill; SeaweedFS needs a quarter of a minute to start again."""
    (tmp_path / "store").mkdir()
    with running((FakeGcs if request.param == "gs" else SeaweedFs)(tmp_path / "store")) as server:
        s3_environment(server.url)
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        yield server, f"{request.param}://bucket"


def test_a_store_that_is_killed_and_started_again_is_waited_for(mortal, tmp_path, files):
    server, bucket = mortal

    def restart():
        server.kill()
        time.sleep(0.5)
        server.start()

    restarts = threading.Timer(0.2, restart)
    restarts.start()
    for number in range(4):
        upload(files, f"{bucket}/{number}")
    restarts.join()
    for number in range(4):
        download(f"{bucket}/{number}", tmp_path / f"down{number}")
        assert same(files, tmp_path / f"down{number}")


@pytest.mark.long
def test_a_full_store_says_so_and_keeps_what_was_published(tmp_path, files, s3_environment):
    (tmp_path / "store").mkdir()
    with running(SeaweedFs(tmp_path / "store", volume_mib=8, max_volumes=1)) as server:
        s3_environment(server.url)
        (tmp_path / "one").mkdir()
        (tmp_path / "one/a").write_bytes(b"first")
        upload(tmp_path / "one", "s3://bucket/tree")
        with pytest.raises(StorageError, match="Cannot reach 's3://bucket/tree'"):
            upload(files, "s3://bucket/tree")
        assert open_folder("s3://bucket/tree")[0].read("a") == b"first"
