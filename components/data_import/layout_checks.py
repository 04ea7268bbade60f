"""Checks of folders that cannot be classes, and how messages show folders."""

from collections.abc import Container, Iterable, Mapping

from kfp_vision.components.data_import.folder_counts import FolderCounts, name_of, parent_of
from kfp_vision.components.data_import.paths import FOLLOW
from kfp_vision.components.data_import.split_names import is_filler

__all__ = [
    "hint_wrapped",
    "note_merged",
    "refuse_links",
    "refuse_masks",
    "show_paths",
    "show_splits",
]

# Folders of labels beside `images`: segmentation, detection.
_MASKS = frozenset({"annotations", "groundtruth", "gt", "labels", "mask", "masks"})


def refuse_links(levels: Iterable[str], linked: Mapping[str, str]) -> None:
    """Refuses links among the folders right in `levels`, which are splits or classes."""
    parents = set(levels)
    found = [f"{path!r} -> {what}" for path, what in linked.items() if parent_of(path) in parents]
    if found:
        raise ValueError(
            "A class or split folder must not be a link unless links are followed. Received: "
            f"{'; '.join(found[:5])}{' ...' if len(found) > 5 else ''}. {FOLLOW}"
        )


def hint_wrapped(used: list[str], folders: FolderCounts) -> str:
    """Returns a hint when the classes seem to be further down."""
    while len(used) == 1:
        [only] = used
        used = folders.used(only)
        if len(used) > 1:
            return (
                f"The only folder with images, {only!r}, holds the folders {show_paths(used)}: if "
                f"these are the classes, add `/{only}` to the URI."
            )
    return ""


def refuse_masks(class_folders: Iterable[str]) -> None:
    """Refuses the layout of data sets for other tasks: `images` and, beside them, `masks`."""
    names = {name_of(path).lower() for path in class_folders}
    if names & _MASKS and all(name in _MASKS or is_filler(name) for name in names):
        raise ValueError(
            "Class folders must be called after classes. Received: images and what belongs to "
            f"them, {show_paths(sorted(names))}. Masks are read as PNG alone, called after their "
            "images: JPEG changes numbers of classes."
        )


def note_merged(classes: Iterable[str], folders: FolderCounts, linked: Container[str]) -> list[str]:
    """Returns a note on images in folders below the class folders, links not followed apart."""
    deeper = [inner for path in classes for inner in folders.used(path) if inner not in linked]
    if not deeper:
        return []
    inside = {frozenset(map(name_of, folders.used(path))) for path in classes}
    if len(inside) == 1 and len(names := sorted(*inside)) > 1:
        return [
            f"The classes are {show_paths(classes)}; each holds the folders {show_paths(names)}. "
            "If these are the classes, put their images together in one folder each."
        ]
    examples = "; ".join(
        f"{path!r} ({folders.below(path)} images) to {parent_of(path)!r}" for path in deeper[:3]
    )
    more = f"; and {len(deeper) - 3} more" if len(deeper) > 3 else ""
    return [f"Folders below class folders count for these: {examples}{more}."]


def show_splits(splits: Mapping[str, str]) -> str:
    """Returns folders with the splits that they are."""
    return ", ".join(f"{path!r} ({split})" for path, split in splits.items())


def show_paths(paths: Iterable[str]) -> str:
    """Returns the first five of some folders."""
    names = [repr(path) for path in paths]
    return ", ".join(names[:5]) + (" ..." if len(names) > 5 else "")
