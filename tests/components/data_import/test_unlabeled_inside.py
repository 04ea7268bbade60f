"""Images without labels in the folder of the dataset: they are these, once, and nothing else."""

import os
from pathlib import Path
from typing import Any

import annotated_sets as sets
import numpy as np
import pytest
from PIL import Image

from kfp_vision.components.data_import.chosen_files import labelled_files
from kfp_vision.components.data_import.source_version import list_source_files
from kfp_vision.components.shared.datasets.store import open_split
from kfp_vision.components.shared.runtime.storage import upload

LAYOUTS = {
    "splits": ("train/a", "train/b", "test/a", "test/b"),
    "classes": ("a", "b"),
    "splits in classes": ("a/train", "a/test", "b/train", "b/test"),
}


def by_name(root: Path, inside: str) -> str:
    return f"{root}/{inside}"


def with_a_slash(root: Path, inside: str) -> str:
    return f"file://{root}/{inside}//"


def relative(root: Path, inside: str) -> str:
    return os.path.relpath(root / inside)


def through_a_link_from_outside(root: Path, inside: str) -> str:
    link = root.parent / "link"
    link.symlink_to(root / inside)
    return str(link)


def through_a_link_to_outside(root: Path, inside: str) -> str:
    (root / inside).rename(root.parent / "pool")
    (root / inside).symlink_to(root.parent / "pool")
    (root / inside).with_name("again").symlink_to(root.parent / "pool")
    return f"{root}/{inside}"


def what_a_link_leads_to(root: Path, inside: str) -> str:
    through_a_link_to_outside(root, inside)
    return str(root.parent / "pool")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("inside", "write", "follow_links"),
    [
        ("unlabeled", by_name, False),
        ("extra", by_name, False),
        ("more/extra", by_name, False),
        ("extra", with_a_slash, False),
        ("extra", relative, False),
        ("extra", through_a_link_from_outside, False),
        ("extra", through_a_link_to_outside, False),
        ("more/extra", through_a_link_to_outside, True),
        ("extra", what_a_link_leads_to, False),
    ],
)
def test_they_change_nothing_about_the_dataset(
    layout, inside, write, follow_links, tmp_path, save_images, import_into
):
    for folder in LAYOUTS[layout]:
        save_images(tmp_path / "set" / folder, 8)
    alone, _ = import_into(tmp_path / "set", follow_links=follow_links)
    save_images(tmp_path / "set" / inside, 5)
    uri = write(tmp_path / "set", inside)
    info, folder = import_into(tmp_path / "set", unlabeled_uri=uri, follow_links=follow_links)
    assert (info.splits, info.rejected) == ({**alone.splits, "unlabeled": 5}, {})
    assert (info.classes, info.notes) == (alone.classes, alone.notes)
    assert sorted(open_split(folder, "unlabeled")["path"].to_pylist()) == [
        f"{number}.png" for number in range(5)
    ]


def test_those_in_a_bucket_change_nothing_about_its_dataset(s3, tmp_path, save_images, import_into):
    for folder in LAYOUTS["classes"]:
        save_images(tmp_path / "set" / folder, 8)
    alone, _ = import_into(tmp_path / "set")
    save_images(tmp_path / "set/more/extra", 5)
    upload(tmp_path / "set", f"{s3}/set")
    info, _ = import_into(f"{s3}/set/", unlabeled_uri=f"{s3}/set/more/extra/")
    assert (info.splits, info.rejected) == ({**alone.splits, "unlabeled": 5}, {})
    assert (info.classes, info.notes) == (alone.classes, alone.notes)


def write_table(root: Path) -> None:
    save_noise(root / "images", 20)
    rows = [f"images/{number}.png,{number % 2}" for number in range(20)]
    (root / "labels.csv").write_text("\n".join(["path,label", *rows]))


def write_masks(root: Path) -> None:
    save_noise(root / "images", 12)
    (root / "masks").mkdir()
    for number in range(12):
        mask = np.random.default_rng(number).integers(0, 3, (8, 8), np.uint8)
        Image.fromarray(mask).save(root / "masks" / f"{number}.png")


def write_arrays(root: Path) -> None:
    root.mkdir()
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8), np.uint8)
    np.savez(root / "set.npz", images=images, labels=np.arange(40) % 2)


def write_boxes(root: Path) -> None:
    sets.write_table(root, "path,xmin,ymin,xmax,ymax,label", sets.corners)


def save_noise(folder: Path, count: int) -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")


@pytest.mark.parametrize(
    "write",
    [
        write_table,
        write_masks,
        write_arrays,
        sets.write_coco,
        sets.write_voc,
        sets.write_yolo,
        write_boxes,
    ],
)
def test_no_format_names_them_as_unused(write, tmp_path, save_images, import_into):
    write(tmp_path / "set")
    alone, _ = import_into(tmp_path / "set")
    # Where mask folders would look for images.
    save_images(tmp_path / "set/more/images", 5)
    uri = f"{tmp_path}/set/more"
    info, _ = import_into(tmp_path / "set", unlabeled_uri=uri)
    assert (info.splits, info.rejected) == ({**alone.splits, "unlabeled": 5}, alone.rejected)
    assert info.notes == alone.notes


@pytest.mark.parametrize("place", ["", "/images"])
def test_images_that_a_table_labels_keep_their_labels(place, tmp_path, import_into):
    save_noise(tmp_path / "images", 30)
    # By their names alone; the last ones are listed without a label, or not at all.
    rows = [f"{number},{number % 2}" for number in range(20)] + ["20,", "21,-1"]
    (tmp_path / "labels.csv").write_text("\n".join(["path,label", *rows]))
    info, folder = import_into(tmp_path, unlabeled_uri=f"{tmp_path}{place}")
    assert sum(info.splits.values()) == 30
    names = {Path(path).name for path in open_split(folder, "unlabeled")["path"].to_pylist()}
    assert names == {f"{number}.png" for number in range(20, 30)}
    assert not {"no_label", "negative_label"} & info.rejected.keys()


def test_they_are_read_as_one_file_each(tmp_path, save_images):
    for folder in LAYOUTS["classes"]:
        save_images(tmp_path / folder, 8)
    save_images(tmp_path / "extra", 5)
    uris: dict[str, Any] = {
        "dataset_uri": str(tmp_path),
        "dataset_format": "auto",
        "unlabeled_uri": f"{tmp_path}/extra",
        "follow_links": False,
        **dict.fromkeys(("recipe_uri", "architecture", "champion_uri"), ""),
        "seed": 0,
    }
    # Three classes would be no binary task.
    found = list_source_files(**uris, task="binary")
    assert len(found.hashes) == 21
    (tmp_path / "extra/0.png").unlink()
    later = list_source_files(**uris)
    changed = {name for name, value in later.versions.items() if value != found.versions[name]}
    assert changed == {"unlabeled_version"}
    labels = {names for _, names, _ in labelled_files(*list(uris.values())[:4])}
    assert labels == {("a",), ("b",)}
