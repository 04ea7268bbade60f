"""`<class>/**/image` or `<split>/<class>/**/image`: the folder's name is the label."""

from collections.abc import Iterator

from kfp_vision.components.data_import.paths import reject_path
from kfp_vision.components.data_import.samples import (
    SPLIT_NAMES,
    Listing,
    Rejection,
    Sample,
    require_classes,
)
from kfp_vision.components.shared.storage import Folder

__all__ = ["read_class_folders", "read_unlabeled"]


def read_class_folders(folder: Folder, name: str = "") -> Listing:
    """Lists the images of class folders.

    The first level is the split when one of its folders is called `train` (or `training`); what
    then lies outside of the splits is left out.

    Raises:
        ValueError: There are fewer than two class folders.
    """
    top = [entry for entry in folder.list_entries()[0] if not _is_hidden(entry)]
    has_splits = any(SPLIT_NAMES.get(entry.lower()) == "train" for entry in top)
    split_folders = [entry for entry in top if entry.lower() in SPLIT_NAMES] if has_splits else [""]
    labelled = [entry for entry in split_folders if SPLIT_NAMES.get(entry.lower()) != "unlabeled"]
    class_folders = {
        f"{split}/{entry}" if split else entry
        for split in labelled
        for entry in folder.list_entries(split)[0]
        if not _is_hidden(entry)
    }
    require_classes((path.rpartition("/")[2] for path in class_folders), folder.uri)
    paths = folder.list_files()
    depth = 2 if has_splits else 1
    empty = sorted(class_folders - {"/".join(path.split("/")[:depth]) for path in paths})

    def samples() -> Iterator[Sample | Rejection]:
        for path in paths:
            yield _sample(folder, path, has_splits)
        for path in empty:
            yield Rejection(path, "empty_class", "The class folder holds no files.")

    notes = [f"Split folders: {', '.join(split_folders)}."] if has_splits else []
    return Listing(samples(), len(paths) + len(empty), notes)


def read_unlabeled(folder: Folder) -> Listing:
    """Lists every image below a folder, for the split `unlabeled`."""
    paths = folder.list_files()

    def samples() -> Iterator[Sample | Rejection]:
        for path in paths:
            yield _reject(folder, path) or Sample(path, (), "unlabeled", folder)

    return Listing(samples(), len(paths), [])


def _sample(folder: Folder, path: str, has_splits: bool) -> Sample | Rejection:
    rejection = _reject(folder, path)
    if rejection is not None:
        return rejection
    *folders, _ = path.split("/")
    split = None
    if has_splits:
        split = SPLIT_NAMES.get(folders[0].lower()) if folders else None
        if split is None:
            message = f"Beside split folders every file must be in one of {sorted(SPLIT_NAMES)}."
            return Rejection(path, "outside_splits", message)
        if split == "unlabeled":
            return Sample(path, (), split, folder)
        folders = folders[1:]
    if not folders:
        return Rejection(path, "no_label", "The file is in no class folder.")
    return Sample(path, (folders[0],), split, folder)


def _reject(folder: Folder, path: str) -> Rejection | None:
    if any(_is_hidden(part) for part in path.split("/")):
        return Rejection(path, "hidden", "Hidden files and folders hold no images.")
    return reject_path(folder, path)


def _is_hidden(name: str) -> bool:
    return name.startswith((".", "__MACOSX"))
