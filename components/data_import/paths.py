"""Paths that a source names: they must stay inside its root and lead to a file."""

import functools
from pathlib import Path

from kfp_vision.components.data_import.samples import Rejection
from kfp_vision.components.shared.storage import Folder

__all__ = ["reject_path"]


def reject_path(folder: Folder, path: str) -> Rejection | None:
    """Returns why a path must not be read, or None when it is relative and stays inside `folder`.

    Whether there is a file is not asked here: reading it tells.
    """
    if path.startswith(("/", "\\")) or path[1:2] == ":" or "://" in path:
        return Rejection(path, "absolute_path", "Paths must be relative to the data root.")
    if ".." in path.split("/") or "\0" in path:
        return Rejection(path, "outside_root", "Paths must stay in the data root, without `..`.")
    if not folder.is_local:
        return None
    # Each file is looked up once and each folder once: resolving every path took longer than
    # decoding a 32-px image.
    parent, _, name = path.rpartition("/")
    local = Path(f"{folder.root}/{path}")
    is_link = local.is_symlink()
    real = str(local.resolve()) if is_link else f"{_resolve(f'{folder.root}/{parent}')}/{name}"
    if not f"{real}/".startswith(f"{folder.root.rstrip('/')}/"):
        return Rejection(path, "outside_root", f"The link leads out of the data root, to {real}.")
    if is_link and local.is_dir():
        return Rejection(path, "linked_folder", "Links to folders are not followed.")
    return None


@functools.lru_cache(maxsize=4096)
def _resolve(folder: str) -> str:
    return str(Path(folder).resolve())
