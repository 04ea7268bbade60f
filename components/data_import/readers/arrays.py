"""NumPy .npz and IDX (MNIST family) files: one array of images and one of labels for each split.

N images [N, height, width] or [N, height, width, channels], labels [N], [N, 1] or one-hot and
multi-hot [N, C]. Images are read in blocks, so memory does not grow with their number.
"""

import contextlib
import dataclasses
import gzip
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import IO

import numpy as np

from kfp_vision.components.data_import.classes import check_are_classes
from kfp_vision.components.data_import.samples import (
    SPLIT_NAMES,
    Listing,
    Sample,
    require_classes,
)
from kfp_vision.components.shared.storage import Folder

__all__ = ["find_idx", "find_npz", "read_idx", "read_npz"]

_BLOCK_BYTES = 4 * 2**20
_IDX_NAME = re.compile(
    r"(?:.*?([a-z0-9]+)[-_.])?(images|labels)[-_.]idx[13][-_.]ubyte(?:\.gz)?$", re.IGNORECASE
)
_IDX_SPLITS: dict[str | None, str | None] = {**SPLIT_NAMES, "t10k": "test", None: None}
_IDX_UINT8 = 0x08
# The names that Keras, MedMNIST and sets without splits use: (images, labels, split).
_NPZ_NAMES: list[tuple[str, str, str | None]] = [
    *((f"x_{name}", f"y_{name}", split) for name, split in SPLIT_NAMES.items()),
    *((f"{name}_images", f"{name}_labels", split) for name, split in SPLIT_NAMES.items()),
    ("images", "labels", None),
    ("x", "y", None),
]


@dataclasses.dataclass(frozen=True)
class _Array:
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


def find_npz(folder: Folder) -> list[str]:
    """Returns the .npz files of a folder."""
    return [name for name in folder.list_entries()[1] if name.lower().endswith(".npz")]


def find_idx(folder: Folder) -> list[str]:
    """Returns the IDX files of a folder."""
    return [name for name in folder.list_entries()[1] if _IDX_NAME.match(name)]


def read_npz(folder: Folder, name: str = "") -> Listing:
    """Lists the images of one .npz file.

    Raises:
        ValueError: There is not one file, it holds pickled objects, or its arrays do not fit.
    """
    names = [name] if name else find_npz(folder)
    if len(names) != 1:
        raise ValueError(f"There must be one .npz file in {folder.uri!r}. Received: {names}")

    @contextlib.contextmanager
    def open_member(member: str) -> Iterator[IO[bytes]]:
        try:
            with (
                folder.open(names[0]) as file,
                zipfile.ZipFile(file) as archive,
                archive.open(member) as stream,
            ):
                yield stream
        except zipfile.BadZipFile as error:
            raise ValueError(f"{names[0]} must be an .npz file. Received: {error}") from error

    def array(key: str) -> _Array:
        return _Array(key, lambda: open_member(f"{key}.npy"), _read_npy_header)

    try:
        with folder.open(names[0]) as file, zipfile.ZipFile(file) as archive:
            keys = {member.removesuffix(".npy") for member in archive.namelist()}
    except zipfile.BadZipFile as error:
        raise ValueError(f"{names[0]} must be an .npz file. Received: {error}") from error
    pairs = [
        (array(images), array(labels) if labels in keys else None, split)
        for images, labels, split in _NPZ_NAMES
        if images in keys
    ]
    if not pairs:
        raise ValueError(
            "An .npz file must hold `x_train` and `y_train` (and `x_test`, `y_test`), "
            f"`train_images` and `train_labels`, or `images` and `labels`. Received: {sorted(keys)}"
        )
    return _listing(pairs, folder.uri)


def read_idx(folder: Folder, name: str = "") -> Listing:
    """Lists the images of a folder of IDX files, compressed or not.

    Raises:
        ValueError: Images lack their labels, two files claim one split, or a file is damaged.
    """
    found: dict[str | None, dict[str, _Array]] = {}
    for entry in find_idx(folder):
        prefix, kind = _IDX_NAME.match(entry).groups()  # type: ignore[union-attr]
        prefix = prefix and prefix.lower()
        if prefix not in _IDX_SPLITS or kind.lower() in found.get(_IDX_SPLITS[prefix], {}):
            raise ValueError(
                "IDX files must be called `<split>-images-idx3-ubyte` and "
                "`<split>-labels-idx1-ubyte`, one of each for a split (train, t10k, ...). "
                f"Received: {entry}"
            )
        arrays = found.setdefault(_IDX_SPLITS[prefix], {})
        arrays[kind.lower()] = _Array(entry, _idx_opener(folder, entry), _read_idx_header)
    if not found or any("images" not in arrays for arrays in found.values()):
        raise ValueError(f"IDX labels must come with images. Received: {find_idx(folder)}")
    pairs = [(arrays["images"], arrays.get("labels"), split) for split, arrays in found.items()]
    return _listing(pairs, folder.uri)


def _idx_opener(
    folder: Folder, name: str
) -> Callable[[], contextlib.AbstractContextManager[IO[bytes]]]:
    @contextlib.contextmanager
    def open_idx() -> Iterator[IO[bytes]]:
        with folder.open(name) as file:
            if name.lower().endswith(".gz"):
                with gzip.open(file) as stream:
                    yield stream  # type: ignore[misc]
            else:
                yield file

    return open_idx


def _read_idx_header(stream: IO[bytes], name: str) -> tuple[tuple[int, ...], np.dtype]:
    """Reads the header of an IDX file: two zeros, type, rank, one big-endian length an axis."""
    try:
        zero, kind, rank = struct.unpack(">HBB", stream.read(4))
        shape = struct.unpack(f">{rank}I", stream.read(4 * rank))
    except (struct.error, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"An IDX file must start with its header. Received: {name}") from error
    if zero != 0 or kind != _IDX_UINT8:
        raise ValueError(
            f"An IDX file must hold unsigned bytes. Received: type {kind:#x} in {name}"
        )
    return shape, np.dtype(np.uint8)


def _read_npy_header(stream: IO[bytes], name: str) -> tuple[tuple[int, ...], np.dtype]:
    try:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0
        if version != (1, 0):
            read = np.lib.format.read_array_header_2_0
        shape, fortran_order, dtype = read(stream)
    except ValueError as error:
        raise ValueError(f"Array {name} must have an .npy header. Received: {error}") from error
    if dtype.hasobject:
        raise ValueError(
            f"Array {name} must not hold pickled Python objects, which can run code. "
            "Save it again with a numeric or string dtype."
        )
    if fortran_order and len(shape) > 1:
        raise ValueError(
            f"Array {name} must be in C order. Received: Fortran order. "
            "Save np.ascontiguousarray(array)."
        )
    return shape, dtype


def _listing(pairs: list[tuple[_Array, _Array | None, str | None]], uri: str) -> Listing:
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
        names = _label_names(labels) if labels is not None else [()] * shape[0]
        if len(names) != shape[0]:
            raise ValueError(
                f"Each image must have its labels. Received: {shape[0]} in {images.name} and "
                f"{len(names)} labels"
            )
        total += shape[0]
        notes.append(f"{images.name}: {dtype} {list(shape)}, split {split or 'not given'}.")
        parts.append((images, names, split))
    classes = {name for _, names, _ in parts for row in names for name in row}
    require_classes(classes, uri)
    check_are_classes(classes)

    def samples() -> Iterator[Sample]:
        for images, names, split in parts:
            row = 0
            for block in images.blocks():
                for pixels in block:
                    yield Sample(f"{images.name}/{row}", names[row], split, pixels)
                    row += 1

    return Listing(samples(), total, notes)


def _label_names(labels: _Array) -> list[tuple[str, ...]]:
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
