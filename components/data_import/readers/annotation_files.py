"""Images and the annotations beside them: which belong together, and in which split they are."""

import collections
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from os.path import commonprefix

from kfp_vision.components.data_import.folder_counts import name_of
from kfp_vision.components.data_import.readers.file_index import FileIndex, bare_key
from kfp_vision.components.data_import.split_names import name_splits
from kfp_vision.components.shared.datasets.image_files import escape_name
from kfp_vision.components.shared.runtime.storage import Folder
from kfp_vision.components.shared.runtime.storage.reading import map_in_order
from kfp_vision.components.shared.runtime.storage.reads import record_read

__all__ = ["ImagesBeside", "folder_splits", "nearness", "read_all", "unlisted_note"]

# They wait for a bucket, not for a core.
_THREADS = 64

_Folders = tuple[str, ...]


def unlisted_note(images: Sequence[str], used: Collection[str]) -> list[str]:
    """Returns a note on images of the folder that no annotation names.

    Args:
        images: All images of the folder.
        used: Those that are named.
    """
    unlisted = [path for path in images if path not in used]
    if not unlisted:
        return []
    folders = collections.Counter(path.rpartition("/")[0] or "." for path in unlisted)
    where = ", ".join(f"{count} in {folder}/" for folder, count in folders.most_common(5))
    text = f"{len(unlisted)} images are in no annotation and not used: {where}; for instance "
    return [escape_name(f"{text}{unlisted[0]}.")]


def folder_splits(paths: Iterable[str]) -> dict[str, str]:
    """Returns path -> split, for images in folders called after splits: `images/train/1.jpg`.

    The folders of one level are looked at together, the upper ones first; a path in none of the
    splits is left out. Nothing is returned where no split is for training.
    """
    parts = {path: path.split("/")[:-1] for path in paths}
    for level in range(max(map(len, parts.values()), default=0)):
        found = {path: folders[level] for path, folders in parts.items() if len(folders) > level}
        splits = name_splits(set(found.values()))
        if "train" in splits.values():
            return {path: splits[name] for path, name in found.items() if name in splits}
    return {}


class ImagesBeside:
    """Finds the image that a file is called after: in the same folder, else the nearest one."""

    def __init__(self, index: FileIndex) -> None:
        self._by_file_name = index.by_file_name
        self._places: dict[str, dict[tuple[_Folders, _Folders | None], str | None]] = {}

    def find(self, annotation: str) -> str | None:
        """Returns the image; of several equally near, in `train/` and `test/`, none is meant."""
        key = bare_key(name_of(annotation))
        same_name = self._by_file_name.get(key, [])
        if len(same_name) < 2:
            return same_name[0] if same_name else None
        if key not in self._places:
            self._places[key] = _places(same_name)
        places, folders = self._places[key], tuple(annotation.split("/")[:-1])
        above = next(start for start in _starts(folders) if (start, None) in places)
        return next(places[above, end] for end in _ends(folders) if (above, end) in places)


def _places(images: Iterable[str]) -> dict[tuple[_Folders, _Folders | None], str | None]:
    """Returns (first folders, last folders or None) -> the image there, None for several.

    With all that an image may share with a path each is found at once: in a set of a thousand
    folders with the same names, comparing each path with each image took a minute.
    """
    places: dict[tuple[_Folders, _Folders | None], str | None] = {}
    for image in images:
        folders = tuple(image.split("/")[:-1])
        for start in _starts(folders):
            for end in (*_ends(folders), None):
                places[start, end] = None if (start, end) in places else image
    return places


def _starts(folders: _Folders) -> Iterator[_Folders]:
    return (folders[:count] for count in range(len(folders), -1, -1))


def _ends(folders: _Folders) -> Iterator[_Folders]:
    return (folders[place:] for place in range(len(folders) + 1))


def nearness(path: str, other: str) -> tuple[int, int]:
    """Returns how many folders two paths share from the root, and then from the file."""
    first, second = path.split("/")[:-1], other.split("/")[:-1]
    pairs = ([first, second], [first[::-1], second[::-1]])
    above, below = (len(commonprefix(pair)) for pair in pairs)
    return above, below


def read_all(folder: Folder, paths: Iterable[str]) -> Iterator[bytes]:
    """Yields the content of many small files, in order; in a bucket many requests wait at once."""
    if folder.is_local:
        yield from map(folder.read, paths)
        return

    def recorded() -> Iterator[str]:
        for path in paths:
            record_read(path)  # Of this thread: what the others read is not seen.
            yield path

    with ThreadPoolExecutor(_THREADS, thread_name_prefix="annotations") as pool:
        yield from map_in_order(pool, folder.read, recorded(), 2 * _THREADS)
