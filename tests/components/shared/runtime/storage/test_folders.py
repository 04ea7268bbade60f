"""Local paths; buckets are in test_transfers.py and in those of the import."""

import os
from pathlib import Path

import pytest

from kfp_vision.components.shared.runtime.storage import (
    StorageError,
    download,
    local_path,
    open_folder,
    record_reads,
    upload,
)

NAMES = ["a.txt", "deep/er/b.txt", "ü #?*[1]::x.txt"]


@pytest.fixture
def tree(tmp_path):
    for name in NAMES:
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / name).write_text(name)
    return tmp_path / "tree"


@pytest.mark.parametrize("prefix", ["", "file://"])
def test_names_of_any_kind_are_listed_and_read(prefix, tree):
    folder, name = open_folder(f"{prefix}{tree}/")
    assert name == ""
    assert folder.list_files() == sorted(NAMES)
    assert [folder.read(path).decode() for path in NAMES] == NAMES
    assert folder.list_entries() == (["deep"], ["a.txt", NAMES[2]])
    assert folder.exists("a.txt")
    assert not folder.exists("deep")


def test_a_pipe_does_not_hold_who_reads_it(tree):
    os.mkfifo(tree / "pipe")
    folder, _ = open_folder(str(tree))
    assert "pipe" in folder.list_files()
    assert folder.read("pipe") == b""


def test_a_file_is_a_name_in_its_folder(tree):
    folder, name = open_folder(str(tree / NAMES[2]))
    assert folder.read(name).decode() == NAMES[2]


def test_trees_go_there_and_back(tree, tmp_path):
    upload(tree, f"file://{tmp_path}/remote")
    download(f"{tmp_path}/remote", tmp_path / "back")
    assert [(tmp_path / "back" / name).read_text() for name in NAMES] == NAMES
    upload(tree / "a.txt", str(tmp_path / "new/one.txt"))
    assert (tmp_path / "new/one.txt").read_text() == "a.txt"


@pytest.mark.parametrize(
    "uri", ["", " ", "ftp://host/x", "http://host/x", "s3:/bucket/x", "file:/x", "S3://bucket"]
)
def test_other_schemes_are_refused(uri):
    with pytest.raises(ValueError, match="must be a local path or start with"):
        open_folder(uri)


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(StorageError, match=r"Cannot reach '.*gone'.*Check the spelling"):
        download(str(tmp_path / "gone"), tmp_path / "target")


@pytest.mark.parametrize("uri", ["{}", "file://{}", "{}/../out"])
def test_what_is_on_this_machine_becomes_a_path(uri, tmp_path):
    assert local_path(uri.format(tmp_path / "out"), "name").resolve() == tmp_path / "out"


def test_a_relative_path_is_one_of_the_working_folder():
    assert local_path("out", "name") == Path.cwd() / "out"


@pytest.mark.parametrize("uri", ["s3://bucket/x", "gs://bucket/x"])
def test_a_bucket_does_not(uri):
    with pytest.raises(ValueError, match=f"`name` must be on this machine.*Received: '{uri}'"):
        local_path(uri, "name")


def test_files_that_are_asked_for_are_recorded(tree):
    folder, _ = open_folder(str(tree))
    with record_reads() as reads:
        folder.read("a.txt")
        folder.exists("classes.txt")
        with folder.open(NAMES[1]):
            pass
    folder.read(NAMES[2])
    assert reads == {"a.txt", "classes.txt", NAMES[1]}


@pytest.mark.parametrize("size", [0, 9, 10, 11])
def test_a_file_is_begun_and_then_read_whole(size, tmp_path):
    content = os.urandom(size)
    (tmp_path / "a").write_bytes(content)
    start = open_folder(str(tmp_path))[0].start("a", 10)
    assert (start.head, start.size, start.read()) == (content[:10], size, content)
