"""Paths that a source names: they must stay inside its root and lead to a file."""

import functools
from pathlib import Path, PurePosixPath, PureWindowsPath

from kfp_vision.components.data_import.samples import Rejection
from kfp_vision.components.shared.storage import Folder

__all__ = ["reject_path"]


def reject_path(folder: Folder, path: str) -> Rejection | None:
    """Returns why a path must not be read, or None when it is relative and stays inside `folder`.

    Whether there is a file is not asked here: reading it tells.
    """
    pure = PurePosixPath(path)
    if pure.is_absolute() or PureWindowsPath(path).drive or "://" in path:
        return Rejection(path, "absolute_path", "Paths must be relative to the data root.")
    if ".." in pure.parts or "\0" in path:
        return Rejection(
            path, "outside_root", "Paths must not lead out of the data root with `..`."
        )
    if not folder.is_local:
        return None
    root, local = Path(folder.root), Path(folder.root, path)
    # One look-up a folder and one a file, where resolving each path looks at every part of it.
    real = local.resolve() if local.is_symlink() else _resolve(local.parent) / local.name
    if not real.is_relative_to(root):
        return Rejection(path, "outside_root", f"The link leads out of the data root, to {real}.")
    if local.is_symlink() and real.is_dir():
        return Rejection(path, "linked_folder", "Links to folders are not followed.")
    return None


@functools.lru_cache(maxsize=4096)
def _resolve(folder: Path) -> Path:
    return folder.resolve()
