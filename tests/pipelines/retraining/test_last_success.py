"""The record of the last success: on a disk and in buckets, whole or not there."""

import json
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest

from kfp_vision.components.shared.artifacts.source_files import file_hash, source_files
from kfp_vision.components.shared.runtime.storage import open_folder, remove
from kfp_vision.pipelines.retraining.last_success import (
    LAST_SUCCESS_FILE,
    read_last_success,
    write_last_success,
)

AT = datetime(2026, 11, 27, 3, tzinfo=UTC)
VERSIONS = {"dataset_version": "a", "recipe_version": ""}


def sources(count):
    return source_files(VERSIONS, (file_hash(f"{number}", "1") for number in range(count)))


@pytest.fixture(params=["disk", "s3", "gs"])
def folder(request, tmp_path) -> str:
    return str(tmp_path) if request.param == "disk" else request.getfixturevalue(request.param)


def test_what_is_written_is_read_back_and_replaced(folder):
    assert read_last_success(f"{folder}/champions") is None
    for count in (5, 7, 7):
        berlin = AT.astimezone(timezone(timedelta(hours=1)))
        write_last_success(f"{folder}/champions/", sources(count), berlin)
        read = read_last_success(f"{folder}/champions")
        assert read is not None
        assert (read.finished_at, read.sources.versions) == (AT, VERSIONS)
        assert np.array_equal(read.sources.hashes, sources(count).hashes)
    # The hashes of the record before are gone.
    files = [name for name in open_folder(f"{folder}/champions")[0].list_files() if name[0] != "."]
    assert len(files) == 2


def test_a_record_whose_hashes_are_gone_or_damaged_is_none(tmp_path):
    write_last_success(str(tmp_path), sources(5), AT)
    (hashes,) = tmp_path.glob("files-*.u64")
    hashes.write_bytes(b"12345678")
    assert read_last_success(str(tmp_path)) is None
    remove(str(hashes))
    assert read_last_success(str(tmp_path)) is None


@pytest.mark.parametrize("content", ["", "[]", "{}", json.dumps({"format": 2})])
def test_a_file_that_is_no_record_is_refused(tmp_path, content):
    (tmp_path / LAST_SUCCESS_FILE).write_text(content)
    with pytest.raises(ValueError, match=r"must be written by kfp-vision.*Remove it"):
        read_last_success(str(tmp_path))
