"""`data.yaml` of YOLO: names of classes, splits, and the keypoints of poses."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import yaml

from kfp_vision.components.data_import.classes import label_text
from kfp_vision.components.data_import.folder_counts import name_of, parent_of
from kfp_vision.components.data_import.objects.keypoints import swapped_pairs
from kfp_vision.components.data_import.readers.file_index import FileIndex
from kfp_vision.components.data_import.readers.table_paths import Row, resolve_paths
from kfp_vision.components.shared.runtime.storage import Folder

__all__ = ["YoloSettings", "read_settings"]

_SUFFIXES = (".yaml", ".yml")
# Of LabelImg and Darknet: one class a line.
_NAME_FILES = ("classes.txt", "obj.names", "_darknet.labels")
_SPLIT_KEYS = {"train": "train", "val": "validation", "valid": "validation", "test": "test"}


@dataclasses.dataclass(frozen=True)
class YoloSettings:
    """What is known beside the label files.

    Attributes:
        name: Path of the YAML file; empty without one.
        names: Of the classes; empty where they are not known.
        num_keypoints: Of every object; 0 without poses.
        point_size: Numbers of a keypoint: 2 or, with visibility, 3; 0 without poses.
        keypoint_names: One a keypoint.
        keypoint_swaps: Pairs of keypoints that a mirror image swaps.
        splits: Image -> split; empty where folders say it.
        notes: One sentence each.
    """

    name: str = ""
    names: Sequence[str] = ()
    num_keypoints: int = 0
    point_size: int = 0
    keypoint_names: Sequence[str] = ()
    keypoint_swaps: Sequence[tuple[int, int]] = ()
    splits: dict[str, str] = dataclasses.field(default_factory=dict)
    notes: Sequence[str] = ()


def read_settings(folder: Folder, index: FileIndex, name: str = "") -> YoloSettings:
    """Reads the YAML file that is given, or the one beside the images, or a list of names.

    Raises:
        ValueError: It cannot be understood.
    """
    files = [path for path in sorted(index.files) if path.count("/") < 2]
    unread = []
    for path in [name] if name else [each for each in files if each.lower().endswith(_SUFFIXES)]:
        try:
            content = _read_yaml(folder, path)
        except ValueError as error:
            if name:
                raise
            unread.append(f"Not used: {error}")
            continue
        return _settings(folder, index, path, content)
    for path in files:
        if name_of(path) in _NAME_FILES:
            lines = folder.read(path).decode("utf-8-sig", "replace").splitlines()
            names = [line.strip() for line in lines if line.strip()]
            return YoloSettings(names=names, notes=[*unread, f"Names of classes from {path}."])
    return YoloSettings(notes=unread)


def _read_yaml(folder: Folder, path: str) -> dict[str, Any]:
    try:
        content = yaml.safe_load(folder.read(path))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{path} must be a YAML file. Received: {reason}") from error
    if isinstance(content, dict) and "names" in content:
        return content
    raise ValueError(f"A YAML file of YOLO must have `names`. Received: {path} without.")


def _settings(folder: Folder, index: FileIndex, path: str, content: dict[str, Any]) -> YoloSettings:
    names = _names(content, path)
    count, size = _keypoint_shape(content, path)
    keypoint_names = _keypoint_names(content, count)
    swaps, notes = _swaps(content, keypoint_names, path)
    splits, split_notes = _splits(folder, index, path, content)
    return YoloSettings(
        path, names, count, size, keypoint_names, swaps, splits, [*notes, *split_notes]
    )


def _names(content: dict[str, Any], path: str) -> list[str]:
    """Returns the classes of a list, or of a dict of number -> name."""
    names = content["names"]
    if isinstance(names, dict):
        numbered = {label_text(number): label_text(name) for number, name in names.items()}
        if sorted(numbered) != sorted(map(str, range(len(numbered)))):
            raise ValueError(
                f"`names` must number its classes 0, 1, 2, ... Received: {list(names)[:8]} in "
                f"{path}. Add the names that are missing."
            )
        names = [numbered[str(number)] for number in range(len(numbered))]
    if not isinstance(names, list) or not names or not all(map(label_text, names)):
        raise ValueError(f"`names` must be a list of classes. Received: {names!r} in {path}")
    found = [*map(label_text, names)]
    repeated = sorted({name for name in found if found.count(name) > 1})
    if repeated:
        raise ValueError(f"`names` must differ. Received: {repeated[:5]} twice in {path}.")
    stated = content.get("nc")
    if stated is not None and label_text(stated) != str(len(found)):
        raise ValueError(
            f"`nc` must be the number of `names`. Received: nc={stated} and {len(found)} names in "
            f"{path}."
        )
    return found


def _keypoint_shape(content: dict[str, Any], path: str) -> tuple[int, int]:
    shape = content.get("kpt_shape")
    if shape is None:
        return 0, 0
    is_shape = isinstance(shape, list) and len(shape) == 2 and all(type(x) is int for x in shape)
    if not is_shape or shape[0] < 1 or shape[1] not in (2, 3):
        raise ValueError(
            f"`kpt_shape` must be [number of keypoints, 2 or 3]. Received: {shape!r} in {path}."
        )
    return shape[0], shape[1]


def _keypoint_names(content: dict[str, Any], count: int) -> list[str]:
    names = content.get("kpt_names")
    if isinstance(names, dict):  # Of each class; all have the same.
        names = next(iter(names.values()), None)
    if isinstance(names, list) and len(names) == count:
        return [*map(label_text, names)]
    return [f"keypoint {number}" for number in range(1, count + 1)]


def _swaps(
    content: dict[str, Any], names: Sequence[str], path: str
) -> tuple[list[tuple[int, int]], list[str]]:
    """Returns the pairs of `flip_idx`, else of the names."""
    table = content.get("flip_idx")
    if table is None or not names:
        return swapped_pairs(names), []
    is_table = (
        isinstance(table, list)
        and all(type(each) is int for each in table)
        and sorted(table) == list(range(len(names)))
    )
    if not is_table or any(table[table[each]] != each for each in range(len(names))):
        raise ValueError(
            f"`flip_idx` must say for each of the {len(names)} keypoints which one takes its place "
            f"in a mirror image, in pairs. Received: {table!r} in {path}."
        )
    return [(first, second) for first, second in enumerate(table) if first < second], []


def _splits(
    folder: Folder, index: FileIndex, path: str, content: dict[str, Any]
) -> tuple[dict[str, str], list[str]]:
    """Returns image -> split as the YAML file says, where its paths lead to images."""
    splits: dict[str, str] = {}
    lost, notes = [], []
    for key, split in _SPLIT_KEYS.items():
        stated = content.get(key)
        for place in stated if isinstance(stated, list) else [stated] if stated else []:
            images = _images_at(folder, index, path, content, label_text(place))
            lost += [] if images else [f"{key}: {label_text(place)}"]
            shared = sum(splits.setdefault(image, split) != split for image in images)
            if shared:
                notes.append(
                    f"{shared:,} images of `{key}` in {path} are in a split before it, too: they "
                    "stay there."
                )
    if lost or "train" not in splits.values():
        note = f"Paths of {path} lead to no image, folders are used: {', '.join(lost)}."
        return {}, [note] if lost else []
    return splits, notes


def _images_at(
    folder: Folder, index: FileIndex, yaml_path: str, content: dict[str, Any], place: str
) -> list[str]:
    """Returns the images of a folder, or of a list in a text file.

    Paths are relative to `path`, to the YAML file, or to where it once lay: leading folders and
    `..` that are not there are left out. Nothing outside of the data root is looked for.
    """
    base = parent_of(yaml_path)
    tidy = [part for part in index.tidy(place).strip("/").split("/") if part not in ("..", "")]
    root = index.tidy(label_text(content.get("path")))
    is_absolute = place.startswith("/") or place[1:2] == ":"
    for below in dict.fromkeys((base, root, f"{base}/{root}".strip("/"), "")):
        # `images` alone would be those of every split.
        for drop in range(max(len(tidy) - 1, 1) if is_absolute else 1):
            target = "/".join([*([below] if below else []), *tidy[drop:]])
            if target in index.files:
                lines = folder.read(target).decode("utf-8-sig", "replace").splitlines()
                rows = [
                    Row(number, line.strip(), (), None)
                    for number, line in enumerate(lines, start=1)
                    if line.strip()
                ]
                return resolve_paths(target, rows, index).paths if rows else []
            images = [each for each in index.images if each.startswith(f"{target}/")]
            if images:
                return images
    return []
