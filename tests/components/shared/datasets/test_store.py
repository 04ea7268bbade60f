import numpy as np
import pytest

from kfp_vision.components.shared.datasets.store import (
    SplitWriter,
    encode_raw,
    iterate_images,
    label_lists,
    open_split,
    read_batches,
)


def _row(pixels: np.ndarray, labels: list[int]) -> dict:
    height, width, channels = pixels.shape
    return {
        "image": encode_raw(pixels),
        "encoding": "raw",
        "height": height,
        "width": width,
        "channels": channels,
        "labels": labels,
        "path": f"{labels}",
        "sha256": bytes(32),
        "signature": bytes(64),
    }


def test_rows_come_back_in_order_and_by_index(tmp_path):
    random = np.random.default_rng(0)
    images = [random.integers(0, 256, (4, 3 + i % 2, 1 + i % 3), np.uint8) for i in range(9000)]
    with SplitWriter(tmp_path, "train") as writer:
        for index, pixels in enumerate(images):
            writer.write(_row(pixels, [index, index + 1]))
    table = open_split(tmp_path, "train")
    order = random.permutation(len(images))
    for index, pixels in zip(order, iterate_images(table, order), strict=True):
        np.testing.assert_array_equal(pixels, images[index])
    assert label_lists(table) == [[index, index + 1] for index in range(9000)]
    assert sum(batch.num_rows for batch in read_batches(tmp_path, "train")) == 9000


def test_a_split_without_rows_can_be_read(tmp_path):
    with SplitWriter(tmp_path, "test"):
        pass
    assert open_split(tmp_path, "test").num_rows == 0


def test_a_missing_split_names_those_that_exist(tmp_path):
    with SplitWriter(tmp_path, "train"):
        pass
    with pytest.raises(FileNotFoundError, match=r"split `test`. Received: \['train'\]"):
        open_split(tmp_path, "test")
