"""Annotations of objects: the task that they are for, and those that no reader understands."""

import re
from collections.abc import Collection

from kfp_vision.components.data_import.folder_counts import name_of
from kfp_vision.components.data_import.samples import Listing
from kfp_vision.components.shared.datasets.image_files import escape_name, file_kind

__all__ = ["check_offered", "choose_task", "describe_annotations"]

# One file for each image, called after it: of LabelMe, or of a format that is broken.
_SUFFIXES = (".xml", ".txt", ".json")
# instances_train2017.json, _annotations.coco.json: one file for all images.
_COCO = re.compile(r".*(annotations|captions|coco|instances|keypoints).*\.json")


def choose_task(listing: Listing, task: str) -> Listing:
    """Returns the listing of annotations for the task that is asked for.

    Args:
        listing: Of a source with annotations.
        task: A key of `TASKS`, or `auto` for what they can teach most of.

    Raises:
        ValueError: They are not for the task.
    """
    check_offered(listing, task)
    if task in listing.other_tasks:
        return listing.other_tasks[task]()
    return listing


def check_offered(listing: Listing, task: str) -> None:
    """Refuses a task that annotations are not for.

    Raises:
        ValueError: It is refused.
    """
    offered = [listing.task, *listing.other_tasks]
    if task not in ("auto", *offered):
        raise ValueError(
            f"`task` must be what the annotations are for. Received: {task!r}, for those of "
            f"{' or '.join(offered)}. Leave `task` at auto."
        )


def describe_annotations(files: Collection[str]) -> list[str]:
    """Returns a sentence on annotations of objects that no reader understands.

    Args:
        files: Relative paths of all files.
    """
    images = {_stem(path) for path in files if file_kind(path) == "image"}
    found = [
        [path for path in files if path.lower().endswith(suffix) and _stem(path) in images]
        for suffix in _SUFFIXES
    ]
    found.append([path for path in files if _COCO.fullmatch(name_of(path).lower())])
    shown = [
        f"{len(paths)} like {escape_name(min(paths))}"
        for paths in found
        if paths and file_kind(paths[0]) != "hidden"
    ]
    if not shown:
        return []
    return [
        f"Annotations of objects that are not read: {', '.join(shown)}. COCO, Pascal VOC, YOLO and "
        "tables of boxes are: convert them to one of these."
    ]


def _stem(path: str) -> str:
    return name_of(path).rpartition(".")[0]
