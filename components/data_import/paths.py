"""Paths that a source names: they must stay inside its root and lead to a file."""

import functools
from os.path import realpath
from pathlib import Path

from kfp_vision.components.data_import.samples import Rejection
from kfp_vision.components.data_import.wording import of_source
from kfp_vision.components.shared.datasets.image_files import escape_name
from kfp_vision.components.shared.runtime.storage import Folder

__all__ = ["FOLLOW", "reject_link", "reject_name", "reject_path", "require_few_links"]

FOLLOW = "`--follow-links` (parameter `follow_links`) reads what links lead to."


def reject_path(folder: Folder, path: str) -> Rejection | None:
    """Returns why a path must not be read, or None when it is relative and stays inside `folder`.

    Whether there is a file is not asked here, but for links: reading it tells.
    """
    if path.startswith(("/", "\\")) or path[1:2] == ":" or "://" in path:
        return Rejection(path, "absolute_path", "Paths must be relative to the data root.")
    if ".." in path.split("/") or "\0" in path:
        return Rejection(path, "outside_root", "Paths must stay in the data root, without `..`.")
    return reject_name(path) or (reject_link(folder, path) if folder.is_local else None)


def reject_name(path: str) -> Rejection | None:
    """Returns why a file must not be read whose name cannot be stored, or None."""
    if path.isascii():
        return None
    try:
        path.encode()
    except UnicodeEncodeError:
        message = "The name must be UTF-8: rename the file."
        return Rejection(escape_name(path), "undecodable_name", message)
    return None


def reject_link(folder: Folder, path: str) -> Rejection | None:
    """Returns why a local path must not be read that may be a link or lead through one, or None."""
    # Each file is looked up once and each folder once: resolving every path took longer than
    # decoding a 32-px image.
    parent, _, name = path.rpartition("/")
    local = Path(f"{folder.root}/{path}")
    try:
        is_link = local.is_symlink()
    except OSError as error:  # Longer than names may be, or through a link to itself.
        return Rejection(path, "missing_file", f"There can be no such file: {error.strerror}.")
    real = realpath(local) if is_link else f"{_resolve(f'{folder.root}/{parent}')}/{name}"
    if is_link and not local.exists():
        return Rejection(path, "missing_file", f"The link leads to nothing, {escape_name(real)}.")
    if folder.follow_links:
        return None
    if not f"{real}/".startswith(f"{folder.root.rstrip('/')}/"):
        message = f"The link leads out of the data root, to {escape_name(real)}. {FOLLOW}"
        return Rejection(path, "outside_root", message)
    if is_link and local.is_dir():
        return Rejection(path, "linked_folder", f"Links to folders are not followed. {FOLLOW}")
    return None


def require_few_links(refused: int, kept: int, example: Rejection) -> None:
    """Refuses a source of which most images are behind links that are not followed.

    Raises:
        ValueError: More images are refused than kept.
    """
    if refused > kept:
        raise ValueError(
            f"Most images must lie in the data root. Received: {refused} outside of it, {kept} in "
            f"it; for instance {example.path!r}{of_source(example.source)}: {example.message}"
        )


@functools.lru_cache(maxsize=4096)
def _resolve(folder: str) -> str:
    return realpath(folder)
