"""The files of a data root, by the ways in which tables write their paths."""

import collections
import dataclasses
import functools
import os
import unicodedata
from pathlib import Path

from kfp_vision.components.data_import.folder_counts import parent_of
from kfp_vision.components.data_import.paths import reject_path
from kfp_vision.components.shared.datasets.image_files import file_kind, require_readable
from kfp_vision.components.shared.runtime.storage import Folder, local_path
from kfp_vision.components.shared.runtime.storage.file_trees import Tree, plain_path

__all__ = ["FileIndex", "bare_key", "path_key"]


class FileIndex:
    """Finds files; the folder is listed once, when the first is looked for."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder

    @functools.cached_property
    def _tree(self) -> Tree:
        # A table may name images in the folder apart.
        tree = dataclasses.replace(self.folder, apart="").list_tree()
        require_readable(self.folder, tree)
        return tree

    @functools.cached_property
    def files(self) -> frozenset[str]:
        """All files below the root."""
        return frozenset(self._tree.files)

    @functools.cached_property
    def images(self) -> list[str]:
        """The files that are called like images, sorted."""
        return sorted(path for path in self.files if file_kind(path) == "image")

    @functools.cached_property
    def apart(self) -> frozenset[str]:
        """Those of the images that are in `unlabeled_uri`: used although nothing names them."""
        apart = set(filter(self.folder.is_apart, set(map(parent_of, self.images))))
        return frozenset(path for path in self.images if parent_of(path) in apart)

    @functools.cached_property
    def by_file_name(self) -> dict[str, list[str]]:
        """Name without folder and suffix -> images."""
        return _grouped((bare_key(path.rpartition("/")[2]), path) for path in self.images)

    @functools.cached_property
    def _by_key(self) -> dict[str, list[str]]:
        return _grouped((path_key(path), path) for path in self.files)

    @functools.cached_property
    def _by_bare_key(self) -> dict[str, list[str]]:
        return _grouped((bare_key(path), path) for path in self.images)

    @functools.cached_property
    def _roots(self) -> tuple[str, ...]:
        roots = {self.folder.root, self.folder.uri}
        if self.folder.is_local:
            roots.add(str(local_path(self.folder.uri, "dataset_uri")))
        return tuple(f"{root.rstrip('/')}/" for root in roots)

    def tidy(self, path: str) -> str:
        r"""Returns a path relative to the root: `a/b` for `.\a\b`, `a//b`, `file:///root/a/b`."""
        path = path.removeprefix("file://").replace("\\", "/")
        for root in self._roots:
            if path.startswith(root):
                path = path[len(root) :].lstrip("/")
                break
        return path if path.startswith("/") or "://" in path else plain_path(path)

    def find(self, path: str) -> str | None:
        """Returns the file at `path`; the only one, if any, that differs in case or accents."""
        if path in self.files:
            return path
        same = self._by_key.get(path_key(path), [])
        return same[0] if len(same) == 1 else None

    def find_behind_links(self, path: str) -> str | None:
        """Returns `path` if it leads through a link to a file that may be read."""
        if not self._tree.linked_folders or reject_path(self.folder, path):
            return None
        return path if Path(self.folder.root, path).is_file() else None

    def listed(self, path: str) -> str:
        """Returns the listed path of the file at `path`, which may lead through a link."""
        if path in self.files or not self._tree.linked_folders:
            return path
        real = os.path.realpath(f"{self.folder.root}/{path}")
        return os.path.relpath(real, self.folder.root).replace(os.sep, "/")

    def find_without_suffix(self, path: str) -> str | None:
        """Returns the only image at `path` and a suffix."""
        same = self._by_bare_key.get(path_key(path), [])
        return same[0] if len(same) == 1 else None


def path_key(path: str) -> str:
    """Returns the same for paths that only differ in case or in how accents are composed."""
    return path.lower() if path.isascii() else unicodedata.normalize("NFC", path).casefold()


def bare_key(path: str) -> str:
    """Returns the key of a path without its last suffix."""
    folder, slash, name = path.rpartition("/")
    return path_key(f"{folder}{slash}{name.rpartition('.')[0] or name}")


def _grouped(pairs: collections.abc.Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for key, path in pairs:
        found.setdefault(key, []).append(path)
    return found
