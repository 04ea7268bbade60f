"""From the URIs of a source to one listing of its samples."""

import dataclasses
import functools
from collections.abc import Iterator

from kfp_vision.components.data_import.choices import known_task
from kfp_vision.components.data_import.folder_counts import name_of, parent_of
from kfp_vision.components.data_import.folder_listing import is_archive
from kfp_vision.components.data_import.other_tasks import choose_task
from kfp_vision.components.data_import.readers import (
    TFDS_PREFIX,
    list_images,
    read_tfds,
    read_unlabeled,
)
from kfp_vision.components.data_import.samples import Listing, Rejection, Sample
from kfp_vision.components.shared.datasets.image_files import file_kind
from kfp_vision.components.shared.runtime.storage import Folder, is_remote, open_folder

__all__ = ["check_source", "list_labelled", "list_source", "open_unlabeled"]

# Codes of images of which a source says nothing.
_UNSAID = frozenset({"mask_missing", "negative_label", "no_label", "outside_splits"})


def list_source(
    uri: str, dataset_format: str, unlabeled_uri: str, follow_links: bool, task: str = ""
) -> tuple[Listing, str, bool]:
    """Returns the listing, the format and whether the source is on this machine.

    Args:
        uri: As of `list_labelled`.
        dataset_format: The same.
        unlabeled_uri: A folder of images without labels; empty for none.
        follow_links: As of `list_labelled`.
        task: The same.

    Raises:
        ValueError: As of `list_labelled`; `unlabeled_uri` is a file.
        StorageError: A URI does not exist or cannot be reached.
    """
    unlabeled = open_unlabeled(unlabeled_uri, follow_links) if unlabeled_uri else None
    listing, dataset_format, folder = list_labelled(
        uri, dataset_format, unlabeled, follow_links, task
    )
    is_local = folder is None or folder.is_local
    if unlabeled:
        more = read_unlabeled(unlabeled)
        listing = dataclasses.replace(
            listing,
            samples=_join(listing, folder, more, unlabeled),
            total=listing.total + more.total,
            notes=[*listing.notes, *more.notes],
        )
        is_local = is_local and unlabeled.is_local
    return listing, dataset_format, is_local


def list_labelled(
    uri: str, dataset_format: str, unlabeled: Folder | None, follow_links: bool, task: str = ""
) -> tuple[Listing, str, Folder | None]:
    """Returns the listing of a dataset, its format and its folder; None for a set of TFDS.

    Args:
        uri: A folder, a file, or `tfds:NAME`.
        dataset_format: A key of `readers.FORMATS`, `tfds`, or `auto`.
        unlabeled: That of `unlabeled_uri`, which may lie in the dataset: of what is in it there are
            only the images that a table or an annotation names.
        follow_links: Whether local links may lead out of the source, and to folders.
        task: A key of `shared.tasks.TASKS`, or `auto`; empty where only the files are asked for.

    Raises:
        ValueError: The source is in no format that is known, or lacks what its format needs; its
            annotations or labels are not for the task.
        StorageError: It does not exist or cannot be reached.
    """
    if not isinstance(uri, str) or not uri.strip():
        raise ValueError(
            "`dataset_uri` must be a folder, a file, or `tfds:NAME`; local, gs:// or s3://. "
            f"Received: {uri!r}"
        )
    folder = None
    if dataset_format == "tfds" or uri.startswith(TFDS_PREFIX):
        dataset_format, listing = "tfds", read_tfds(uri)
    else:
        folder, name = open_folder(uri, follow_links)
        # A dataset that lies in the folder of images without labels is a dataset all the same.
        if unlabeled and not _is_within(folder.root, unlabeled):
            is_alike = unlabeled.scheme == folder.scheme
            folder = dataclasses.replace(folder, apart=unlabeled.root if is_alike else "")
        _refuse_archives(folder, name)
        listing, dataset_format = list_images(folder, name, dataset_format)
    if task:
        known_task(listing, task)
    if task and listing.with_classes is not None:
        listing = listing.with_classes()
    if task and listing.task:
        listing = choose_task(listing, task)
    return listing, dataset_format, folder


def _join(
    listing: Listing, folder: Folder | None, more: Listing, unlabeled: Folder
) -> Iterator[Sample | Rejection]:
    """Yields the samples of both, those that are in both once: as the dataset has them."""
    labelled = set()
    if folder is None or folder.scheme != unlabeled.scheme:
        yield from listing.samples
    else:
        place = functools.cache(folder.place)
        for each in listing.samples:
            parent, name = place(parent_of(each.path)), name_of(each.path)
            if _is_within(parent, unlabeled):
                if isinstance(each, Rejection) and each.code in _UNSAID:
                    continue
                labelled.add(f"{parent}/{name}")
            yield each
    for each in more.samples:
        if f"{unlabeled.root}/{each.path}" not in labelled:
            yield each


def _is_within(root: str, folder: Folder) -> bool:
    return f"{root}/".startswith(f"{folder.root}/")


def open_unlabeled(uri: str, follow_links: bool) -> Folder:
    """Returns the folder of images without labels.

    Raises:
        ValueError: It is a file.
        StorageError: It does not exist or cannot be reached.
    """
    folder, name = open_folder(uri, follow_links)
    if name:
        raise ValueError(f"`unlabeled_uri` must be a folder. Received: {uri!r}")
    return folder


def check_source(uri: str, follow_links: bool) -> None:
    """Refuses a source on this machine that is not there.

    Raises:
        StorageError: There is nothing at `uri`.
    """
    if uri and not uri.startswith(TFDS_PREFIX) and not is_remote(uri):
        open_folder(uri, follow_links)


def _refuse_archives(folder: Folder, name: str) -> None:
    """Refuses an archive, or a folder of nothing else: `train.zip` and `test.zip`."""
    folders, files = ([], [name]) if name else folder.list_entries()
    visible = [entry for entry in [*folders, *files] if file_kind(entry) != "hidden"]
    if visible and not set(visible) & set(folders) and all(map(is_archive, visible)):
        raise ValueError(
            f"Archives must be unpacked first. Received: {visible[:5]} in {folder.uri!r}. "
            "Unpack it and give the URI of the folder."
        )
