"""The parts of a cache key that KFP does not see: one for each URI."""

import inspect
from pathlib import Path
from typing import Any

import pytest

from kfp_vision.components.data_import.component import list_sources
from kfp_vision.components.data_import.source_version import Versions, list_source_files
from kfp_vision.components.shared.champions.store import (
    ImportFacts,
    Lineage,
    add_version,
    promote,
)
from kfp_vision.components.shared.recipe.document import Recipe, Setting, write_recipe
from kfp_vision.components.shared.runtime.storage import StorageError, upload


def _write_recipe(path: Path, architecture: Path | None = None, batch_size: int = 8) -> None:
    sections = {"training": {"batch_size": Setting(batch_size, "by hand", source="user")}}
    if architecture:
        sections["model"] = {"architecture": Setting(str(architecture), "by hand", source="user")}
    write_recipe(Recipe(sections), path)


@pytest.fixture
def sources(tmp_path, save_images) -> Path:
    for name in ("data/cat", "data/dog", "unlabeled"):
        save_images(tmp_path / name)
    (tmp_path / "mine.keras").write_bytes(b"a model")
    _crown(tmp_path / "champions", "first")
    _write_recipe(tmp_path / "recipe.json")
    return tmp_path


def _crown(folder: Path, version: str) -> None:
    imported = ImportFacts("other images", "", 0)
    add_version(
        str(folder), {}, Lineage(version, "", "", "", imported, "", {}, "accuracy", {}, {}, {})
    )
    promote(str(folder), version, "test")


def _versions(sources: Path | str, **changes: str) -> Versions:
    given: dict[str, Any] = {
        "dataset_uri": f"{sources}/data",
        "unlabeled_uri": f"{sources}/unlabeled",
        "recipe_uri": f"{sources}/recipe.json",
        "architecture": f"{sources}/mine.keras",
        "champion_uri": f"{sources}/champions",
    }
    given |= changes
    found = list_source_files(**given, dataset_format="auto", follow_links=False, seed=0)
    return Versions(*(found.versions[name] for name in Versions._fields))


def _changed(before: Versions, after: Versions) -> set[str]:
    now = after._asdict()
    return {name for name, version in before._asdict().items() if now[name] != version}


CHANGES = {
    "dataset_version": lambda root: next((root / "data/cat").iterdir()).unlink(),
    "unlabeled_version": lambda root: next((root / "unlabeled").iterdir()).unlink(),
    "recipe_version": lambda root: _write_recipe(root / "recipe.json", batch_size=9),
    "architecture_version": lambda root: (root / "mine.keras").write_bytes(b"b model"),
}


@pytest.mark.parametrize("version", CHANGES)
def test_a_change_behind_one_uri_changes_its_version_alone(sources, version):
    before = _versions(sources)
    assert _versions(sources) == before
    assert "" not in before
    CHANGES[version](sources)
    assert _changed(before, _versions(sources)) == {version}


def test_new_images_in_a_bucket_change_the_version(sources, save_images, s3):
    upload(sources, f"{s3}/sources")
    before = _versions(f"{s3}/sources")
    assert _versions(f"{s3}/sources") == before
    save_images(sources / "more", 1)
    upload(sources / "more" / "0.png", f"{s3}/sources/data/cat/new.png")
    assert _changed(before, _versions(f"{s3}/sources")) == {"dataset_version"}


def test_another_champion_is_seen(sources):
    before = _versions(sources)
    assert (before.champion_version, before.split_version) == ("first", "first")
    _crown(sources / "champions", "second")
    after = _versions(sources)
    assert (after.champion_version, after.split_version) == ("second", "second")
    assert _changed(before, after) == {"champion_version", "split_version"}


def test_a_model_file_that_the_recipe_names_has_a_version(sources):
    _write_recipe(sources / "recipe.json", sources / "mine.keras")
    before = _versions(sources, architecture="auto")
    CHANGES["architecture_version"](sources)
    after = _versions(sources, architecture="auto")
    assert _changed(before, after) == {"architecture_version"}


def test_what_is_not_asked_for_has_none(tmp_path):
    changes = dict.fromkeys(("unlabeled_uri", "recipe_uri", "champion_uri"), "")
    changes["dataset_uri"] = "tfds:mnist"
    assert _versions(tmp_path, **changes, architecture="resnet20") == Versions(
        "", "", "", "resnet20", "", ""
    )


@pytest.mark.parametrize("name", ["dataset_uri", "recipe_uri", "architecture"])
def test_what_cannot_be_read_has_no_version(sources, name):
    with pytest.raises(StorageError, match="Cannot reach"):
        _versions(sources, **{name: "/no/such/file.keras"})


def test_the_task_returns_the_versions_by_their_names():
    outputs = inspect.signature(list_sources.python_func).return_annotation
    assert outputs._fields == Versions._fields
    assert list(list_sources.component_spec.outputs) == ["sources", *Versions._fields]
