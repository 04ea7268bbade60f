"""A source is imported again when any file has changed that the import reads, and only then."""

import gzip
import os
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kfp_vision.components.data_import.source_version import (
    dataset_version,
    list_source_files,
    unlabeled_version,
)
from kfp_vision.components.shared.runtime.storage import upload


def _save(path: Path, shade: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8), shade, np.uint8)).save(path)


def _manifest(root: Path) -> Path:
    for index in range(6):
        _save(root / "images" / f"{index}.png", index)
    rows = [f"images/{index}.png,{'ab'[index % 2]}" for index in range(6)]
    (root / "labels.csv").write_text("\n".join(["path,label", *rows]))
    return root / "labels.csv"


def _folder_with_a_manifest(root: Path) -> Path:
    return _manifest(root).parent


def _npz(root: Path) -> Path:
    images, labels = np.zeros((6, 8, 8), np.uint8), np.arange(6) % 2
    np.savez(root / "set.npz", images=images, labels=labels)
    (root / "classes.txt").write_text("cat\ndog")
    return root / "set.npz"


def _idx(root: Path) -> Path:
    for split in ("train", "t10k"):
        with gzip.open(root / f"{split}-images-idx3-ubyte.gz", "wb") as file:
            file.write(struct.pack(">HBB3I", 0, 8, 3, 6, 8, 8) + bytes(6 * 64))
        with gzip.open(root / f"{split}-labels-idx1-ubyte.gz", "wb") as file:
            file.write(struct.pack(">HBBI", 0, 8, 1, 6) + bytes([0, 1] * 3))
    return root


def _class_folders(root: Path) -> Path:
    for label in "ab":
        for index in range(3):
            _save(root / label / f"{index}.png", index)
    _save(root / "hidden" / "shared.png", 9)
    (root / "a" / "link.png").symlink_to(root / "hidden" / "shared.png")
    return root


def _swap(first: Path, second: Path) -> None:
    third = first.with_suffix(".tmp")
    first.rename(third)
    second.rename(first)
    third.rename(second)


CASES: dict[str, tuple[Callable[[Path], Path], Callable[[Path], object]]] = {
    "images of a manifest swapped": (
        _manifest,
        lambda root: _swap(root / "images/0.png", root / "images/1.png"),
    ),
    "one deleted": (_manifest, lambda root: (root / "images/0.png").unlink()),
    "one broken": (_manifest, lambda root: (root / "images/0.png").write_bytes(b"no image")),
    "a label changed": (
        _manifest,
        lambda root: (root / "labels.csv").write_text(
            (root / "labels.csv").read_text().replace("0.png,a", "0.png,b")
        ),
    ),
    "an image below a folder with a manifest": (
        _folder_with_a_manifest,
        lambda root: _save(root / "images/0.png", 99),
    ),
    "classes.txt beside an npz": (_npz, lambda root: (root / "classes.txt").write_text("cat\nfox")),
    "classes.txt gone": (_npz, lambda root: (root / "classes.txt").unlink()),
    "the npz": (
        _npz,
        lambda root: np.savez(root / "set.npz", x=np.ones((6, 8, 8), np.uint8), y=[0, 1] * 3),
    ),
    "another file of an IDX set": (
        _idx,
        lambda root: (root / "t10k-labels-idx1-ubyte.gz").write_bytes(
            gzip.compress(struct.pack(">HBBI", 0, 8, 1, 6) + bytes([1, 0] * 3))
        ),
    ),
    "classes.txt beside an IDX set": (
        _idx,
        lambda root: (root / "classes.txt").write_text("shirt\nshoe"),
    ),
    "what a link leads to": (_class_folders, lambda root: _save(root / "hidden/shared.png", 7)),
    "an image more": (_class_folders, lambda root: _save(root / "b/new.png", 7)),
    "a manifest beside class folders": (
        _class_folders,
        lambda root: (root / "labels.csv").write_text(
            "\n".join(
                ["path,label", *(f"{k}/{i}.png,{'xy'[i % 2]}" for k in "ab" for i in range(3))]
            )
        ),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_change_of_what_is_read_is_another_version(case: str, tmp_path: Path) -> None:
    make, change = CASES[case]
    uri = str(make(tmp_path))
    before = dataset_version(uri, "auto", follow_links=False)
    assert dataset_version(f"file://{uri}", "auto", follow_links=False) == before
    change(tmp_path)
    assert dataset_version(uri, "auto", follow_links=False) != before


@pytest.mark.parametrize("make", [_manifest, _folder_with_a_manifest, _npz, _idx])
def test_what_lies_beside_a_source_does_not_count(
    make: Callable[[Path], Path], tmp_path: Path
) -> None:
    """The output of a run for instance."""
    uri = str(make(tmp_path))
    before = dataset_version(uri, "auto", follow_links=False)
    _save(tmp_path / "out" / "logs" / "page.png", 3)
    (tmp_path / "params.yaml").write_text("epochs: 3")
    assert dataset_version(uri, "auto", follow_links=False) == before


def test_a_changed_image_without_a_label_is_another_version(tmp_path: Path) -> None:
    _save(tmp_path / "deep" / "0.png", 0)
    before = unlabeled_version(str(tmp_path), follow_links=False)
    assert unlabeled_version(f"file://{tmp_path}/", follow_links=False) == before
    _save(tmp_path / "deep" / "0.png", 1)
    assert unlabeled_version(str(tmp_path), follow_links=False) != before


# Lists that make the reader open all masks beforehand, and those that do not.
_CLASS_LISTS = {
    "none": {},
    "two names": {"classes.txt": "ground\nroad"},
    "three names": {"classes.txt": "ground\nroad\nroof"},
    "numbers": {"classes.csv": "name,id\nground,0\nroad,1\nroof,2"},
    "colours": {"classes.csv": "name,r,g,b\nground,0,0,0\nroad,1,1,1\nroof,2,2,2"},
    "label map": {"labelmap.txt": "ground:0,0,0::\nroad:1,1,1::\nroof:2,2,2::"},
}


def _mask_folders(root: Path, files: dict[str, str]) -> Path:
    for index in range(3):
        _save(root / "images" / f"{index}.png", 50 + index)
        _save(root / "masks" / f"{index}.png", index % 2)
    for name, text in files.items():
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize("files", _CLASS_LISTS.values(), ids=_CLASS_LISTS)
def test_a_corrected_mask_is_another_version(files: dict[str, str], tmp_path: Path) -> None:
    uri = str(_mask_folders(tmp_path, files))
    before = dataset_version(uri, "auto", follow_links=False)
    assert dataset_version(uri, "auto", follow_links=False) == before
    _save(tmp_path / "masks/0.png", 1)
    assert dataset_version(uri, "auto", follow_links=False) != before


def test_a_corrected_mask_of_a_bucket_is_another_version(s3: str, tmp_path: Path) -> None:
    upload(_mask_folders(tmp_path, _CLASS_LISTS["three names"]), f"{s3}/set")
    before = dataset_version(f"{s3}/set", "auto", follow_links=False)
    assert dataset_version(f"{s3}/set", "auto", follow_links=False) == before
    _save(tmp_path / "masks/0.png", 1)
    upload(tmp_path / "masks/0.png", f"{s3}/set/masks/0.png")
    assert dataset_version(f"{s3}/set", "auto", follow_links=False) != before


def test_a_set_of_tfds_has_its_version_in_its_name() -> None:
    assert dataset_version("tfds:mnist:3.0.1", "auto", follow_links=False) == ""


def test_a_file_is_no_folder_of_images_without_labels(tmp_path: Path) -> None:
    _save(tmp_path / "more/0.png", 1)
    with pytest.raises(ValueError, match=r"`unlabeled_uri` must be a folder.*0\.png"):
        unlabeled_version(str(tmp_path / "more/0.png"), follow_links=False)


def test_of_a_folder_of_many_files_little_is_held(tmp_path: Path) -> None:
    count, source = 5_000, _class_folders(tmp_path / "set")
    _save(tmp_path / "more/0.png", 1)
    for index in range(1, count):
        os.link(tmp_path / "more/0.png", tmp_path / "more" / f"{index:07}.png")
    given = (str(source), "auto", str(tmp_path / "more"), False, "", "separable", "", 0)
    tracemalloc.start()
    try:
        list_source_files(*given)
        held = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # A million files in half a gigabyte.
    assert held < 500 * count
