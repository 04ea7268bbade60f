"""Files that are whole or not there, also after a power cut."""

import os

import pytest

from kfp_vision.components.shared.runtime.atomic_files import whole_file, write_atomically
from kfp_vision.components.shared.runtime.storage import edit_document, upload


def test_the_content_is_on_the_disk_before_the_name(tmp_path, monkeypatch):
    synced = []

    def fsync(descriptor):
        synced.append(os.fstat(descriptor).st_ino)

    monkeypatch.setattr(os, "fsync", fsync)
    edit_document(str(tmp_path / "champion.json"), lambda _: b"{}")
    upload(tmp_path / "champion.json", str(tmp_path / "version/model.keras"))
    found = (tmp_path / "champion.json", tmp_path / "version/model.keras")
    assert synced == [each.stat().st_ino for each in found]


def test_a_writer_that_fails_leaves_the_file_before(tmp_path):
    write_atomically(tmp_path / "a/file", b"before")

    def fail():
        with whole_file(tmp_path / "a/file") as partial:
            partial.write_bytes(b"half")
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        fail()
    assert (tmp_path / "a/file").read_bytes() == b"before"
    assert len(list((tmp_path / "a").iterdir())) == 1
