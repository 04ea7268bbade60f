"""Which files of a folder may be images: the one answer for import and prediction.

Names decide only what is not looked at. What a file is, its content says (`decoding.decode_file`).
"""

from typing import Literal

from kfp_vision.components.shared.runtime.storage import Folder, StorageError
from kfp_vision.components.shared.runtime.storage.file_trees import Tree

__all__ = ["escape_name", "file_kind", "list_image_files", "require_readable"]

_SUFFIXES = (
    *(".apng", ".avif", ".avifs", ".bmp", ".dib", ".gif", ".heic", ".heif", ".hif", ".j2c"),
    *(".j2k", ".jfif", ".jp2", ".jpc", ".jpe", ".jpeg", ".jpf", ".jpg", ".jpx", ".mpo"),
    *(".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"),
)
# What systems and synchronisers leave beside people's files, in lower case. Names with a dot in
# front (.DS_Store, ._a.jpg, .ipynb_checkpoints, .git) are hidden anyway.
_SYSTEM_NAMES = frozenset(
    {
        "#recycle",
        "#snapshot",
        "$recycle.bin",
        "@eadir",  # Thumbnails of a Synology disk station: images, under names of images.
        "__macosx",
        "desktop.ini",
        "ehthumbs.db",
        "icon\r",
        "lost+found",
        "system volume information",
        "thumbs.db",
    }
)


def file_kind(path: str) -> Literal["hidden", "image", "unknown"]:
    """Returns what the name of a file says of it.

    `hidden` files are not read. All others are: `image` has the suffix of an image, so that a file
    that cannot be read as one is an error; of `unknown`, only the content tells.

    Args:
        path: Relative to the folder that the user named: only what is below may be hidden.
    """
    parts = path.lower().split("/")
    if any(part.startswith(".") or part in _SYSTEM_NAMES for part in parts):
        return "hidden"
    return "image" if parts[-1].endswith(_SUFFIXES) else "unknown"


def list_image_files(folder: Folder) -> list[str]:
    """Returns the paths of all files below a folder that are not hidden, sorted.

    Raises:
        StorageError: A folder below must not be read.
    """
    tree = folder.list_tree()
    require_readable(folder, tree)
    return [path for path in tree.entries() if file_kind(path) != "hidden"]


def require_readable(folder: Folder, tree: Tree) -> None:
    """Refuses a tree with folders that could not be listed, hidden ones apart.

    Raises:
        StorageError: A folder below must not be read.
    """
    for path, error in tree.unreadable.items():
        if file_kind(path) != "hidden":
            raise StorageError(
                f"Every folder must be readable. Received: {escape_name(path)!r} in "
                f"{folder.uri!r} ({error.strerror}). Give the permission, or move it away."
            ) from error


def escape_name(path: str) -> str:
    r"""Returns a path that can be printed and stored: bytes that are not UTF-8 become `\xff`."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
