"""Imports of a growing source: known images keep their split, new ones are split as usual."""

import numpy as np
import pytest
from PIL import Image

from kfp_vision.components.data_import.importer import ImportConfig, import_dataset
from kfp_vision.components.shared.champions.known_images import KnownImages
from kfp_vision.components.shared.datasets.store import open_split

SPLITS = ("train", "validation", "test")


def import_known(source, folder, known, seed):
    info = import_dataset(str(source), folder, ImportConfig(seed=seed), known)
    return info, known.updated(folder, info.splits)


def split_of_digests(folder):
    return {
        digest: split
        for split in SPLITS
        for digest in open_split(folder, split)["source_sha256"].to_pylist()
    }


def test_a_source_grows(tmp_path, save_images, noise):
    source = tmp_path / "photos"
    for name in ("cat", "dog"):
        save_images(source / name, 50)
    first, known = import_known(source, tmp_path / "1", KnownImages(), seed=0)
    before = split_of_digests(tmp_path / "1")
    assert len(known) == 100
    # One is removed, and comes back later; 40 are new, and so is a class.
    (source / "cat/0.png").rename(tmp_path / "0.png")
    for index in range(20):
        for name in ("cat", "dog"):
            Image.fromarray(noise()).save(source / name / f"new-{index}.png")
    save_images(source / "emu", 30)
    # Another seed would draw other splits.
    second, known = import_known(source, tmp_path / "2", known, seed=7)
    after = split_of_digests(tmp_path / "2")
    assert len(known) == len(before.keys() | after.keys()) == 170
    assert {split for digest, split in before.items() if after.get(digest, split) != split} == set()
    new = [split for digest, split in after.items() if digest not in before]
    assert 3 <= new.count("test") <= 12
    assert 3 <= new.count("validation") <= 12
    assert sum(second.splits.values()) == 169
    (line,) = (note for note in second.notes if "for the champion" in note)
    assert "99 images" in line
    assert "70 images are new" in line

    (tmp_path / "0.png").rename(source / "cat/0.png")
    third, _ = import_known(source, tmp_path / "3", known, seed=9)
    assert split_of_digests(tmp_path / "3") == before | after
    assert any("170 images" in note and "0 images are new" in note for note in third.notes)


def test_images_that_come_one_a_night_reach_all_splits(tmp_path, save_images, noise):
    source = tmp_path / "photos"
    for name in ("cat", "dog"):
        save_images(source / name, 20)
    info, known = import_known(source, tmp_path / "0", KnownImages(), seed=0)
    for night in range(1, 21):
        before = info.splits
        Image.fromarray(noise()).save(source / "cat" / f"new-{night}.png")
        info, known = import_known(source, tmp_path / str(night), known, seed=0)
        assert all(info.splits[name] >= before[name] for name in SPLITS)
    # 10 % of 40 and of 20.
    assert info.splits == {"train": 48, "validation": 6, "test": 6}


@pytest.mark.parametrize("split", SPLITS)
def test_a_new_near_duplicate_goes_where_the_known_image_is(tmp_path, split):
    source, random = tmp_path / "photos", np.random.default_rng(0)
    for name in ("cat", "dog"):
        (source / name).mkdir(parents=True)
        for index in range(40):
            small = random.integers(0, 256, (8, 8, 3), np.uint8)
            Image.fromarray(small).resize((64, 64), Image.Resampling.BICUBIC).save(
                source / name / f"{index}.png"
            )
    _, known = import_known(source, tmp_path / "1", KnownImages(), seed=0)
    path = open_split(tmp_path / "1", split)["path"][0].as_py()
    copy = (source / path).with_suffix(".jpg")
    Image.open(source / path).save(copy, quality=80)
    import_known(source, tmp_path / "2", known, seed=1)
    held = open_split(tmp_path / "2", split)["path"].to_pylist()
    assert copy.relative_to(source).as_posix() in held


def test_a_brighter_image_leaves_the_others_known(tmp_path):
    source, random = tmp_path / "photos", np.random.default_rng(0)

    def save(name, brightest):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, brightest, (16, 16), np.uint16)).save(source / name)

    for index in range(60):
        save(f"{'cat' if index % 2 else 'dog'}/{index}.png", 2**10)
    first, known = import_known(source, tmp_path / "1", KnownImages(), seed=0)
    before = split_of_digests(tmp_path / "1")
    for index in range(4):
        save(f"cat/bright-{index}.png", 2**14)
    # Another white level for all images, and another seed.
    second, _ = import_known(source, tmp_path / "2", known, seed=1)
    assert (first.white_level, second.white_level) == (2**10 - 1, 2**14 - 1)
    after = split_of_digests(tmp_path / "2")
    assert before.items() <= after.items()
    assert len(after) == 64


def test_splits_that_the_source_gives_go_before(tmp_path, save_images):
    source = tmp_path / "photos"
    for split in SPLITS:
        for name in ("cat", "dog"):
            save_images(source / split / name, 6)
    _, known = import_known(source, tmp_path / "1", KnownImages(), seed=0)
    (source / "test/cat/0.png").rename(source / "train/cat/moved.png")
    info, _ = import_known(source, tmp_path / "2", known, seed=0)
    assert info.splits == {"train": 13, "validation": 12, "test": 11}
