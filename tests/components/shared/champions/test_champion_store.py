"""The folder of champions on a disk and in buckets of real servers."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kfp_vision.components.shared.champions import store
from kfp_vision.components.shared.champions.store import (
    LINEAGE_FILE,
    ImportFacts,
    Lineage,
    add_version,
    fetch_version,
    promote,
    read_champions,
    read_lineage,
    record,
    roll_back,
    split_version,
    version_uri,
)
from kfp_vision.components.shared.runtime.storage import StorageError, open_folder, upload


@pytest.fixture(params=["disk", "s3", "gs"])
def uri(request, tmp_path):
    """A folder of its own on a disk and in a bucket of each kind."""
    if request.param == "disk":
        return str(tmp_path / "champions")
    return request.getfixturevalue(request.param)


@pytest.fixture
def add(uri, tmp_path):
    """Publishes a version with a model of one byte."""

    def add(name: str) -> None:
        model = tmp_path / f"model-{name}"
        model.mkdir()
        (model / "model.keras").write_bytes(name.encode())
        dataset = {"fingerprint": "0" * 64}
        imported = ImportFacts("photos", f"version of {name}", 0)
        lineage = Lineage(
            name, "now", "0", "out", imported, "base", dataset, "accuracy", {}, {}, {}
        )
        add_version(uri, {"model": model}, lineage)

    return add


def test_an_empty_folder_has_no_champion(uri):
    assert read_champions(uri).champion == ""
    with pytest.raises(ValueError, match="needs a champion and one before"):
        roll_back(uri, "test")
    with pytest.raises(ValueError, match=r"A version must be one of .*kfp-vision champions"):
        promote(uri, "a", "test")


def test_a_version_comes_back_as_it_was_published(uri, add, tmp_path):
    add("a")
    lineage = fetch_version(uri, "a", ["model/model.keras", "model/model.onnx"], tmp_path / "back")
    assert [*lineage.files] == ["model/model.keras"]
    assert (tmp_path / "back/model/model.keras").read_bytes() == b"a"
    assert not (tmp_path / "back/model/model.onnx").exists()
    assert read_lineage(uri, "a") == lineage
    assert LINEAGE_FILE in open_folder(version_uri(uri, "a"))[0].list_files()


def test_a_damaged_file_is_named(uri, add, tmp_path):
    add("a")
    (tmp_path / "other").write_bytes(b"b")
    upload(tmp_path / "other", f"{version_uri(uri, 'a')}/model/model.keras")
    with pytest.raises(StorageError, match=r"versions/a/model/model\.keras"):
        fetch_version(uri, "a", ["model/model.keras"], tmp_path / "back")


@pytest.mark.parametrize("name", ["", "../a", "b"])
def test_what_is_no_version_is_refused(uri, add, name):
    add("a")
    with pytest.raises(ValueError, match="A version must be one of"):
        promote(uri, name, "test")


def test_generations(uri, add):
    for name in "abc":
        add(name)
    assert record(uri, "a", True, "", "first").kind == "promoted"
    assert record(uri, "b", False, "a", "worse").kind == "kept"
    assert record(uri, "c", True, "a", "better").kind == "promoted"
    assert read_champions(uri).champion == "c"
    # A retry of the task, and a run whose stages all come from the cache.
    assert record(uri, "a", True, "", "first").reason == "first"
    assert roll_back(uri, "by hand").champion == "a"
    assert promote(uri, "b", "by hand").champion == "b"
    assert record(uri, "c", True, "a", "better").kind == "rolled_back"
    held = [(each.kind, each.version) for each in read_champions(uri).history]
    assert held == [
        ("promoted", "a"),
        ("kept", "b"),
        ("promoted", "c"),
        ("rolled_back", "c"),
        ("promoted", "b"),
    ]


def test_a_model_that_beat_another_champion_is_a_challenger(uri, add):
    for name in "abc":
        add(name)
    record(uri, "a", True, "", "first")
    record(uri, "b", True, "a", "better")
    entry = record(uri, "c", True, "a", "It is better.")
    assert entry.kind == "overtaken"
    assert "meanwhile b has become the champion" in entry.reason
    assert read_champions(uri).champion == "b"


def test_who_lost_against_a_champion_that_was_rolled_back_is_compared_again(uri, add):
    for name in "abcde":
        add(name)
    record(uri, "a", True, "", "first")
    record(uri, "b", True, "a", "better")
    # Lost against one that is below the champion now: it has lost against that, too.
    assert record(uri, "c", False, "a", "worse").kind == "kept"
    roll_back(uri, "by hand")
    entry = record(uri, "d", False, "b", "It is worse.")
    assert entry.kind == "overtaken"
    assert "compared with b, but meanwhile a has become the champion" in entry.reason
    assert record(uri, "e", False, "a", "worse").kind == "kept"
    assert read_champions(uri).champion == "a"


def test_of_simultaneous_runs_one_wins_and_all_are_in_the_history(uri, add):
    names = [f"v{number}" for number in range(6)]
    for name in names:
        add(name)
    with ThreadPoolExecutor(6) as pool:
        entries = list(pool.map(lambda name: record(uri, name, True, "", name), names))
    champions = read_champions(uri)
    assert sorted(each.version for each in champions.history) == names
    assert [each.kind for each in entries].count("promoted") == 1
    assert champions.champion == next(e.version for e in entries if e.kind == "promoted")


def test_the_import_of_the_champion_is_repeated_with_what_it_was_given(uri, add):
    add("a")
    assert split_version(uri, "a", ImportFacts("photos", "version of a", 0)) == "base"
    for other in (
        ImportFacts("photos", "new images", 0),
        ImportFacts("photos", "version of a", 1),
        ImportFacts("other photos", "version of a", 0),
        ImportFacts("photos", "version of a", 0, "other code"),
    ):
        assert split_version(uri, "a", other) == "a"


def test_a_rollback_is_of_the_champion_that_was_seen(uri, add, monkeypatch):
    for name in "abc":
        add(name)
    record(uri, "a", True, "", "first")
    record(uri, "b", True, "a", "better")
    read, other = store.read_champions, threading.Event()

    def read_then_other(uri):
        seen = read(uri)
        if not other.is_set():
            other.set()
            record(uri, "c", True, "b", "better")
        return seen

    monkeypatch.setattr(store, "read_champions", read_then_other)
    with pytest.raises(ValueError, match="'c', which has become the champion meanwhile"):
        roll_back(uri, "by hand")
    assert read(uri).champion == "c"


@pytest.mark.parametrize("uri", ["disk"], indirect=True)
def test_a_version_without_its_last_file_is_none(add, uri):
    # In a bucket all files of a version appear at once.
    add("a")
    Path(uri, "versions/a", LINEAGE_FILE).unlink()
    with pytest.raises(ValueError, match="A version must be one of"):
        promote(uri, "a", "test")
