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
import pyarrow.compute as pc
from PIL import Image

__all__ = [
    "PIXEL_COLUMNS",
    "SCHEMA",
    "SplitWriter",
    "class_strata",
    "decode_image",
    "encode_raw",
    "iterate_images",
    "label_arrays",
    "list_arrays",
    "open_split",
    "read_batches",
    "write_thin_split",
]

# What every task has; a task adds its own columns, such as masks. `labels` are the classes that the
# image shows: splits are made and balance is judged by them, whatever the task.
# `image` holds uint8 [height, width, channels] pixels when `encoding` is `raw`, else a JPEG or PNG
# file that decodes to 8-bit gray or RGB as it is: import has already applied EXIF rotation, colour
# conversion and so on. `sha256` is of shape and pixels; `source_sha256` of those before 16 bits
# were scaled by the brightest pixel of the set, so that it stays when other images come.
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
        ("source_sha256", pa.binary(32)),
        ("signature", pa.binary(64)),
    ]
)
PIXEL_COLUMNS = ("image", "encoding", "height", "width", "channels")
# A batch ends at whichever comes first: 8192 32-px images are 24 MB, 64 MiB is 13 camera JPEGs.
_ROWS = 8192
_BYTES = 64 * 2**20


class SplitWriter:
    """Writes the rows of one split in constant memory, as batches that are quick to index."""

    def __init__(self, dataset_dir: Path, split: str, schema: pa.Schema = SCHEMA) -> None:
        self._schema = schema
        self._writer = pa.ipc.new_file(str(dataset_dir / f"{split}.arrow"), schema)
        self._batches: list[pa.RecordBatch] = []
        self._rows = self._bytes = 0

    def write(self, row: dict[str, Any]) -> None:
        """Adds a row: a dict with the fields of the schema."""
        self.write_batch(pa.RecordBatch.from_pylist([row], schema=self._schema))

    def write_batch(self, batch: pa.RecordBatch) -> None:
        """Adds the rows of a batch that has the schema."""
        self._batches.append(batch)
        self._rows += batch.num_rows
        self._bytes += batch.nbytes
        if self._rows >= _ROWS or self._bytes >= _BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_batch(pa.concat_batches(self._batches))
        self._batches, self._rows, self._bytes = [], 0, 0

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

    Args:
        dataset_dir: Folder of the dataset.
        split: One of `SPLITS`, or several joined by `+`, whose rows follow one another.

    Raises:
        FileNotFoundError: The dataset has no such split.
    """
    return pa.concat_tables(_open_one(dataset_dir, name) for name in split.split("+"))


def _open_one(dataset_dir: Path, split: str) -> pa.Table:
    path = dataset_dir / f"{split}.arrow"
    if not path.exists():
        have = sorted(file.stem for file in dataset_dir.glob("*.arrow"))
        raise FileNotFoundError(f"The dataset must have the split `{split}`. Received: {have}")
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def write_thin_split(dataset_dir: Path, split: str, rows: np.ndarray, output_dir: Path) -> None:
    """Writes a split of which only some rows have their image.

    The others keep their place and all they have beside it: positions and digests of the split stay
    what they were.

    Args:
        dataset_dir: Folder of the dataset.
        split: One of `SPLITS`.
        rows: Positions of those that keep their image, int [N].
        output_dir: Another folder.
    """
    table, start = open_split(dataset_dir, split), 0
    is_kept, column = np.zeros(table.num_rows, bool), table.schema.get_field_index("image")
    is_kept[rows] = True
    with pa.ipc.new_file(str(output_dir / f"{split}.arrow"), table.schema) as writer:
        # Memory-mapped: what is left out is not read either.
        for batch in table.to_batches():
            kept = pa.array(is_kept[start : start + batch.num_rows])
            start += batch.num_rows
            images = pc.if_else(kept, batch["image"], pa.scalar(b"", pa.binary()))
            writer.write_batch(batch.set_column(column, table.schema.field(column), images))


def read_batches(dataset_dir: Path, split: str) -> Iterator[pa.RecordBatch]:
    """Yields the batches of a split in order, one in memory at a time."""
    # Not memory-mapped: pages of a map count as resident memory until the kernel wants them back.
    with (
        pa.OSFile(str(dataset_dir / f"{split}.arrow")) as file,
        pa.ipc.open_file(file) as reader,
    ):
        for index in range(reader.num_record_batches):
            yield reader.get_batch(index)


def encode_raw(pixels: np.ndarray) -> bytes:
    """Returns the `raw` encoding of uint8 [height, width, channels] pixels."""
    return np.ascontiguousarray(pixels, np.uint8).tobytes()


def decode_image(
    image: bytes | pa.Buffer, encoding: str, height: int, width: int, channels: int
) -> np.ndarray:
    """Returns the uint8 [height, width, channels] pixels of a row."""
    if encoding == "raw":
        return np.frombuffer(image, np.uint8).reshape(height, width, channels)
    with Image.open(io.BytesIO(image)) as opened:
        return np.asarray(opened, np.uint8).reshape(height, width, channels)


def iterate_images(table: pa.Table, indices: Iterable[int]) -> Iterator[np.ndarray]:
    """Yields the pixels of the rows at `indices`, one image in memory at a time.

    What a row costs does not depend on the size of the split: each is found in its batch, and only
    its bytes are read. `Table.take` would join the batches first, which copies the whole split and
    ends at 2 GiB, the most that the offsets of a `binary` array can count.
    """
    images, *columns = (table[name] for name in PIXEL_COLUMNS)
    for index in map(int, indices):
        yield decode_image(images[index].as_buffer(), *(each[index].as_py() for each in columns))


def label_arrays(table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """Returns `list_arrays` of the labels: int32 [L], and int64 [N + 1].

    An unlabelled image has none.
    """
    return list_arrays(table["labels"])


def list_arrays(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Returns what the lists of all rows hold, [L], and where those of each start.

    The starts are int64 [N + 1]: row n has `values[starts[n]:starts[n + 1]]`.
    """
    dtype = column.type.value_type.to_pandas_dtype()
    lengths, values = [np.zeros(1, np.int64)], [np.empty(0, dtype)]
    for chunk in column.iterchunks():
        lengths.append(np.diff(chunk.offsets.to_numpy()).astype(np.int64))
        values.append(chunk.flatten().to_numpy(zero_copy_only=False))
    return np.concatenate(values), np.cumsum(np.concatenate(lengths))


def class_strata(table: pa.Table) -> np.ndarray:
    """Returns a number for each row, int [N], the same for images of the same classes."""
    labels, starts = label_arrays(table)
    if (np.diff(starts) == 1).all():
        return labels
    sets = [frozenset(part.tolist()) for part in np.split(labels, starts[1:-1])]
    classes = sorted(set(labels.tolist()))
    ordered = sorted(set(sets), key=lambda held: [each in held for each in classes])
    numbers = {held: number for number, held in enumerate(ordered)}
    return np.array([numbers[held] for held in sets])
