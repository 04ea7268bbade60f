"""The parts of a cache key that KFP does not see."""

import os

import pytest

from kfp_vision.pipelines.fingerprints import code_version, source_version


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a.png").write_bytes(b"12345")
    (tmp_path / "b.png").write_bytes(b"12345")
    return tmp_path


def add(folder):
    (folder / "c.png").write_bytes(b"")


def remove(folder):
    (folder / "b.png").unlink()


def rename(folder):
    (folder / "b.png").rename(folder / "c.png")


def rewrite_at_another_time(folder):
    os.utime(folder / "b.png", (1, 1))


@pytest.mark.parametrize("change", [add, remove, rename, rewrite_at_another_time])
def test_a_change_of_files_changes_the_version(folder, change):
    before = source_version([str(folder)])
    assert source_version([str(folder)]) == before
    change(folder)
    assert source_version([str(folder)]) != before


def test_names_without_files_have_one_version():
    assert source_version(["tfds:mnist", "resnet20", "/no/such/folder"]) == source_version([])


def test_the_code_has_one_version():
    assert code_version() == code_version()
