"""All files below a folder or a bucket's prefix, in one listing, with what is odd about them."""

import dataclasses
import os
from collections.abc import Iterable, Iterator
from os.path import realpath

__all__ = ["Tree", "is_plain_key", "plain_path", "tree_of_keys", "walk_folder"]


@dataclasses.dataclass
class Tree:
    """What lies below a folder; relative paths, sorted.

    Attributes:
        files: Files and links to files or to nothing.
        folders: Folders, empty ones too, and links to folders that were followed.
        links: Those of `files` that are links.
        linked_folders: Links to folders that were not followed.
        others: Pipes, sockets and devices: reading them may never end; keys that are no paths.
        unreadable: Folder -> why it could not be listed.
    """

    files: list[str] = dataclasses.field(default_factory=list)
    folders: list[str] = dataclasses.field(default_factory=list)
    links: list[str] = dataclasses.field(default_factory=list)
    linked_folders: list[str] = dataclasses.field(default_factory=list)
    others: list[str] = dataclasses.field(default_factory=list)
    unreadable: dict[str, OSError] = dataclasses.field(default_factory=dict)

    def entries(self) -> list[str]:
        """Returns the paths of all but folders that were listed, sorted."""
        return sorted([*self.files, *self.linked_folders, *self.others, *self.unreadable])

    def sort(self) -> None:
        """Sorts all paths."""
        for paths in (self.files, self.folders, self.links, self.linked_folders, self.others):
            paths.sort()


def tree_of_keys(keys: Iterable[str]) -> Tree:
    """Returns the tree of a bucket's keys, which know no folders and no links."""
    files, others, parents = [], [], set()
    for path in keys:
        # A key that ends in `/` is how consoles draw an empty folder.
        if not is_plain_key(path.removesuffix("/")):
            others.append(path)
            continue
        parents.add(path.rpartition("/")[0])
        if not path.endswith("/"):
            files.append(path)
    tree = Tree(
        files=files,
        others=others,
        folders=list({above for path in parents for above in _with_parents(path)}),
    )
    tree.sort()
    return tree


def is_plain_key(key: str) -> bool:
    """Returns whether a key is a path that leads to a place below where it starts."""
    return "\0" not in key and not {"", ".", ".."} & set(key.split("/"))


def plain_path(path: str) -> str:
    """Returns a relative path without empty parts and `.`, which lead nowhere on a disk."""
    return "/".join(part for part in path.split("/") if part not in ("", "."))


def _with_parents(path: str) -> Iterator[str]:
    while path:
        yield path
        path = path.rpartition("/")[0]


def walk_folder(root: str, follow_links: bool, apart: str = "") -> Tree:
    """Returns the tree of a local folder.

    Args:
        root: Absolute, free of links.
        follow_links: Whether links to folders are followed; one that leads back to a folder above
            it never is.
        apart: A folder that is not listed, nor links to it: absolute, free of links; empty for
            none.
    """
    passed = []
    tree, pending = Tree(), [("", root, frozenset({root}))]
    while pending:
        prefix, real, above = pending.pop()
        try:
            entries = list(os.scandir(f"{root}/{prefix}"))
        except OSError as error:
            # `os.walk` would leave out a folder that it may not read.
            tree.unreadable[prefix.rstrip("/")] = error
            continue
        for entry in entries:
            path, is_link = f"{prefix}{entry.name}", entry.is_symlink()
            if _is_folder(entry):
                target = realpath(entry.path) if is_link else f"{real}/{entry.name}"
                if target == apart:
                    passed.append(path)
                    continue
                if target in above or (is_link and not follow_links):
                    tree.linked_folders.append(path)
                else:
                    tree.folders.append(path)
                    pending.append(
                        (f"{path}/", target, above | {target} if follow_links else above)
                    )
            elif is_link:
                tree.files.append(path)
                tree.links.append(path)
            else:
                (tree.files if entry.is_file() else tree.others).append(path)
    for path in passed:
        _leave_out_empty(tree, path.rpartition("/")[0])
    tree.sort()
    return tree


def _leave_out_empty(tree: Tree, folder: str) -> None:
    """Leaves out a folder of which nothing is listed, and those above it; a bucket has none."""
    while folder in tree.folders and not any(
        path.startswith(f"{folder}/") for path in (*tree.folders, *tree.entries())
    ):
        tree.folders.remove(folder)
        folder = folder.rpartition("/")[0]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # A link to itself, or through a folder that must not be entered.
        return False
