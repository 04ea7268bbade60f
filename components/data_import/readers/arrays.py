"""Arrays of images and of labels in files, read in blocks: memory does not grow with N.

N images [N, height, width] or [N, height, width, channels], labels [N], [N, 1] or one-hot and
multi-hot [N, C]. `npz.py` and `idx.py` say where the arrays are. Beside them, `classes.txt` may
name the classes, one a line; the first is class 0.
"""

import contextlib
import dataclasses
import gzip
import math
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import IO

import numpy as np

from kfp_vision.components.data_import.classes import check_are_classes
from kfp_vision.components.data_import.samples import Listing, Sample, require_classes
from kfp_vision.components.shared.storage import Folder

__all__ = ["ArrayFile", "list_arrays"]

_BLOCK_BYTES = 4 * 2**20
_CLASS_NAMES = "classes.txt"


@dataclasses.dataclass(frozen=True)
class ArrayFile:
    """An array in a file: a header, then its values in C order.

    Attributes:
        name: For paths and messages.
        open: Opens the stream at its header.
        read_header: Reads the header and returns (shape, dtype).
    """

    name: str
    open: Callable[[], contextlib.AbstractContextManager[IO[bytes]]]
    read_header: Callable[[IO[bytes], str], tuple[tuple[int, ...], np.dtype]]

    def header(self) -> tuple[tuple[int, ...], np.dtype]:
        """Returns (shape, dtype)."""
        with self.open() as stream:
            return self.read_header(stream, self.name)

    def blocks(self) -> Iterator[np.ndarray]:
        """Yields consecutive rows.

        Raises:
            ValueError: The file ends before the array does, or is damaged.
        """
        with self.open() as stream:
            shape, dtype = self.read_header(stream, self.name)
            row_bytes = dtype.itemsize * math.prod(shape[1:])
            rows = max(1, _BLOCK_BYTES // max(1, row_bytes))
            for start in range(0, shape[0], rows):
                count = min(rows, shape[0] - start)
                try:
                    content = stream.read(count * row_bytes)
                except (EOFError, gzip.BadGzipFile, zipfile.BadZipFile, zlib.error) as error:
                    raise ValueError(f"Array {self.name} is damaged: {error}") from error
                if len(content) < count * row_bytes:
                    raise ValueError(
                        f"Array {self.name} must have {shape[0]} rows. Received: a file that ends "
                        f"after {start + len(content) // row_bytes}. Copy it again."
                    )
                block = np.frombuffer(content, dtype).reshape(count, *shape[1:])
                yield block.astype(dtype.newbyteorder("="), copy=False)


def list_arrays(
    pairs: list[tuple[ArrayFile, ArrayFile | None, str | None]], folder: Folder
) -> Listing:
    """Lists the images of (images, labels, split) triples; only unlabelled ones lack labels.

    Args:
        pairs: The arrays.
        folder: Where they are; may hold `classes.txt`.

    Raises:
        ValueError: The arrays are not images and labels, or not of the same length; a label has
            no line in `classes.txt`.
    """
    total, notes, parts = 0, [], []
    class_names = _read_class_names(folder)
    for images, labels, split in pairs:
        shape, dtype = images.header()
        has_image_shape = len(shape) == 3 or (len(shape) == 4 and shape[3] in (1, 3, 4))
        if dtype not in (np.uint8, np.uint16) or not has_image_shape:
            raise ValueError(
                f"Images must be uint8 or uint16 [N, height, width] or [N, height, width, 1, 3 or "
                f"4]. Received: {images.name} {dtype} {list(shape)}. "
                "Scale floats to 0..255 and move the channels to the end."
            )
        if labels is None and split != "unlabeled":
            raise ValueError(f"Images must come with labels. Received: only {images.name}")
        names: list[tuple[str, ...]] = [()] * shape[0]
        if labels is not None:
            names = _label_names(labels)
        if class_names:
            names = _renamed(names, class_names)
        if len(names) != shape[0]:
            raise ValueError(
                f"Each image must have its labels. Received: {shape[0]} in {images.name} and "
                f"{len(names)} labels"
            )
        total += shape[0]
        notes.append(f"{images.name}: {dtype} {list(shape)}, split {split or 'not given'}.")
        parts.append((images, names, split))
    classes = {name for _, names, _ in parts for row in names for name in row}
    require_classes(classes, folder.uri)
    check_are_classes(classes)

    def samples() -> Iterator[Sample]:
        for images, names, split in parts:
            row = 0
            for block in images.blocks():
                for pixels in block:
                    yield Sample(f"{images.name}/{row}", names[row], split, pixels)
                    row += 1

    return Listing(samples(), total, notes)


def _read_class_names(folder: Folder) -> list[str]:
    if not folder.exists(_CLASS_NAMES):
        return []
    return folder.read(_CLASS_NAMES).decode("utf-8-sig").split("\n")


def _renamed(labels: list[tuple[str, ...]], class_names: list[str]) -> list[tuple[str, ...]]:
    """Returns the labels with every number replaced by its line of `classes.txt`."""
    numbers = {number for row in set(labels) for number in row}
    lines = {str(index): name.strip() for index, name in enumerate(class_names) if name.strip()}
    if not numbers <= lines.keys():
        raise ValueError(
            f"`{_CLASS_NAMES}` must have a line for every label. Received: {len(lines)} lines, and "
            f"the label {min(numbers - lines.keys())!r}"
        )
    renamed = {row: tuple(lines[number] for number in row) for row in set(labels)}
    return [renamed[row] for row in labels]


def _label_names(labels: ArrayFile) -> list[tuple[str, ...]]:
    """Returns the class names of each row; of [N, C] labels the columns that are not zero."""
    values = np.concatenate([*labels.blocks()] or [np.zeros(0, np.int64)])
    if values.ndim == 2 and values.shape[1] > 1:
        present = [np.flatnonzero(row).tolist() for row in values]
        return [tuple(str(column) for column in row) for row in present]
    if values.ndim > 2:
        raise ValueError(f"Labels must be [N] or [N, C]. Received: {list(values.shape)}")
    values = values.reshape(-1)
    if values.dtype.kind == "f" and (values == np.floor(values)).all():
        values = values.astype(np.int64)
    if values.dtype.kind == "b":
        values = values.astype(np.int64)
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8")
    interned: dict[str, tuple[str, ...]] = {}
    return [interned.setdefault(name, (name,)) for name in map(str, values.tolist())]
