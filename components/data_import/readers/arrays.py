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

from kfp_vision.components.data_import.classes import (
    check_are_classes,
    class_names,
    compare_names,
    label_text,
    note_no_class,
    note_no_label_words,
    reject_label,
)
from kfp_vision.components.data_import.readers.text import TextFile
from kfp_vision.components.data_import.samples import Listing, Rejection, Sample, require_classes
from kfp_vision.components.shared.runtime.storage import Folder

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
        texts: list[tuple[str, ...]] = [()] * shape[0]
        if labels is not None:
            texts = _label_texts(labels)
        if len(texts) != shape[0]:
            raise ValueError(
                f"Each image must have its labels. Received: {shape[0]} in {images.name} and "
                f"{len(texts)} labels"
            )
        total += shape[0]
        notes.append(f"{images.name}: {dtype} {list(shape)}, split {split or 'not given'}.")
        parts.append((images, texts, split))
    classes = class_names({text for _, texts, _ in parts for row in texts for text in row})
    class_lines = _read_class_lines(folder)
    if class_lines:
        classes = _renamed(classes, class_lines)
    require_classes(classes.values(), folder.uri)
    check_are_classes(set(classes.values()))
    notes += [*compare_names(classes.values()), *note_no_label_words(classes.values())]
    notes += note_no_class(
        row for _, texts, split in parts if split != "unlabeled" for row in texts
    )

    def samples() -> Iterator[Sample | Rejection]:
        for images, texts, split in parts:
            row = 0
            for block in images.blocks():
                for pixels in block:
                    path, labels = f"{images.name}/{row}", texts[row]
                    row += 1
                    if all(text in classes for text in labels):
                        names = tuple(classes[text] for text in labels)
                        yield Sample(path, names, split, pixels)
                    else:
                        yield reject_label(path, labels[0])

    splits = frozenset(split for _, _, split in parts if split)
    return Listing(samples(), total, notes, splits=splits)


def _read_class_lines(folder: Folder) -> list[str]:
    if not folder.exists(_CLASS_NAMES):
        return []
    return TextFile(folder, _CLASS_NAMES).read().splitlines()


def _renamed(classes: dict[str, str], class_lines: list[str]) -> dict[str, str]:
    """Returns the classes with every number replaced by its line of `classes.txt`."""
    lines = {str(index): name.strip() for index, name in enumerate(class_lines) if name.strip()}
    if not set(classes.values()) <= lines.keys():
        raise ValueError(
            f"`{_CLASS_NAMES}` must have a line for every label. Received: {len(lines)} lines, and "
            f"the label {min(set(classes.values()) - lines.keys())!r}"
        )
    return {label: lines[number] for label, number in classes.items()}


def _label_texts(labels: ArrayFile) -> list[tuple[str, ...]]:
    """Returns the labels of each row; of [N, C] labels the columns that hold 1."""
    values = np.concatenate([*labels.blocks()] or [np.zeros(0, np.int64)])
    if values.ndim == 2 and values.shape[1] > 1:
        if not np.isin(values, (0, 1)).all():
            raise ValueError(
                "Labels [N, C] must be 0 or 1, one column a class. Received: "
                f"{labels.name} {values.dtype} {list(values.shape)} with the values "
                f"{np.unique(values)[:5].tolist()}. Save [N] labels, or 0 and 1."
            )
        present = [np.flatnonzero(row).tolist() for row in values]
        return [tuple(str(column) for column in row) for row in present]
    if values.ndim > 2:
        raise ValueError(f"Labels must be [N] or [N, C]. Received: {list(values.shape)}")
    values = values.reshape(-1)
    if values.dtype.kind == "b":
        values = values.astype(np.int64)
    interned: dict[str, tuple[str, ...]] = {}
    return [interned.setdefault(text, (text,)) for text in map(label_text, values.tolist())]
