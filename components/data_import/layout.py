"""Which folders of a source are splits and which are classes, from their names and numbers alone.

`<class>/`, `<split>/<class>/` or `<class>/<split>/`; what fits none of them is refused with what
was found, instead of trained on with splits for classes.
"""

import dataclasses
from collections.abc import Mapping

from kfp_vision.components.data_import.folder_counts import FolderCounts, name_of
from kfp_vision.components.data_import.layout_checks import (
    hint_wrapped,
    note_merged,
    refuse_links,
    refuse_masks,
    show_paths,
    show_splits,
)
from kfp_vision.components.data_import.samples import require_classes
from kfp_vision.components.data_import.split_names import is_filler, name_splits

__all__ = ["Layout", "find_layout"]


@dataclasses.dataclass(frozen=True)
class Layout:
    """What the folders mean.

    Attributes:
        classes: Class folder -> split (None when the source has none) and class.
        splits: Split folder -> one of `SPLITS`; images right in `unlabeled` belong to it.
        notes: What was recognised, one sentence each.
    """

    classes: dict[str, tuple[str | None, str]]
    splits: dict[str, str]
    notes: list[str]


def find_layout(images: Mapping[str, int], linked: Mapping[str, str], uri: str) -> Layout:
    """Returns what the folders of a source mean.

    Args:
        images: Folder -> number of files right in it that may be images; every folder of the
            source that is not hidden is there, `""` for the source itself.
        linked: Those that are links which were not followed -> where to and how many images.
        uri: Of the source, for messages.

    Raises:
        ValueError: A class or split folder is a link, there are splits and no training images, or
            fewer than two classes.
    """
    folders = FolderCounts(images)
    root = _inner_root(folders)
    notes = [f"All splits are in the folder {root!r}."] if root else []
    refuse_links([root], linked)
    splits = _splits_in(folders, root)
    labelled = {path: split for path, split in splits.items() if split != "unlabeled"}
    others = [path for path in folders.used(root) if path not in splits]
    if "train" in labelled.values() and not _is_class(labelled, others, folders):
        return _split_folders(folders, splits, others, linked, notes)
    if labelled:
        _require_train(labelled, others, folders)
        notes.append(f"{show_paths(labelled)} is taken as a class, not as a split.")
    unlabeled = {path: split for path, split in splits.items() if split == "unlabeled"}
    if unlabeled:
        notes.append(f"Split folders: {show_splits(unlabeled)}.")
    class_folders = [path for path in folders.children(root) if path not in unlabeled]
    if _hold_splits(class_folders, folders):
        return _class_then_split(folders, class_folders, unlabeled, linked, notes)
    classes: dict[str, tuple[str | None, str]] = {
        path: (None, name_of(path)) for path in class_folders
    }
    used = [path for path in class_folders if folders.below(path)]
    require_classes(map(name_of, used or class_folders), uri, hint_wrapped(used, folders))
    refuse_masks(used)
    return Layout(classes, unlabeled, notes + note_merged(classes, folders, linked))


def _splits_in(folders: FolderCounts, path: str) -> dict[str, str]:
    """Returns those folders right in `path` that are called like splits -> split."""
    named = name_splits(map(name_of, folders.children(path)))
    return {
        child: named[name_of(child)] for child in folders.children(path) if name_of(child) in named
    }


def _inner_root(folders: FolderCounts) -> str:
    """Returns the folder in which the splits are when it is the only one with images, else `""`."""
    root = ""
    while "train" not in _splits_in(folders, root).values():
        used = folders.used(root)
        if len(used) != 1:
            return ""
        [root] = used
    return root


def _is_class(labelled: Mapping[str, str], others: list[str], folders: FolderCounts) -> bool:
    """Returns whether `train` is the vehicle: beside other folders of images, one itself."""
    return (
        bool(others)
        and set(labelled.values()) == {"train"}
        and not any(folders.used(path) for path in labelled)
    )


def _require_train(labelled: Mapping[str, str], others: list[str], folders: FolderCounts) -> None:
    """Refuses folders for validation and test without one for training."""
    inside = {name_of(child) for path in labelled for child in folders.used(path)}
    beside = {name_of(path) for path in others}
    if not others or inside & beside:
        fix = (
            f"Move the class folders {sorted(beside)[:5]} into a folder `train`."
            if others
            else "Call the folder of the training images `train`; if these are classes, name them "
            "in a table of `path` and `label`."
        )
        raise ValueError(
            "Beside folders for validation or test there must be one for training. Received: "
            f"{show_splits(labelled)}. {fix}"
        )


def _split_folders(
    folders: FolderCounts,
    splits: dict[str, str],
    others: list[str],
    linked: Mapping[str, str],
    notes: list[str],
) -> Layout:
    """Returns the layout `<split>/<class>/`."""
    notes = [*notes, f"Split folders: {show_splits(splits)}."]
    inside, outside = (sum(map(folders.below, paths)) for paths in (splits, others))
    if outside > inside:
        raise ValueError(
            f"Most images must lie in the split folders. Received: {inside} in "
            f"{show_splits(splits)}, {outside} in {show_paths(others)} beside "
            "them. Move these into splits, or away."
        )
    if others:
        notes.append(f"{outside} images in {show_paths(others)} are in no split and are left out.")
    classes: dict[str, tuple[str | None, str]] = {}
    train = {
        name_of(child)
        for path, split in splits.items()
        if split == "train"
        for child in folders.used(_inner_split(folders, path, frozenset()))
    }
    for path, split in splits.items():
        if split == "unlabeled":
            continue
        inner = _inner_split(folders, path, frozenset(train))
        refuse_links([path, inner], linked)
        if inner != path:
            notes.append(f"The classes of {path!r} are in {inner!r}.")
        classes |= {child: (split, name_of(child)) for child in folders.children(inner)}
        if folders.images[inner] and not folders.used(inner):
            notes.append(
                f"{inner!r} holds {folders.images[inner]} images and no class folders: they have "
                "no labels and are left out."
            )
    if not classes:
        raise ValueError(
            "Split folders must hold class folders. Received: images right in "
            f"{show_splits(splits)}. Put them into one folder a class, or name their labels in a "
            "table of `path` and `label`."
        )
    refuse_masks(path for path in classes if folders.below(path))
    return Layout(classes, splits, notes + note_merged(classes, folders, linked))


def _inner_split(folders: FolderCounts, path: str, classes: frozenset[str]) -> str:
    """Returns where a split's classes are: `seg_train/seg_train` or `train/images` at times.

    Args:
        folders: Of the source.
        path: Of the split.
        classes: Names of the class folders for training: `val/images` is a class if it is there.
    """
    used = folders.used(path)
    if len(used) != 1 or folders.images[path]:
        return path
    name = name_of(used[0])
    is_inner = name == name_of(path) or bool(name_splits([name]))
    return used[0] if is_inner or (is_filler(name) and name not in classes) else path


def _hold_splits(class_folders: list[str], folders: FolderCounts) -> bool:
    """Returns whether it is `<class>/<split>/`.

    Raises:
        ValueError: Some class folders hold splits and others do not, or none for training.
    """
    used = [path for path in class_folders if folders.below(path)]
    holding = [
        path
        for path in used
        if not folders.images[path] and set(folders.used(path)) <= set(_splits_in(folders, path))
    ]
    named = {
        name_of(child): split
        for path in holding
        for child, split in _splits_in(folders, path).items()
    }
    if holding and holding == used and "train" not in named.values():
        raise ValueError(
            "Beside folders for validation or test there must be one for training. Received: "
            f"{show_splits(named)} within {show_paths(holding)}. Call one of them `train`."
        )
    if "train" not in named.values():
        return False
    if holding != used:
        without = [path for path in used if path not in holding]
        raise ValueError(
            "Either all class folders must hold split folders or none. Received: with "
            f"{show_paths(holding)}, without {show_paths(without)}. Give all of them the same "
            "folders."
        )
    return True


def _class_then_split(
    folders: FolderCounts,
    class_folders: list[str],
    unlabeled: dict[str, str],
    linked: Mapping[str, str],
    notes: list[str],
) -> Layout:
    """Returns the layout `<class>/<split>/`."""
    refuse_links(class_folders, linked)
    classes: dict[str, tuple[str | None, str]] = {
        child: (split, name_of(path))
        for path in class_folders
        for child, split in _splits_in(folders, path).items()
    }
    if not any(map(folders.images.__getitem__, classes)):
        inner = [child for path in classes for child in folders.used(path)]
        raise ValueError(
            "Split folders within class folders must hold images. Received: the folders "
            f"{show_paths(inner)}. If these are the classes, give the URI of one data "
            f"set: add `/{class_folders[0]}` for instance."
        )
    named = {name_of(child): split for child, (split, _) in classes.items() if split}
    notes = [*notes, f"Split folders within the class folders: {show_splits(named)}."]
    return Layout(classes, unlabeled, notes)
