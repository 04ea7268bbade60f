"""All images of a dataset as columns: what is known of each without decoding it.

N images, in the order of the splits of the dataset and of their rows; L labels in all.
"""

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.datasets.label_pictures import DRAWERS, labelled_thumbnail
from kfp_vision.components.shared.datasets.near_duplicates import SIGNATURE_BYTES
from kfp_vision.components.shared.datasets.store import (
    SCHEMA,
    iterate_images,
    label_arrays,
    open_split,
)
from kfp_vision.components.shared.datasets.thumbnails import thumbnail

__all__ = ["Images", "read_images"]

_DIGEST_BYTES = 32


@dataclasses.dataclass(frozen=True)
class Images:
    """The columns, and pixels by row.

    Attributes:
        tables: Split -> its memory-mapped rows.
        split: Name of the split of each image, [N].
        heights, widths, channels: int32 [N], int32 [N], int8 [N].
        digests: uint8 [N, 32], SHA-256 of the pixels.
        signatures: uint8 [N, 64].
        label_values: int32 [L], the labels of all images one after the other.
        label_starts: int64 [N + 1]; image n has `label_values[label_starts[n]:label_starts[n+1]]`.
    """

    tables: dict[str, pa.Table]
    split: np.ndarray
    heights: np.ndarray
    widths: np.ndarray
    channels: np.ndarray
    digests: np.ndarray
    signatures: np.ndarray
    label_values: np.ndarray
    label_starts: np.ndarray

    def __len__(self) -> int:
        """Returns N."""
        return len(self.split)

    def labels(self, row: int) -> list[int]:
        """Returns the labels of an image."""
        labels = self.label_values[self.label_starts[row] : self.label_starts[row + 1]]
        return [int(label) for label in labels]

    def rows(self, split: str, label: int | None = None) -> np.ndarray:
        """Returns the rows of a split, or those of them that have a label."""
        if label is None:
            return np.flatnonzero(self.split == split)
        owner = np.searchsorted(
            self.label_starts, np.flatnonzero(self.label_values == label), side="right"
        )
        rows = owner - 1
        return np.compress(self.split[rows] == split, rows)

    def path(self, row: int) -> str:
        """Returns where the image came from."""
        table, index = self._locate(row)
        return str(table["path"][index].as_py())

    def value(self, row: int, column: str) -> Any:
        """Returns what a column of the task holds of an image."""
        table, index = self._locate(row)
        return table[column][index].as_py()

    def pixels(self, row: int) -> np.ndarray:
        """Returns uint8 [height, width, channels]."""
        table, index = self._locate(row)
        return next(iterate_images(table, [index]))

    def picture(self, row: int) -> str:
        """Returns a thumbnail as a data URI, with what is labelled in the image drawn."""
        table, index = self._locate(row)
        columns = table.column_names[len(SCHEMA) :]
        if not set(columns) & set(DRAWERS):
            return thumbnail(self.pixels(row))
        (held,) = table.select(columns).slice(index, 1).to_pylist()
        return labelled_thumbnail(self.pixels(row), held)

    def _locate(self, row: int) -> tuple[pa.Table, int]:
        index = int(row)
        for table in self.tables.values():
            if index < table.num_rows:
                return table, index
            index -= table.num_rows
        raise IndexError(f"`row` must be below {len(self)}. Received: {row}")


def read_images(dataset_dir: Path, info: DatasetInfo) -> Images:
    """Reads the columns of every split of a dataset; no image is touched."""
    tables = {name: open_split(dataset_dir, name) for name in info.splits}

    def column(name: str) -> np.ndarray:
        return np.concatenate([table[name].to_numpy() for table in tables.values()])

    labels = [label_arrays(table) for table in tables.values()]
    lengths = [np.zeros(1, np.int64), *(np.diff(starts) for _, starts in labels)]
    return Images(
        tables=tables,
        split=np.repeat(list(tables), [table.num_rows for table in tables.values()]),
        heights=column("height"),
        widths=column("width"),
        channels=column("channels"),
        digests=_fixed_width(tables.values(), "sha256", _DIGEST_BYTES),
        signatures=_fixed_width(tables.values(), "signature", SIGNATURE_BYTES),
        label_values=np.concatenate([values for values, _ in labels]),
        label_starts=np.cumsum(np.concatenate(lengths)),
    )


def _fixed_width(tables: Iterable[pa.Table], name: str, width: int) -> np.ndarray:
    """Returns a fixed-size binary column as uint8 [N, width]."""
    parts = [np.empty((0, width), np.uint8)]
    for table in tables:
        for chunk in table[name].iterchunks():
            flat = np.frombuffer(chunk.buffers()[1], np.uint8)
            parts.append(flat[chunk.offset * width :][: len(chunk) * width].reshape(-1, width))
    return np.concatenate(parts)
