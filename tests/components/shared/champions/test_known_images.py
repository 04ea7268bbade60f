"""Images and their splits: nothing is forgotten, and what was learned stays learned."""

import os

import numpy as np
import pyarrow as pa
import pytest

from kfp_vision.components.shared.champions.known_images import KnownImages, read_known_images
from kfp_vision.components.shared.datasets.store import SCHEMA, SplitWriter


def digest(number):
    return bytes([number, *[0] * 30, number])


def write(folder, **splits):
    folder.mkdir()
    for split, numbers in splits.items():
        with SplitWriter(folder, split) as writer:
            for number in numbers:
                empty = dict.fromkeys(SCHEMA.names)
                writer.write({**empty, "source_sha256": digest(number)})
    return folder


def splits_of(known, *numbers):
    return known.splits_of(pa.array([digest(each) for each in numbers], pa.binary(32))).tolist()


def test_images_keep_their_split_and_are_not_forgotten(tmp_path):
    first = KnownImages().updated(
        write(tmp_path / "1", train=[1, 2], validation=[3], test=[4, 5], unlabeled=[9]),
        ["train", "validation", "test", "unlabeled"],
    )
    assert splits_of(first, 1, 2, 3, 4, 5, 6, 9) == [
        "train", "train", "validation", "test", "test", "", "",
    ]  # fmt: skip
    # 1 and 4 are gone; the source has moved 5 to train.
    second = first.updated(write(tmp_path / "2", train=[2, 5], test=[6]), ["train", "test"])
    assert len(second) == 6
    assert splits_of(second, *range(1, 7)) == [
        "train", "train", "validation", "test", "train", "test",
    ]  # fmt: skip


def test_a_copy_in_train_is_an_image_of_train(tmp_path):
    dataset = write(tmp_path / "1", test=[1, 2], validation=[2, 3], train=[3, 3])
    known = KnownImages().updated(dataset, ["train", "validation", "test"])
    assert splits_of(known, 1, 2, 3) == ["test", "validation", "train"]
    assert len(known) == 3


def test_the_file_holds_33_bytes_an_image_and_comes_back(tmp_path):
    dataset = write(tmp_path / "1", train=[1])
    drawn = np.frombuffer(os.urandom(32 * 20_000), "V32")
    batch = pa.RecordBatch.from_pydict(
        dict.fromkeys(SCHEMA.names, [None] * len(drawn)) | {"source_sha256": drawn.tolist()}, SCHEMA
    )
    with SplitWriter(dataset, "test") as writer:
        writer.write_batch(batch)
    known = KnownImages().updated(dataset, ["train", "test"])
    known.write(tmp_path / "images.parquet")
    assert (tmp_path / "images.parquet").stat().st_size < 34 * len(drawn)
    back = read_known_images(tmp_path / "images.parquet")
    assert set(back.splits_of(pa.array(drawn.tolist(), pa.binary(32)))) == {"test"}
    assert splits_of(back, 1, 2) == ["train", ""]


def test_another_file_is_refused(tmp_path):
    (tmp_path / "images.parquet").write_bytes(b"PAR")
    with pytest.raises(ValueError, match="must hold digests and splits"):
        read_known_images(tmp_path / "images.parquet")
