import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from kfp_vision.components.shared.datasets import store
from kfp_vision.components.shared.datasets.loader import ImageSource
from kfp_vision.components.shared.datasets.store import (
    SplitWriter,
    class_strata,
    encode_raw,
    iterate_images,
    open_split,
    read_batches,
    write_thin_split,
)


def _row(pixels: np.ndarray, labels: list[int]) -> dict[str, Any]:
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
    assert table["labels"].to_pylist() == [[index, index + 1] for index in range(9000)]
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


_BATCH = 20
_SIDE = 64


def _write_batches(folder: Path, number: int) -> Path:
    """Writes batches of 20 images, image n of gray level n mod 256."""
    folder.mkdir()
    with SplitWriter(folder, "train") as writer:
        for start in range(0, number * _BATCH, _BATCH):
            levels = [
                np.full((_SIDE, _SIDE, 3), n % 256, np.uint8) for n in range(start, start + 20)
            ]
            rows = [_row(pixels, [0]) for pixels in levels]
            writer.write_batch(pa.RecordBatch.from_pylist(rows, schema=store.SCHEMA))
    return folder


def _bytes_allocated(dataset_dir: Path) -> tuple[int, int]:
    """Returns the most bytes that Arrow and that Python hold while 64 images are taken."""
    source = ImageSource(dataset_dir, "train", (_SIDE, _SIDE), 3, memory_budget_bytes=0)
    rows = np.linspace(0, len(source) - 1, 64).astype(np.int64)
    default, pool = pa.default_memory_pool(), pa.proxy_memory_pool(pa.default_memory_pool())
    pa.set_memory_pool(pool)
    tracemalloc.start()
    try:
        images = source.take(rows)
        python = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        pa.set_memory_pool(default)
    np.testing.assert_array_equal(images[:, 0, 0, 0], rows % 256)
    return pool.max_memory() or 0, python


def test_what_a_take_copies_does_not_depend_on_the_size_of_the_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_BYTES", 2**18)
    small = _bytes_allocated(_write_batches(tmp_path / "small", 4))
    large = _bytes_allocated(_write_batches(tmp_path / "large", 200))
    taken = 64 * _SIDE**2 * 3
    assert large[0] <= small[0]
    # The images themselves, and as much as one of them for each thread.
    assert taken <= large[1] < 1.5 * taken
    assert large[1] == pytest.approx(small[1], rel=0.2)


@pytest.mark.parametrize(
    ("labels", "strata"),
    [([[2], [0], [2]], [2, 0, 2]), ([[0, 2], [], [1], [0, 2], [0]], [3, 0, 1, 3, 2])],
)
def test_images_of_the_same_classes_are_a_stratum(
    labels: list[list[int]], strata: list[int]
) -> None:
    chunks = [labels[:1], labels[1:]]
    table = pa.table({"labels": pa.chunked_array(chunks, pa.list_(pa.int32()))})
    np.testing.assert_array_equal(class_strata(table), strata)


def test_a_thin_split_keeps_every_row_and_the_images_that_are_named(digits_dir, tmp_path):
    rows = np.array([3, 400, 999])
    write_thin_split(digits_dir, "train", rows, tmp_path)
    whole, thin = (open_split(folder, "train") for folder in (digits_dir, tmp_path))
    assert thin.schema == whole.schema
    others = [name for name in whole.column_names if name != "image"]
    assert thin.select(others) == whole.select(others)
    images = np.array(thin["image"].to_pylist(), object)
    assert np.flatnonzero(images).tolist() == rows.tolist()
    assert images[rows].tolist() == [whole["image"][int(row)].as_py() for row in rows]
    sizes = [(folder / "train.arrow").stat().st_size for folder in (digits_dir, tmp_path)]
    # 997 images of 256 bytes less.
    assert sizes[0] - sizes[1] == pytest.approx(997 * 256, rel=0.01)
