"""Which files are new: closed forms for whole sets, and for samples of larger ones."""

import numpy as np
import pytest

from kfp_vision.components.shared.artifacts.source_files import (
    HASHES_FILE,
    changed_share,
    file_hash,
    read_source_files,
    source_files,
    write_source_files,
)


def files(versions, kept=2**20):
    return source_files({}, (file_hash(path, text) for path, text in versions.items()), kept)


BEFORE = {f"{number}.png": "1" for number in range(100)}


@pytest.mark.parametrize(
    ("change", "share"),
    [
        ({}, 0.0),
        ({"new.png": "1"}, 1 / 101),
        ({"0.png": "2"}, 1 / 100),
        ({"0.png": None}, 1 / 99),
        ({"0.png": None, "a.png": "1", "b.png": "1"}, 2 / 101),
        (dict.fromkeys(BEFORE, "2"), 1.0),
    ],
)
def test_the_share_counts_what_is_new_changed_or_gone(change, share):
    now = {path: version for path, version in (BEFORE | change).items() if version}
    assert changed_share(files(BEFORE), files(now)) == share


def test_all_gone_is_a_change_and_nothing_is_none():
    assert changed_share(files(BEFORE), files({})) == 1
    assert changed_share(files({}), files({})) == 0


@pytest.mark.parametrize("new", [0, 0.1, 0.5])
def test_a_sample_estimates_the_share(new):
    rows = 20_000
    before = {f"{number}.png": "1" for number in range(rows)}
    later = {f"later/{number}.png": "1" for number in range(round(new * rows))}
    now = before | later
    expected = len(later) / len(now)
    found = changed_share(files(before, 2000), files(now, 2000))
    # Four standard errors of a proportion of 2000.
    assert abs(found - expected) <= 4 * np.sqrt(expected / 2000)
    assert (found == 0) == (new == 0)


def test_a_file_is_told_by_its_path_and_its_version():
    told = {file_hash(path, version) for path in ("a", "b") for version in ("1", "2")}
    assert len(told) == 4
    # A name that is not UTF-8, as Python reads it.
    assert file_hash("\udcff.png", "1") < 2**64


@pytest.mark.parametrize("kept", [10, 1000])
def test_what_is_written_is_read_back(tmp_path, kept):
    written = source_files({"dataset_version": "x"}, (file_hash(p, "") for p in BEFORE), kept)
    write_source_files(written, tmp_path / "sources")
    read = read_source_files(tmp_path / "sources")
    assert (read.versions, read.num_files) == ({"dataset_version": "x"}, 100)
    assert read.hashes.tolist() == written.hashes.tolist()
    assert (tmp_path / "sources" / HASHES_FILE).stat().st_size == 8 * min(kept, 100)
