"""The parts of a cache key that KFP does not see: one for each URI."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from kfp_vision.components.shared.recipe.document import Recipe, Setting, write_recipe
from kfp_vision.pipelines.local.source_versions import source_versions
from kfp_vision.pipelines.parameters import Parameters


def _write_recipe(path: Path, architecture: Path | None = None, batch_size: int = 8) -> None:
    sections = {"training": {"batch_size": Setting(batch_size, "by hand", source="user")}}
    if architecture:
        sections["model"] = {"architecture": Setting(str(architecture), "by hand", source="user")}
    write_recipe(Recipe(sections), path)


@pytest.fixture
def sources(tmp_path, digits_folder) -> Path:
    for label in (0, 1):
        shutil.copytree(digits_folder / f"digit {label}", tmp_path / "data" / str(label))
    shutil.copytree(digits_folder / "digit 2", tmp_path / "unlabeled")
    (tmp_path / "mine.keras").write_bytes(b"a model")
    _write_recipe(tmp_path / "recipe.json")
    return tmp_path


def _parameters(sources, **changes) -> Parameters:
    given = {
        "dataset_uri": sources / "data",
        "unlabeled_uri": sources / "unlabeled",
        "recipe_uri": sources / "recipe.json",
        "architecture": sources / "mine.keras",
        "output_uri": sources / "out",
    }
    texts: dict[str, Any] = {name: str(value) for name, value in (given | changes).items()}
    return Parameters(**texts)


CHANGES = {
    "dataset_version": lambda root: next((root / "data/0").iterdir()).unlink(),
    "unlabeled_version": lambda root: next((root / "unlabeled").iterdir()).unlink(),
    "recipe_version": lambda root: _write_recipe(root / "recipe.json", batch_size=9),
    "architecture_version": lambda root: (root / "mine.keras").write_bytes(b"b model"),
}


@pytest.mark.parametrize("version", CHANGES)
def test_a_change_behind_one_uri_changes_its_version_alone(sources, version):
    before = source_versions(_parameters(sources))
    assert source_versions(_parameters(sources)) == before
    assert "" not in before.values()
    CHANGES[version](sources)
    after = source_versions(_parameters(sources))
    assert {name for name in before if after[name] != before[name]} == {version}


def test_a_model_file_that_the_recipe_names_has_a_version(sources):
    _write_recipe(sources / "recipe.json", sources / "mine.keras")
    parameters = _parameters(sources, architecture="auto")
    before = source_versions(parameters)
    CHANGES["architecture_version"](sources)
    after = source_versions(parameters)
    assert {name for name in before if after[name] != before[name]} == {"architecture_version"}


def test_what_is_not_asked_for_has_none(tmp_path):
    changes = {"unlabeled_uri": "", "recipe_uri": "", "dataset_uri": "tfds:mnist"}
    versions = source_versions(_parameters(tmp_path, **changes, architecture="resnet20"))
    assert versions == {
        "dataset_version": "",
        "unlabeled_version": "",
        "recipe_version": "",
        "architecture_version": "resnet20",
    }


def test_what_cannot_be_read_is_never_taken_from_the_cache(tmp_path):
    changes = {"dataset_uri": "/no/such/folder", "recipe_uri": "", "unlabeled_uri": ""}
    parameters = _parameters(tmp_path, **changes, architecture="/no/such/file.keras")
    first, second = source_versions(parameters), source_versions(parameters)
    for name in ("dataset_version", "architecture_version"):
        assert first[name] != second[name]
