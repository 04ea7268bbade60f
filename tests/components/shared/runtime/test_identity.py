"""Names of results: new when content changes, the same wherever the content lies."""

import dataclasses
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json, write_json
from kfp_vision.components.shared.recipe.document import Recipe, Setting
from kfp_vision.components.shared.runtime.identity import (
    architecture_digest,
    content_digest,
    listing_digest,
    training_identity,
)
from kfp_vision.components.shared.runtime.storage import StorageError, open_folder

ROOT = Path(__file__).parents[4]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("a.png", "b.png", "deep/c.png"):
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12345")
    (tmp_path / "elsewhere.png").write_bytes(b"12345")
    (tmp_path / "tree" / "link.png").symlink_to(tmp_path / "elsewhere.png")
    return tmp_path / "tree"


def _rewrite(path: Path) -> None:
    path.write_bytes(b"54321")


def _rewrite_with_the_old_time(path: Path) -> None:
    before = path.stat()
    path.write_bytes(b"54321")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


CHANGES: dict[str, Callable[[Path], object]] = {
    "one more": lambda tree: (tree / "d.png").write_bytes(b""),
    "one less": lambda tree: (tree / "b.png").unlink(),
    "another name": lambda tree: (tree / "b.png").rename(tree / "d.png"),
    "another size": lambda tree: (tree / "b.png").write_bytes(b"1234"),
    "the same size": lambda tree: _rewrite(tree / "b.png"),
    "the same size and time": lambda tree: _rewrite_with_the_old_time(tree / "b.png"),
    "deep down": lambda tree: _rewrite(tree / "deep" / "c.png"),
    "what a link leads to": lambda tree: _rewrite(tree.parent / "elsewhere.png"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_digest_of_a_listing_sees_a_change(change: str, tree: Path) -> None:
    def digest(prefix: str) -> str:
        folder, _ = open_folder(f"{prefix}{tree}")
        return listing_digest(folder, folder.list_files())

    before = digest("")
    assert digest("file://") == before
    CHANGES[change](tree)
    assert digest("") != before


def test_a_listed_file_that_appears_is_a_change(tree: Path) -> None:
    folder, _ = open_folder(str(tree))
    before = listing_digest(folder, ["later.png"])
    (tree / "later.png").write_bytes(b"")
    assert listing_digest(folder, ["later.png"]) != before


def test_the_digest_of_a_file_is_that_of_its_content(tree: Path) -> None:
    assert content_digest(f"file://{tree}/a.png") == content_digest(str(tree / "link.png"))
    with pytest.raises(ValueError, match="must be that of a file"):
        content_digest(str(tree))
    with pytest.raises(StorageError, match="Cannot reach"):
        content_digest(str(tree / "gone"))


def test_an_architecture_is_a_name_or_what_is_in_its_file(tree: Path) -> None:
    assert architecture_digest("resnet20") == "resnet20"
    model = tree / "model.keras"
    shutil.copy(tree / "a.png", model)
    before = architecture_digest(str(model))
    assert before == content_digest(str(tree / "b.png"))
    _rewrite(model)
    assert architecture_digest(str(model)) != before


def _recipe(architecture: str, batch_size: int = 8, evidence: float = 1.0) -> Recipe:
    sections = {
        "model": {"architecture": Setting(architecture, "by hand", source="user")},
        "training": {"batch_size": Setting(batch_size, "probe", {"seconds": evidence})},
    }
    return Recipe(sections)


def test_only_what_weights_depend_on_makes_another_training(
    digits_dir: Path, digits_by_class_dir: Path, tree: Path, tmp_path: Path
) -> None:
    first, moved = tree / "a.png", tmp_path / "moved.keras"
    shutil.copy(first, moved)
    base = training_identity(digits_dir, _recipe(str(first)), seed=0)
    copy = tmp_path / "copy"
    shutil.copytree(digits_dir, copy)
    info = read_json(DatasetInfo, copy / "dataset.json")
    noted = dataclasses.replace(info, notes=["another"], source_uri="elsewhere")
    write_json(noted, copy / "dataset.json")
    assert training_identity(digits_dir, _recipe(str(moved)), seed=0) == base
    assert training_identity(digits_dir, _recipe(str(first), evidence=2.0), seed=0) == base
    assert training_identity(copy, _recipe(str(first)), seed=0) == base
    others = [
        training_identity(digits_dir, _recipe(str(first)), seed=1),
        training_identity(digits_dir, _recipe(str(first), batch_size=16), seed=0),
        training_identity(digits_dir, _recipe("resnet20"), seed=0),
        training_identity(digits_by_class_dir, _recipe(str(first)), seed=0),
    ]
    mirrored = dataclasses.replace(info, keypoint_names=["left", "right"], keypoint_swaps=[[0, 1]])
    write_json(mirrored, copy / "dataset.json")
    others.append(training_identity(copy, _recipe(str(first)), seed=0))
    _rewrite(first)
    others.append(training_identity(digits_dir, _recipe(str(first)), seed=0))
    assert len({base, *others}) == 1 + len(others)


def test_the_same_images_in_another_order_are_another_training(
    tmp_path: Path, digits_dir: Path
) -> None:
    """Batches, and what the trials hold out, are positions."""
    from kfp_vision.components.shared.datasets.store import SplitWriter, open_split

    turned = tmp_path / "turned"
    shutil.copytree(digits_dir, turned)
    rows = open_split(digits_dir, "train").to_pylist()
    with SplitWriter(turned, "train") as writer:
        for row in reversed(rows):
            writer.write(row)
    recipe = _recipe("resnet20")
    assert training_identity(turned, recipe) != training_identity(digits_dir, recipe)
