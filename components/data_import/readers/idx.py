"""IDX files of the MNIST family, compressed or not: `train-images-idx3-ubyte.gz` and so on."""

import contextlib
import gzip
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import IO

import numpy as np

from kfp_vision.components.data_import.readers.arrays import ArrayFile, list_arrays
from kfp_vision.components.data_import.samples import SPLIT_NAMES, Listing
from kfp_vision.components.shared.runtime.storage import Folder

__all__ = ["find_idx", "read_idx"]

_NAME = re.compile(
    r"(?:.*?([a-z0-9]+)[-_.])?(images|labels)[-_.]idx[13][-_.]ubyte(?:\.gz)?$", re.IGNORECASE
)
_SPLITS: dict[str, str | None] = {**SPLIT_NAMES, "t10k": "test", "": None}
_UINT8 = 0x08


def find_idx(folder: Folder) -> list[str]:
    """Returns the IDX files of a folder."""
    return [name for name in folder.list_entries()[1] if _NAME.match(name)]


def read_idx(folder: Folder, name: str = "") -> Listing:
    """Lists the images of a folder of IDX files, compressed or not.

    Raises:
        ValueError: Images lack their labels, two files claim one split, or a file is damaged.
    """
    found: dict[str | None, dict[str, ArrayFile]] = {}
    matches = [match for entry in folder.list_entries()[1] if (match := _NAME.match(entry))]
    for match in matches:
        entry, (prefix, kind) = match.string, (group.lower() for group in match.groups(""))
        if prefix not in _SPLITS or kind in found.get(_SPLITS[prefix], {}):
            raise ValueError(
                "IDX files must be called `<split>-images-idx3-ubyte` and "
                "`<split>-labels-idx1-ubyte`, one of each for a split (train, t10k, ...). "
                f"Received: {entry}"
            )
        arrays = found.setdefault(_SPLITS[prefix], {})
        arrays[kind] = ArrayFile(entry, _opener(folder, entry), _read_header)
    if not found or any("images" not in arrays for arrays in found.values()):
        raise ValueError(
            f"IDX labels must come with images. Received: {[match.string for match in matches]}"
        )
    pairs = [(arrays["images"], arrays.get("labels"), split) for split, arrays in found.items()]
    return list_arrays(pairs, folder)


def _opener(
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


def _read_header(stream: IO[bytes], name: str) -> tuple[tuple[int, ...], np.dtype]:
    """Reads the header of an IDX file: two zeros, type, rank, one big-endian length an axis."""
    try:
        zero, kind, rank = struct.unpack(">HBB", stream.read(4))
        shape = struct.unpack(f">{rank}I", stream.read(4 * rank))
    except (struct.error, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"An IDX file must start with its header. Received: {name}") from error
    if zero != 0 or kind != _UINT8:
        raise ValueError(
            f"An IDX file must hold unsigned bytes. Received: type {kind:#x} in {name}"
        )
    return shape, np.dtype(np.uint8)
