"""Files and artifacts in buckets of real servers on this machine."""

import json
import os
import threading
import traceback
from datetime import timedelta

import pytest
from obstore.exceptions import GenericError
from storage_servers import READER_KEYS, FakeGcs, running

from kfp_vision.components.shared.runtime.storage import (
    MANIFEST_FILE,
    StorageError,
    download,
    move,
    open_folder,
    publish,
    publishing,
    remove,
    upload,
)
from kfp_vision.components.shared.runtime.storage.buckets import open_bucket
from kfp_vision.components.shared.runtime.storage.errors import explained
from kfp_vision.components.shared.runtime.storage.manifests import INCOMING
from kfp_vision.components.shared.runtime.storage.reading import RANGE_BYTES

FILES = {"a.txt": b"a", "deep/ü #?*[1]::x.txt": b"b", "empty": b""}


def write_tree(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def read_tree(folder):
    below = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in below}


def place(uri):
    """Returns the bucket and the key or prefix of a URI."""
    name, _, key = uri.partition("://")[2].partition("/")
    return open_bucket(uri.partition(":")[0], name), key


def keys_below(uri):
    bucket, prefix = place(uri)
    return [found.key.removeprefix(f"{prefix}/") for found in bucket.objects(f"{prefix}/")]


def test_a_folder_goes_there_and_back(bucket, tmp_path):
    files = {**FILES, "large": os.urandom(2 * RANGE_BYTES + 12_345)}
    upload(write_tree(tmp_path / "up", files), f"{bucket}/tree")
    assert set(keys_below(f"{bucket}/tree")) == {*files, MANIFEST_FILE}
    download(f"{bucket}/tree", tmp_path / "down")
    assert read_tree(tmp_path / "down") == files
    folder, _ = open_folder(f"{bucket}/tree/")
    assert folder.list_files() == sorted(files)
    assert folder.list_entries() == (["deep"], ["a.txt", "empty", "large"])
    assert {path: folder.read(path) for path in files} == files
    with folder.open("large") as file:
        file.seek(-5, os.SEEK_END)
        assert file.read() == files["large"][-5:]
        file.seek(RANGE_BYTES - 3)
        assert file.read(6) == files["large"][RANGE_BYTES - 3 : RANGE_BYTES + 3]


def test_a_file_goes_there_moves_and_is_removed(bucket, tmp_path):
    (tmp_path / "one").write_bytes(b"1")
    upload(tmp_path / "one", f"{bucket}/one.txt")
    move(f"{bucket}/one.txt", f"{bucket}/deep/two.txt")
    download(f"{bucket}/deep/two.txt", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b"1"
    assert keys_below(bucket) == ["deep/two.txt"]
    remove(f"{bucket}/deep/two.txt")
    with pytest.raises(StorageError, match="there is no such file"):
        open_folder(f"{bucket}/deep/two.txt")


def test_a_file_is_not_moved_out_of_its_bucket(bucket, tmp_path):
    for target in (f"{bucket.partition(':')[0]}://elsewhere/one.txt", str(tmp_path / "one.txt")):
        with pytest.raises(ValueError, match=f"within a disk or a bucket. Received: .*{target}"):
            move(f"{bucket}/one.txt", target)


@pytest.mark.parametrize("path", ["/run", "a//b", "a/./b", "a/../b"])
def test_a_path_that_clients_read_differently_is_refused(path):
    with pytest.raises(ValueError, match=f"no empty part.*Received: 's3://photos/{path}'"):
        open_folder(f"s3://photos/{path}")


def test_what_is_being_published_for_the_first_time_is_not_there_yet(bucket, tmp_path):
    folder = write_tree(tmp_path / "up", FILES)
    upload(folder / "a.txt", f"{bucket}/new/{INCOMING}0123/a.txt")
    with pytest.raises(StorageError, match="there is no such file or folder"):
        download(f"{bucket}/new", tmp_path / "down")


def test_a_session_token_that_an_answer_repeats_is_not_passed_on():
    answer = "400: <Error><Code>ExpiredToken</Code><Token-0>planted</Token-0></Error>"
    with pytest.raises(StorageError, match="ExpiredToken") as raised, explained("s3://b/k", "s3"):
        raise GenericError(answer)
    assert "planted" not in "".join(traceback.format_exception(raised.value))


def test_only_what_has_changed_is_copied_again(bucket, tmp_path):
    folder = write_tree(tmp_path / "up", FILES)
    upload(folder, bucket)
    store, prefix = place(bucket)
    written = {name: store.reader.head(f"{prefix}/{name}")["last_modified"] for name in FILES}
    (folder / "a.txt").write_bytes(b"other")
    (folder / "empty").unlink()
    (folder / "new").write_bytes(b"new")
    upload(folder, bucket)
    assert set(keys_below(bucket)) == {"a.txt", "deep/ü #?*[1]::x.txt", "new", MANIFEST_FILE}
    same = "deep/ü #?*[1]::x.txt"
    assert store.reader.head(f"{prefix}/{same}")["last_modified"] == written[same]
    download(bucket, tmp_path / "down")
    assert read_tree(tmp_path / "down") == read_tree(folder)


def test_what_was_damaged_is_published_again_and_nothing_else(bucket, tmp_path):
    folder = write_tree(tmp_path / "up", FILES)
    upload(folder, bucket)
    store, prefix = place(bucket)
    written = store.reader.head(f"{prefix}/empty")["last_modified"]
    # Of the same size.
    store.put(b"c", f"{prefix}/a.txt")
    upload(folder, bucket)
    download(bucket, tmp_path / "down")
    assert read_tree(tmp_path / "down") == FILES
    assert store.reader.head(f"{prefix}/empty")["last_modified"] == written


def test_what_is_published_no_more_is_removed_after_interruptions(bucket, tmp_path, monkeypatch):
    folder = write_tree(tmp_path / "up", FILES)
    upload(folder, bucket)
    upload(folder / "a.txt", f"{bucket}/mine.txt")
    store, _ = place(bucket)
    for content in (b"1", b"2"):
        (folder / "empty").unlink(missing_ok=True)
        (folder / "a.txt").write_bytes(content)
        with monkeypatch.context() as interrupted:
            interrupted.setattr(store, "copy", lambda _, key: store.upload(tmp_path / "gone", key))
            with pytest.raises(StorageError):
                upload(folder, bucket)
        assert "empty" in keys_below(bucket)
    upload(folder, bucket)
    assert set(keys_below(bucket)) == {*read_tree(folder), "mine.txt", MANIFEST_FILE}


def test_files_beside_an_artifact_stay_and_are_not_part_of_it(bucket, tmp_path):
    folder = write_tree(tmp_path / "up", FILES)
    upload(folder / "a.txt", f"{bucket}/logs/mine.log")
    upload(folder, bucket)
    publish({"a.txt": folder / "a.txt"}, bucket)
    assert set(keys_below(bucket)) == {"a.txt", "logs/mine.log", MANIFEST_FILE}
    download(bucket, tmp_path / "down")
    assert read_tree(tmp_path / "down") == {"a.txt": b"a"}


def test_what_a_killed_writer_left_is_not_seen_and_removed_a_day_later(
    bucket, tmp_path, monkeypatch
):
    folder = write_tree(tmp_path / "up", FILES)
    upload(folder, bucket)
    upload(folder / "a.txt", f"{bucket}/{INCOMING}0123/a.txt")
    assert open_folder(bucket)[0].list_files() == sorted(FILES)
    for content, left in ((b"1", [f"{INCOMING}0123/a.txt"]), (b"2", [])):
        (folder / "a.txt").write_bytes(content)
        upload(folder, bucket)
        assert [key for key in keys_below(bucket) if key.startswith(INCOMING)] == left
        monkeypatch.setattr(publishing, "_LONGEST_PUBLICATION", timedelta(0))


def test_a_writer_that_is_overtaken_publishes_after_the_other(bucket, tmp_path, monkeypatch):
    store, _ = place(bucket)
    put = store.put

    def overtaken(content, key):
        monkeypatch.setattr(store, "put", put)
        upload(write_tree(tmp_path / "other", {"b.txt": b"other"}), bucket)
        put(content, key)

    monkeypatch.setattr(store, "put", overtaken)
    upload(write_tree(tmp_path / "up", FILES), bucket)
    download(bucket, tmp_path / "down")
    assert read_tree(tmp_path / "down") == FILES


def test_a_writer_whose_files_are_removed_leaves_what_was_published(bucket, tmp_path, monkeypatch):
    folder = write_tree(tmp_path / "up", FILES)
    upload(folder, bucket)
    store, _ = place(bucket)
    send = store.upload

    def removed(source, key):
        send(source, key)
        store.delete(key)

    monkeypatch.setattr(store, "upload", removed)
    (folder / "a.txt").write_bytes(b"other")
    with pytest.raises(StorageError, match=r"must stay until.*Received: 1 .*a\.txt"):
        upload(folder, bucket)
    download(bucket, tmp_path / "down")
    assert read_tree(tmp_path / "down") == FILES


def test_a_writer_that_fails_leaves_no_files_of_its_own(bucket, tmp_path, monkeypatch):
    store, _ = place(bucket)
    monkeypatch.setattr(store, "copy", lambda key, target: store.upload(tmp_path / "gone", target))
    with pytest.raises(StorageError):
        upload(write_tree(tmp_path / "up", FILES), bucket)
    assert keys_below(bucket) == [MANIFEST_FILE]


def test_a_log_that_grows_meanwhile_is_read_as_it_was_at_one_moment(gs, tmp_path):
    log = tmp_path / "up" / "run.log"
    log.parent.mkdir()
    with log.open("ab", buffering=0) as file:
        ended = threading.Event()

        def write():
            for number in range(60):
                file.write(b"%06d\n" % number)
                ended.wait(0.002)

        writer = threading.Thread(target=write)
        writer.start()
        upload(log.parent, f"{gs}/logs")
        download(f"{gs}/logs", tmp_path / "down")
        writer.join()
    copied = (tmp_path / "down/run.log").read_bytes()
    assert log.read_bytes().startswith(copied)


def test_an_artifact_between_two_versions_is_read_by_nobody(bucket, tmp_path):
    folder = write_tree(tmp_path / "up", FILES)
    upload(folder, bucket)
    store, prefix = place(bucket)
    manifest = json.loads(store.reader.get(f"{prefix}/{MANIFEST_FILE}").bytes().to_bytes())
    store.put(json.dumps({**manifest, "complete": False}).encode(), f"{prefix}/{MANIFEST_FILE}")
    with pytest.raises(StorageError, match="which is being replaced"):
        download(bucket, tmp_path / "down")
    with pytest.raises(StorageError, match="which is being replaced"):
        open_folder(bucket)[0].read("a.txt")
    assert not (tmp_path / "down").exists()
    upload(folder, bucket)
    download(bucket, tmp_path / "down")
    assert read_tree(tmp_path / "down") == FILES


def test_other_content_than_was_published_is_refused(bucket, tmp_path):
    upload(write_tree(tmp_path / "up", FILES), bucket)
    store, prefix = place(bucket)
    store.put(b"c", f"{prefix}/a.txt")
    with pytest.raises(StorageError, match="must have the checksum.*a.txt' with another"):
        download(bucket, tmp_path / "down")
    with pytest.raises(StorageError, match="must have the checksum"):
        open_folder(bucket)[0].read("a.txt")
    assert "a.txt" not in read_tree(tmp_path / "down")


def test_files_and_folders_of_an_artifact_are_compared_with_its_manifest(bucket, tmp_path):
    files = {"model/model.keras": b"m", "model/deep/x": b"x", "report.json": b"{}"}
    upload(write_tree(tmp_path / "up", files), f"{bucket}/out")
    upload(tmp_path / "up/report.json", f"{bucket}/out/model/mine.json")
    upload(tmp_path / "up/report.json", f"{bucket}/out/mine/own.json")
    download(f"{bucket}/out/model", tmp_path / "down")
    assert read_tree(tmp_path / "down") == {"model.keras": b"m", "deep/x": b"x"}
    assert open_folder(f"{bucket}/out/model")[0].read("mine.json") == b"{}"
    download(f"{bucket}/out/mine", tmp_path / "mine")
    assert read_tree(tmp_path / "mine") == {"own.json": b"{}"}

    store, prefix = place(bucket)
    for name in ("model.keras", "deep/x"):
        store.put(b"other", f"{prefix}/out/model/{name}")
        folder, path = open_folder(f"{bucket}/out/model/{name}")
        with pytest.raises(StorageError, match="must have the checksum"):
            folder.read(path)
        for uri in (f"{bucket}/out/model/{name}", f"{bucket}/out/model"):
            with pytest.raises(StorageError, match="must have the checksum"):
                download(uri, tmp_path / "again")


def test_the_nearest_manifest_counts(bucket, tmp_path):
    upload(write_tree(tmp_path / "up", {"part/a": b"1", "b": b"2"}), bucket)
    upload(write_tree(tmp_path / "part", {"a": b"3"}), f"{bucket}/part")
    download(f"{bucket}/part", tmp_path / "down")
    assert read_tree(tmp_path / "down") == {"a": b"3"}


def test_a_part_of_an_artifact_between_two_versions_is_read_by_nobody(bucket, tmp_path):
    upload(write_tree(tmp_path / "up", {"model/a": b"1"}), bucket)
    store, prefix = place(bucket)
    manifest = json.loads(store.reader.get(f"{prefix}/{MANIFEST_FILE}").bytes().to_bytes())
    store.put(json.dumps({**manifest, "complete": False}).encode(), f"{prefix}/{MANIFEST_FILE}")
    for uri in (f"{bucket}/model", f"{bucket}/model/a"):
        with pytest.raises(StorageError, match="which is being replaced"):
            download(uri, tmp_path / "down")


@pytest.fixture
def any_keys(tmp_path, monkeypatch):
    """A bucket of a server that keeps no files, so that it takes keys that are no paths."""
    with running(FakeGcs(tmp_path / "server", "memory")) as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        open_bucket.cache_clear()
        yield "gs://bucket/odd"
    open_bucket.cache_clear()


def test_keys_that_lead_out_of_the_folder_are_refused(any_keys, tmp_path):
    store, prefix = place(any_keys)
    for name in ("fine.txt", "../out.txt", "a/../../out.txt", "/abs.txt"):
        store.put(b"x", f"{prefix}/tree/{name}")
    with pytest.raises(StorageError, match=r"must lead to a place below.*\.\./"):
        download(f"{any_keys}/tree", tmp_path / "down")
    assert not (tmp_path / "down").exists()
    tree = open_folder(f"{any_keys}/tree")[0].list_tree()
    assert tree.files == ["fine.txt"]
    assert tree.others == ["../out.txt", "/abs.txt", "a/../../out.txt"]


def test_a_key_that_is_also_a_folder_is_listed_as_both_and_not_downloaded(any_keys, tmp_path):
    store, prefix = place(any_keys)
    for name in ("a", "a/b", "c"):
        store.put(b"x", f"{prefix}/tree/{name}")
    folder, _ = open_folder(f"{any_keys}/tree")
    assert folder.list_entries() == (["a"], ["a", "c"])
    assert folder.list_files() == ["a", "a/b", "c"]
    with pytest.raises(StorageError, match=r"must be a file or a folder.*Received: \['a'\]"):
        download(f"{any_keys}/tree", tmp_path / "down")
    assert not (tmp_path / "down").exists()


@pytest.mark.parametrize("where", ["disk", "s3", "gs"])
def test_paths_are_read_as_on_a_disk(where, tmp_path, request):
    root = str(tmp_path / "root") if where == "disk" else request.getfixturevalue(where)
    upload(write_tree(tmp_path / "up", {"a/b.txt": b"b"}), root)
    folder, _ = open_folder(root)
    for path in ("a//b.txt", "./a/./b.txt"):
        assert folder.exists(path)
        assert folder.read(path) == b"b"
        with folder.open(path) as file:
            assert file.read() == b"b"
    for path in ("a//c.txt", "../b.txt"):
        assert not folder.exists(path)
        with pytest.raises(FileNotFoundError):
            folder.read(path)


def test_what_a_backend_of_kfp_publishes_is_read(s3, tmp_path):
    upload(write_tree(tmp_path / "up", FILES), f"{s3}/tree")
    minio = s3.replace("s3://", "minio://")
    assert open_folder(f"{minio}/tree")[0].read("a.txt") == b"a"
    assert open_folder(f"{minio}/tree/a.txt")[1] == "a.txt"


WRONG_KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "planted-secret-4711"}


@pytest.mark.parametrize(
    ("keys", "reason"), [(WRONG_KEYS, "SignatureDoesNotMatch"), (READER_KEYS, "AccessDenied")]
)
def test_a_bucket_that_may_not_be_written(s3, seaweedfs, s3_environment, tmp_path, keys, reason):
    s3_environment(seaweedfs.url, keys)
    with pytest.raises(StorageError, match=f"{reason}.*Check the bucket's name") as raised:
        upload(write_tree(tmp_path / "up", FILES), s3)
    assert not any(secret in str(raised.value) for secret in keys.values() if secret != "test")
    s3_environment(seaweedfs.url)
    assert keys_below(s3) == []


def test_without_keys_it_is_said_which_are_missing(s3, monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    open_bucket.cache_clear()
    with pytest.raises(StorageError, match="Unable to locate credentials.*AWS credentials"):
        open_folder(s3)


@pytest.mark.parametrize("name", ["absent-bucket", "absent-bucket/deep"])
def test_a_bucket_that_is_not_there_is_not_made(bucket, tmp_path, name):
    uri = f"{bucket.partition(':')[0]}://{name}"
    with pytest.raises(StorageError, match=f"Cannot reach '{uri}.*Check the bucket's name"):
        upload(write_tree(tmp_path / "up", FILES), uri)


@pytest.mark.parametrize("has_manifest", [True, False])
@pytest.mark.parametrize("size", [0, 9, 10, 11, RANGE_BYTES + 9, RANGE_BYTES + 11])
def test_a_file_is_begun_and_then_read(bucket, size, has_manifest, tmp_path):
    content = os.urandom(size)
    upload(write_tree(tmp_path / "up", {"a": content}), f"{bucket}/tree")
    if not has_manifest:
        remove(f"{bucket}/tree/{MANIFEST_FILE}")
    folder, _ = open_folder(f"{bucket}/tree")
    start = folder.start("a", 10)
    assert (start.head, start.size, start.read()) == (content[:10], size, content)
    with pytest.raises(FileNotFoundError):
        folder.start("b", 10)


def test_a_file_that_changes_after_it_was_begun_is_refused(s3, tmp_path):
    upload(write_tree(tmp_path / "up", {"a": b"0" * 20}), f"{s3}/tree")
    remove(f"{s3}/tree/{MANIFEST_FILE}")
    start = open_folder(f"{s3}/tree")[0].start("a", 10)
    upload(write_tree(tmp_path / "up", {"a": b"1" * 20}), f"{s3}/tree")
    with pytest.raises(StorageError):
        start.read()
