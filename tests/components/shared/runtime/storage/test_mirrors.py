"""Folders that a bucket keeps, on one machine after the other."""

import signal
import subprocess
import sys
import threading

import pytest
from storage_faults import Fault
from waiting import wait_until

from kfp_vision.components.shared.runtime.storage import (
    StorageError,
    kept_folder,
    mirrored,
    mirrors,
    take_copy_failures,
)
from kfp_vision.components.shared.runtime.storage.buckets import open_bucket
from kfp_vision.components.shared.runtime.storage.generations import Generations


@pytest.fixture
def place(bucket):
    """Returns the bucket and the prefix of `bucket`."""
    name, _, prefix = bucket.partition("://")[2].partition("/")
    return open_bucket(bucket.partition(":")[0], name), prefix


def keys(place, below=""):
    bucket, prefix = place
    start = f"{prefix}/{below}"
    return [found.key.removeprefix(start) for found in bucket.objects(start)]


def write_states(uri, *states):
    """Writes one state after the other, each by a machine of its own."""
    for state in states:
        with mirrored(uri) as root:
            folder = kept_folder(root / "run")
            folder.mkdir(exist_ok=True)
            (folder / "state.npz").write_bytes(state)


def read_state(uri):
    with mirrored(uri) as root:
        return (kept_folder(root / "run") / "state.npz").read_bytes()


def test_the_next_machine_goes_on_where_the_last_ended(bucket, place):
    write_states(bucket, b"1", b"2", b"3")
    assert read_state(bucket) == b"3"
    assert keys(place, "run/generations/") == ["00000002.json", "00000003.json"]
    assert len(keys(place, "run/objects/")) == 2


def test_a_damaged_state_is_passed_over_and_named(bucket, place, capsys):
    write_states(bucket, b"1", b"2")
    store, prefix = place
    torn = keys(place, "run/generations/")[-1]
    manifest = store.reader.get(f"{prefix}/run/generations/{torn}").bytes().to_bytes()
    store.put(manifest[:-20], f"{prefix}/run/generations/{torn}")
    assert read_state(bucket) == b"1"
    assert "note A checkpoint in the bucket is damaged" in capsys.readouterr().out
    write_states(bucket, b"4")
    assert read_state(bucket) == b"4"
    assert torn not in keys(place, "run/generations/")


def test_a_state_with_a_damaged_file_is_passed_over(bucket, place):
    write_states(bucket, b"1", b"2")
    store, prefix = place
    for key in keys(place, "run/objects/"):
        content = store.reader.get(f"{prefix}/run/objects/{key}").bytes().to_bytes()
        if content == b"2":
            store.put(b"", f"{prefix}/run/objects/{key}")
    assert read_state(bucket) == b"1"


def test_what_another_program_puts_there_is_left_alone(bucket, place):
    store, prefix = place
    others = {"run/generations/", "run/objects/", "run/objects/notes.txt"}
    # A key that ends in `/` is how consoles draw a folder; fake-gcs-server's disk has none.
    others = others if bucket.startswith("s3") else {"run/objects/notes.txt"}
    for key in others:
        store.put(b"", f"{prefix}/{key}")
    write_states(bucket, b"1", b"2", b"3", b"4")
    assert read_state(bucket) == b"4"
    assert others <= set(keys(place))


def test_without_a_whole_state_nothing_is_started_anew_unasked(bucket, place):
    write_states(bucket, b"1", b"2")
    store, prefix = place
    for key in keys(place, "run/objects/"):
        store.delete(f"{prefix}/run/objects/{key}")
    with pytest.raises(StorageError, match="must be whole.*to start anew"):
        read_state(bucket)


@pytest.mark.parametrize("damage", ["removed", "cut"])
def test_a_content_that_the_bucket_has_lost_is_copied_again(bucket, place, tmp_path, damage):
    store, prefix = place
    states = Generations(store, f"{prefix}/run/")
    files = {name: tmp_path / name for name in ("state.npz", "best-1.npz")}
    for content in (b"1", b"2"):
        files["state.npz"].write_bytes(content)
        files["best-1.npz"].write_bytes(b"best")
        states.save(files)
        for key in keys(place, "run/objects/") if content == b"1" else ():
            if damage == "removed":
                store.delete(f"{prefix}/run/objects/{key}")
            else:
                store.put(b"", f"{prefix}/run/objects/{key}")
    Generations(store, f"{prefix}/run/").restore(tmp_path / "back")
    assert (tmp_path / "back/state.npz").read_bytes() == b"2"
    assert (tmp_path / "back/best-1.npz").read_bytes() == b"best"


def test_what_is_removed_and_what_is_being_written_is_not_kept(bucket):
    with mirrored(bucket) as root:
        folder = kept_folder(root / "run")
        folder.mkdir()
        for name in ("state.npz", "best-1.npz", ".state.npz-partial"):
            (folder / name).write_bytes(b"x")
    with mirrored(bucket) as root:
        folder = kept_folder(root / "run")
        assert sorted(path.name for path in folder.iterdir()) == ["best-1.npz", "state.npz"]
        (folder / "best-1.npz").unlink()
    with mirrored(bucket) as root:
        assert [path.name for path in kept_folder(root / "run").iterdir()] == ["state.npz"]


def test_workers_share_a_folder_in_which_each_has_its_file(bucket, place):
    both_started = threading.Barrier(2)

    def work(name):
        with mirrored(bucket) as root:
            folder = kept_folder(root / "trials", shared=True)
            folder.mkdir(exist_ok=True)
            both_started.wait(20)
            (folder / f"{name}.jsonl").write_text(f"{name}\n")

    workers = [threading.Thread(target=work, args=(name,)) for name in "ab"]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert keys(place, "trials/") == ["a.jsonl", "b.jsonl"]
    with mirrored(bucket) as root:
        folder = kept_folder(root / "trials", shared=True)
        assert sorted(path.read_text() for path in folder.iterdir()) == ["a\n", "b\n"]


def test_other_folders_stay_where_they_are(tmp_path):
    assert kept_folder(tmp_path / "run") == tmp_path / "run"
    assert not (tmp_path / "run").exists()


_NEVER_COPIES = """
import hashlib, sys
from kfp_vision.components.shared.runtime.storage import kept_folder, mirrored, mirrors
mirrors._PERIOD_S = 3600
with mirrored(sys.argv[1]) as root:
    folder = kept_folder(root / "run")
    folder.mkdir()
    (folder / "state.npz").write_bytes(b"newest")
    print("written", flush=True)
    # As a compiled loop does: minutes in which no other code of this thread runs.
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)
"""


def test_sigterm_ends_the_process_when_the_newest_state_is_in_the_bucket(bucket):
    command = [sys.executable, "-c", _NEVER_COPIES, bucket]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "written\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 128 + signal.SIGTERM
    assert read_state(bucket) == b"newest"


def test_sigterm_is_the_callers_again_afterwards(s3):
    before = signal.getsignal(signal.SIGTERM), signal.set_wakeup_fd(-1)
    with mirrored(s3):
        assert signal.getsignal(signal.SIGTERM) != before[0]
    assert (signal.getsignal(signal.SIGTERM), signal.set_wakeup_fd(-1)) == before


def test_what_fails_is_said_once_and_tried_again(proxy, bucket, monkeypatch, capsys):
    monkeypatch.setattr(mirrors, "_PERIOD_S", 0.01)
    method = "PUT" if bucket.startswith("s3") else "POST"
    with mirrored(bucket) as root:
        folder = kept_folder(root / "run")
        folder.mkdir()
        proxy.faults += [Fault("status", 403, method)] * 3
        (folder / "state.npz").write_bytes(b"1")
        assert wait_until(lambda: len(proxy.injected) == 3, 60)
    assert capsys.readouterr().out.count("Not copied yet, and tried again: Cannot reach") == 1
    assert take_copy_failures() == []
    assert read_state(bucket) == b"1"


def test_what_is_not_in_the_bucket_at_the_end_is_named(proxy, bucket, capsys):
    write_states(bucket, b"1")
    method = "PUT" if bucket.startswith("s3") else "POST"
    proxy.faults += [Fault("status", 403, method)] * 9
    write_states(bucket, b"2")
    (sentence,) = take_copy_failures()
    assert sentence.startswith(f"The last state of {bucket}/run is not in the bucket: Cannot reach")
    assert f"note {sentence}\n" in capsys.readouterr().out
    assert take_copy_failures() == []
    proxy.faults.clear()
    assert read_state(bucket) == b"1"
