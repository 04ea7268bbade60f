"""Which classes the values of masks are: those of a list, or all that there are."""

import collections
import dataclasses
import threading
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from kfp_vision.components.data_import.readers.class_lists import ClassList
from kfp_vision.components.data_import.readers.mask_values import (
    WHITE_16,
    UnreadableMaskError,
    read_values,
)
from kfp_vision.components.shared.runtime.processes import usable_cpus
from kfp_vision.components.shared.runtime.storage import Folder
from kfp_vision.components.shared.runtime.storage.reading import map_in_order
from kfp_vision.components.shared.tasks.masks import IGNORED

__all__ = ["count_classes", "with_white"]

# Threads that wait for a bucket, not for a core.
_REMOTE_THREADS = 64
_WHITE_8 = 255
# More values than these beside a black and a white are shades.
_MANY_VALUES = 20


class _Counted(NamedTuple):
    """What masks hold.

    Attributes:
        found: Value of the gray ones -> pixels.
        coloured: Those of colours.
        unread: Those that cannot be read, each with the reason.
    """

    found: collections.Counter[int]
    coloured: list[str]
    unread: list[str]


def _count_values(folder: Folder, masks: Sequence[str]) -> _Counted:
    """Returns what the masks hold."""
    found: collections.Counter[int] = collections.Counter()
    coloured: list[str] = []
    unread: list[str] = []
    cores = len(usable_cpus())
    threads = cores if folder.is_local else _REMOTE_THREADS
    turn = threading.Semaphore(cores)

    def count(path: str) -> dict[int, int] | None | str:
        try:
            content = folder.read(path)
            with turn:  # Files are waited for at once, and decoded on the cores.
                values = read_values(content)
                if values.ndim == 3:
                    return None
                shown, counts = np.unique(values, return_counts=True)
        except (UnreadableMaskError, FileNotFoundError, PermissionError) as error:
            # It is rejected when its image is read; a bucket that is not reached ends the import.
            return f"{path}: {error}"
        return dict(zip(shown.tolist(), counts.tolist(), strict=True))

    with ThreadPoolExecutor(threads, thread_name_prefix="masks") as pool:
        for path, counts in zip(masks, map_in_order(pool, count, masks, 2 * threads), strict=True):
            if counts is None:
                coloured.append(path)
            elif isinstance(counts, str):
                unread.append(counts)
            else:
                found.update(counts)
    return _Counted(found, coloured, unread)


def _is_black_and_white(found: Collection[int]) -> bool:
    return sorted(found) in ([0, _WHITE_8], [0, WHITE_16])


def with_white(classes: ClassList, folder: Folder, masks: Sequence[str]) -> ClassList:
    """Returns listed classes; of two, white is the second where masks are black and white alone.

    Elsewhere white says that nothing is known.
    """
    if classes.colours or classes.positions != {0: 0, 1: 1}:
        return classes
    found, coloured, _ = _count_values(folder, masks)
    if coloured or not _is_black_and_white(found):
        return classes
    return dataclasses.replace(classes, positions={0: 0, max(found): 1})


def count_classes(folder: Folder, masks: Sequence[str]) -> tuple[ClassList, list[str]]:
    """Returns the values of all masks as classes, and notes.

    Raises:
        ValueError: They are colours, shades, or not 2 to 255 values.
    """
    found, coloured, unread = _count_values(folder, masks)
    # A mask of one gray among them is of colours, too.
    if coloured and len(found) < 2:
        shown = np.unique(read_values(folder.read(coloured[0])).reshape(-1, 3), axis=0).tolist()
        raise ValueError(
            "Masks of colours must come with `classes.csv`, a table of the columns name, r, g, b "
            f"that says what each stands for. Received: no table, and {len(coloured)} masks of "
            f"colours, {coloured[0]} with {len(shown)} of them: {[*map(tuple, shown[:8])]}."
        )
    if _is_black_and_white(found):
        positions = {0: 0, max(found): 1}
        return ClassList(("background", "foreground"), positions), [
            f"Masks of 0 and {max(found)} alone: background and foreground."
        ]
    numbers = sorted(found.keys() - {IGNORED, WHITE_16})
    most = {value for value, _ in found.most_common(2)}
    if len(numbers) > _MANY_VALUES and most == {0, _WHITE_8}:
        raise ValueError(
            "Masks must hold numbers of classes. Received: "
            f"{len(numbers)} values, most pixels 0 or {_WHITE_8}: shades at edges that were "
            "smoothed. Resize masks without smoothing, or name the classes in `classes.txt`."
        )
    if not 2 <= len(numbers) <= IGNORED:
        raise ValueError(
            f"Masks must have from 2 to {IGNORED} classes, by values or by a file that names them. "
            f"Received: {len(numbers)} values, {numbers[:5]}"
            + (f"; {len(unread)} masks cannot be read, such as {unread[0]}" if unread else ".")
        )
    names = tuple(str(value) for value in numbers)
    positions = {value: place for place, value in enumerate(numbers)}
    return ClassList(names, positions), [
        f"No classes.txt names the classes: they are called after the values of the masks, "
        f"{', '.join(names[:12])}{'' if len(names) <= 12 else ' and more'}."
    ]
