"""From the URIs of a source to one listing of its samples."""

import dataclasses
import itertools

from kfp_vision.components.data_import.choices import known_task
from kfp_vision.components.data_import.folder_listing import is_archive
from kfp_vision.components.data_import.other_tasks import choose_task
from kfp_vision.components.data_import.readers import (
    TFDS_PREFIX,
    list_images,
    read_tfds,
    read_unlabeled,
)
from kfp_vision.components.data_import.samples import Listing
from kfp_vision.components.shared.datasets.image_files import file_kind
from kfp_vision.components.shared.runtime.storage import Folder, is_remote, open_folder

__all__ = ["check_source", "list_source", "open_unlabeled"]


def list_source(
    uri: str, dataset_format: str, unlabeled_uri: str, follow_links: bool, task: str = ""
) -> tuple[Listing, str, bool]:
    """Returns the listing, the format and whether the source is on this machine.

    Args:
        uri: A folder, a file, or `tfds:NAME`.
        dataset_format: A key of `readers.FORMATS`, `tfds`, or `auto`.
        unlabeled_uri: A folder of images without labels; empty for none.
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
    is_local = True
    if dataset_format == "tfds" or uri.startswith(TFDS_PREFIX):
        dataset_format, listing = "tfds", read_tfds(uri)
    else:
        folder, name = open_folder(uri, follow_links)
        is_local = folder.is_local
        _refuse_archives(folder, name)
        listing, dataset_format = list_images(folder, name, dataset_format)
    if task:
        known_task(listing, task)
    if task and listing.with_classes is not None:
        listing = listing.with_classes()
    if task and listing.task:
        listing = choose_task(listing, task)
    if unlabeled_uri:
        folder = open_unlabeled(unlabeled_uri, follow_links)
        unlabeled = read_unlabeled(folder)
        listing = dataclasses.replace(
            listing,
            samples=itertools.chain(listing.samples, unlabeled.samples),
            total=listing.total + unlabeled.total,
            notes=[*listing.notes, *unlabeled.notes],
        )
        is_local = is_local and folder.is_local
    return listing, dataset_format, is_local


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
