"""Files that several writers change at the same time, on a disk and in buckets of real servers."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from storage_servers import READER_KEYS

from kfp_vision.components.shared.runtime.storage import (
    StorageError,
    edit_document,
    read_document,
)


@pytest.fixture(params=["disk", "s3", "gs"])
def place(request, tmp_path):
    """A folder of its own on a disk and in a bucket of each kind."""
    return str(tmp_path) if request.param == "disk" else request.getfixturevalue(request.param)


def adding(line):
    return lambda before: (before or b"") + line


def test_a_file_is_made_changed_and_left_alone(place):
    uri = f"{place}/deep/list.txt"
    assert read_document(uri) is None
    edit_document(uri, adding(b"a"))
    edit_document(uri, adding(b"b"))
    edit_document(uri, lambda _: None)
    assert read_document(uri) == b"ab"


def test_simultaneous_writers_lose_nothing(place):
    uri, lines = f"{place}/list.txt", [f"{number}\n".encode() for number in range(12)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda line: edit_document(uri, adding(line)), lines))
    written = read_document(uri) or b""
    assert sorted(written.splitlines(keepends=True)) == sorted(lines)


def test_what_appears_between_reading_and_writing_is_kept(place):
    uri, seen = f"{place}/list.txt", []

    def change(before):
        seen.append(before)
        if len(seen) == 1 and "://" in place:
            edit_document(uri, adding(b"other "))
        return (before or b"") + b"own"

    edit_document(uri, change)
    if "://" in place:
        assert seen == [None, b"other "]
        assert read_document(uri) == b"other own"


def test_who_may_not_write_is_told_so(seaweedfs, s3, s3_environment):
    s3_environment(seaweedfs.url, READER_KEYS)
    with pytest.raises(StorageError, match=r"(?s)Cannot reach .*list\.txt.*Check the bucket"):
        edit_document(f"{s3}/list.txt", adding(b"a"))


@pytest.mark.parametrize("kind", ["s3", "gs"])
def test_a_bucket_that_is_not_there_is_no_other_writer(request, kind):
    request.getfixturevalue(kind)
    with pytest.raises(StorageError, match="Cannot reach"):
        edit_document(f"{kind}://nowhere/list.txt", adding(b"a"))
