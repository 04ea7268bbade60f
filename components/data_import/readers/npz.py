"""NumPy .npz archives; arrays are streamed out of the zip file, and pickles are refused."""

import contextlib
import dataclasses
import zipfile
from collections.abc import Iterator
from typing import IO

import numpy as np

from kfp_vision.components.data_import.readers.arrays import ArrayFile, list_arrays
from kfp_vision.components.data_import.samples import SPLIT_NAMES, Listing
from kfp_vision.components.shared.runtime.storage import Folder

__all__ = ["find_npz", "holds_images", "read_npz"]

# The names that Keras, MedMNIST and sets without splits use: (images, labels, split).
_NAMES: list[tuple[str, str, str | None]] = [
    *((f"x_{name}", f"y_{name}", split) for name, split in SPLIT_NAMES.items()),
    *((f"{name}_images", f"{name}_labels", split) for name, split in SPLIT_NAMES.items()),
    ("images", "labels", None),
    ("x", "y", None),
]


def find_npz(folder: Folder) -> list[str]:
    """Returns the .npz files of a folder."""
    return [name for name in folder.list_entries()[1] if name.lower().endswith(".npz")]


def holds_images(folder: Folder, name: str) -> bool:
    """Returns whether an .npz file has arrays of images under one of the names of `read_npz`."""
    try:
        with folder.open(name) as file, zipfile.ZipFile(file) as archive:
            keys = {member.removesuffix(".npy") for member in archive.namelist()}
    except zipfile.BadZipFile:
        return False
    return any(images in keys for images, _, _ in _NAMES)


def read_npz(folder: Folder, name: str = "") -> Listing:
    """Lists the images of one .npz file.

    Raises:
        ValueError: There is not one file, it holds pickled objects, or its arrays do not fit.
    """
    names = [name] if name else find_npz(folder)
    if len(names) != 1:
        raise ValueError(f"There must be one .npz file in {folder.uri!r}. Received: {names}")

    @contextlib.contextmanager
    def open_archive() -> Iterator[zipfile.ZipFile]:
        try:
            with folder.open(names[0]) as file, zipfile.ZipFile(file) as archive:
                yield archive
        except zipfile.BadZipFile as error:
            raise ValueError(f"{names[0]} must be an .npz file. Received: {error}") from error

    @contextlib.contextmanager
    def open_array(key: str) -> Iterator[IO[bytes]]:
        with open_archive() as archive, archive.open(f"{key}.npy") as stream:
            yield stream

    def array(key: str) -> ArrayFile:
        return ArrayFile(key, lambda: open_array(key), _read_header)

    with open_archive() as archive:
        keys = {member.removesuffix(".npy") for member in archive.namelist()}
    pairs = [
        (array(images), array(labels) if labels in keys else None, split)
        for images, labels, split in _NAMES
        if images in keys
    ]
    if not pairs:
        raise ValueError(
            "An .npz file must hold `x_train` and `y_train` (and `x_test`, `y_test`), "
            f"`train_images` and `train_labels`, or `images` and `labels`. Received: {sorted(keys)}"
        )
    listing = list_arrays(pairs, folder)
    used = {each.name for images, labels, _ in pairs for each in (images, labels) if each}
    if unused := sorted(keys - used):
        notes = [
            f"Arrays not used: {', '.join(unused[:20])}. Images and labels are called `x_SPLIT` "
            "and `y_SPLIT`, or `SPLIT_images` and `SPLIT_labels`; class names go into "
            "`classes.txt`."
        ]
        return dataclasses.replace(listing, notes=[*listing.notes, *notes])
    return listing


def _read_header(stream: IO[bytes], name: str) -> tuple[tuple[int, ...], np.dtype]:
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
