"""The canonical store: one Arrow IPC file per split, one row per image, memory-mapped.

Arrow rather than array-record: the same random access, and every column but the pixels (labels,
sizes, hashes) is a contiguous array that profiling reads without touching an image.
"""

import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

__all__ = ["SCHEMA", "SplitWriter", "decode_image", "encode_raw", "iterate_images", "label_lists", "open_split"]

# `image` holds uint8 [height, width, channels] pixels when `encoding` is `raw`, else a JPEG or PNG
# file that decodes to 8-bit gray or RGB as it is: import has already applied EXIF rotation, colour
# conversion and so on.
SCHEMA = pa.schema(
    [
        ("image", pa.binary()),
        ("encoding", pa.string()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("channels", pa.int8()),
        ("labels", pa.list_(pa.int32())),
        ("path", pa.string()),
        ("sha256", pa.binary(32)),
        ("signature", pa.binary(64)),
    ]
)
# Rows a batch; a batch of 32-px images is about 3 MB, one of 640-px JPEGs about 100 MB.
_ROWS = 1024
_BYTES = 64 * 2**20


class SplitWriter:
    """Writes rows of one split in constant memory."""

    def __init__(self, dataset_dir: Path, split: str) -> None:
        self._writer = pa.ipc.new_file(str(dataset_dir / f"{split}.arrow"), SCHEMA)
        self._rows: list[dict[str, Any]] = []
        self._bytes = 0

    def write(self, row: dict[str, Any]) -> None:
        """Adds a row: a dict with the fields of `SCHEMA`."""
        self._rows.append(row)
        self._bytes += len(row["image"])
        if len(self._rows) >= _ROWS or self._bytes >= _BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_batch(pa.RecordBatch.from_pylist(self._rows, schema=SCHEMA))
        self._rows, self._bytes = [], 0

    def __enter__(self) -> "SplitWriter":
        """Returns the writer."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Writes what is left and closes the file."""
        if kind is None:
            self._flush()
        self._writer.close()


def open_split(dataset_dir: Path, split: str) -> pa.Table:
    """Returns the rows of a split, memory-mapped: nothing is read until it is used.

    Raises:
        FileNotFoundError: The dataset has no such split.
    """
    path = dataset_dir / f"{split}.arrow"
    if not path.exists():
        have = sorted(file.stem for file in dataset_dir.glob("*.arrow"))
        raise FileNotFoundError(f"The dataset must have the split `{split}`. Received: {have}")
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def encode_raw(pixels: np.ndarray) -> bytes:
    """Returns the `raw` encoding of uint8 [height, width, channels] pixels."""
    return np.ascontiguousarray(pixels, np.uint8).tobytes()


def decode_image(
    image: bytes, encoding: str, height: int, width: int, channels: int
) -> np.ndarray:
    """Returns the uint8 [height, width, channels] pixels of a row."""
    if encoding == "raw":
        return np.frombuffer(image, np.uint8).reshape(height, width, channels)
    with Image.open(io.BytesIO(image)) as opened:
        return np.asarray(opened, np.uint8).reshape(height, width, channels)


def iterate_images(table: pa.Table, indices: Iterable[int]) -> Iterator[np.ndarray]:
    """Yields the pixels of the rows at `indices`, one image in memory at a time."""
    columns = [table[name] for name in ("image", "encoding", "height", "width", "channels")]
    for index in indices:
        yield decode_image(*(column[index].as_py() for column in columns))


def label_lists(table: pa.Table) -> list[list[int]]:
    """Returns the labels of every row; the list of an unlabelled image is empty."""
    return table["labels"].to_pylist()
