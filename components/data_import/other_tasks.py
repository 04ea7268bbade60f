"""Annotations of objects within images, which are named where a source has no classes."""

import re
from collections.abc import Collection

from kfp_vision.components.data_import.folder_counts import name_of
from kfp_vision.components.shared.datasets.image_files import escape_name, file_kind

__all__ = ["describe_annotations"]

# Of Pascal VOC, YOLO and LabelMe: one file for each image, called after it.
_SUFFIXES = (".xml", ".txt", ".json")
# instances_train2017.json, _annotations.coco.json: one file for all images.
_COCO = re.compile(r".*(annotations|captions|coco|instances|keypoints).*\.json")


def describe_annotations(files: Collection[str]) -> list[str]:
    """Returns a sentence on the annotations of objects among the files of a source.

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
        f"Annotations of objects are not read: {', '.join(shown)}. Labels must be classes of whole "
        "images: cut the objects out, or write a table of `path` and `label`."
    ]


def _stem(path: str) -> str:
    return name_of(path).rpartition(".")[0]
