"""Local paths; buckets are in tests/components/data_import/test_buckets.py."""

import os

import pytest

from kfp_vision.components.shared.storage import (
    StorageError,
    download,
    listing_digest,
    open_folder,
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


def test_a_file_is_a_name_in_its_folder(tree):
    folder, name = open_folder(str(tree / NAMES[2]))
    assert folder.read(name).decode() == NAMES[2]


def test_trees_go_there_and_back(tree, tmp_path):
    upload(tree, f"file://{tmp_path}/remote")
    download(f"{tmp_path}/remote", tmp_path / "back")
    assert [(tmp_path / "back" / name).read_text() for name in NAMES] == NAMES
    upload(tree / "a.txt", str(tmp_path / "new/one.txt"))
    assert (tmp_path / "new/one.txt").read_text() == "a.txt"


CHANGES = {
    "content": lambda tree: (tree / "a.txt").write_text("longer"),
    "time": lambda tree: os.utime(tree / "a.txt", (0, 0)),
    "name": lambda tree: (tree / "a.txt").rename(tree / "z.txt"),
    "one less": lambda tree: (tree / "a.txt").unlink(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_digest_of_a_listing_sees_a_change(change, tree):
    before = listing_digest(str(tree))
    assert listing_digest(f"file://{tree}") == before
    CHANGES[change](tree)
    assert listing_digest(str(tree)) != before


@pytest.mark.parametrize("uri", ["", " ", "ftp://host/x", "http://host/x"])
def test_other_schemes_are_refused(uri):
    with pytest.raises(ValueError, match="must be a local path or start with"):
        open_folder(uri)


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(StorageError, match=r"Cannot reach '.*gone'.*Check the spelling"):
        download(str(tmp_path / "gone"), tmp_path / "target")
