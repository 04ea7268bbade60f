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

__all__ = ["folder_splits", "image_beside", "nearness", "read_all", "unlisted_note"]

# They wait for a bucket, not for a core.
_THREADS = 64


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


def image_beside(annotation: str, index: FileIndex) -> str | None:
    """Returns the image that a file is called after: in the same folder, else the nearest one.

    Of several that are equally near, in `train/` and `test/` for instance, none is meant.
    """
    same_name = index.by_file_name.get(bare_key(name_of(annotation)), [])
    shared = {path: nearness(annotation, path) for path in same_name}
    nearest = [path for path in same_name if shared[path] == max(shared.values())]
    return nearest[0] if len(nearest) == 1 else None


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
