"""Folders `images/` and `masks/`: a PNG of class numbers for every image, with splits or without.

`train/images/` and `images/train/` are both read. Mask modes: 8 and 16 bits gray, palettes (whose
positions are the numbers), one bit, and colours where a table of the classes says what they mean.
"""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from kfp_vision.components.data_import.objects.turning import (
    is_as_stored,
    is_taken_as_upright,
    turn_pixels,
)
from kfp_vision.components.data_import.paths import reject_path, require_few_links
from kfp_vision.components.data_import.readers.class_lists import (
    ClassList,
    find_class_list,
    read_class_list,
)
from kfp_vision.components.data_import.readers.file_index import FileIndex, path_key
from kfp_vision.components.data_import.readers.mask_classes import count_classes, with_white
from kfp_vision.components.data_import.readers.mask_values import (
    UnreadableMaskError,
    class_numbers,
)
from kfp_vision.components.data_import.readers.text import TextFile
from kfp_vision.components.data_import.samples import (
    Listing,
    Rejection,
    Sample,
    Target,
    TargetReader,
)
from kfp_vision.components.data_import.split_names import name_splits
from kfp_vision.components.shared.datasets.image_files import escape_name, file_kind
from kfp_vision.components.shared.runtime.storage import Folder
from kfp_vision.components.shared.runtime.storage.reads import record_read
from kfp_vision.components.shared.tasks.masks import IGNORED, encode_mask

__all__ = ["find_mask_folders", "read_mask_folders"]

_IMAGES = ("images", "image", "imgs", "jpegimages")
_MASKS = ("masks", "mask", "annotations", "labels", "segmentationclass")
# What may follow the name of the image in that of its mask.
_ENDINGS = ("", "_mask", "_labels", "_L")


class _Pair(NamedTuple):
    """An image and its mask; None where there is none."""

    image: str
    mask: str | None
    split: str | None


def find_mask_folders(folder: Folder, index: FileIndex) -> list[str]:
    """Returns the masks of a source in mask folders; none where it is another one."""
    return [pair.mask for pair in _pairs(index) if pair.mask]


def read_mask_folders(folder: Folder, name: str = "") -> Listing:
    """Lists images with their masks.

    Where no file names the classes, all masks are read once beforehand: their values are the
    classes. Values 0 and 255 alone are a background and a foreground, where two classes are named,
    too.

    Raises:
        ValueError: There is no image with a mask, or most are behind links that are not followed;
            the list of the classes is not one, names one class alone or is, for masks of colours,
            not there.
        StorageError: A folder must not be read.
    """
    index = FileIndex(folder)
    pairs = _pairs(index)
    if not any(pair.mask for pair in pairs):
        raise ValueError(
            "There must be folders `images` and `masks` with a PNG of the same name for each "
            f"image. Received: none in {folder.uri!r}."
        )
    problems = _problems(folder, pairs)
    masks = [pair.mask for pair in pairs if pair.mask and pair.image not in problems]
    _require_usable(masks, [*problems.values()])
    source = find_class_list(index.files)
    listed = _listed_classes(folder, source) if source else None
    for mask in masks:
        record_read(mask)  # Once its image is decoded: a mask that is corrected is another version.

    def samples(classes: ClassList) -> Iterator[Sample | Rejection]:
        for image, mask, split in pairs:
            if image in problems:
                yield problems[image]
            elif mask is None:
                yield Rejection(image, "mask_missing", "There is no mask of the name of the image.")
            else:
                load = _MaskFile(folder, image, mask, classes)
                yield Sample(image, (), split, folder, load_target=load)

    def listing() -> Listing:
        classes, notes = _classes(folder, source, listed, masks)
        lonely = sorted(_mask_files(index) - {pair.mask for pair in pairs})
        if lonely:
            notes.append(f"{len(lonely)} masks without an image are not used, such as {lonely[0]}.")
        return dataclasses.replace(
            found,
            samples=samples(classes),
            notes=[*map(escape_name, notes)],
            class_order=classes.names,
        )

    found = Listing(
        samples(listed or ClassList((), {})),
        len(pairs),
        [],
        splits=frozenset(pair.split for pair in pairs if pair.split),
        task="semantic_segmentation",
        with_classes=listing,
    )
    return found


def _problems(folder: Folder, pairs: Sequence[_Pair]) -> dict[str, Rejection]:
    """Returns image -> why it or its mask must not be read."""
    found = {}
    for image, mask, _ in pairs:
        problem = reject_path(folder, image)
        if mask and not problem and (cause := reject_path(folder, mask)):
            problem = Rejection(image, cause.code, f"{escape_name(mask)}: {cause.message}")
        if problem:
            found[image] = problem
    return found


def _require_usable(masks: Sequence[str], problems: Sequence[Rejection]) -> None:
    """Refuses a source before its classes are looked for in the few masks that are left."""
    outside = [each for each in problems if each.code == "outside_root"]
    if outside:
        require_few_links(len(outside), len(masks), outside[0])
    if not masks:
        raise ValueError(
            f"There must be a mask that may be read. Received: {len(problems)} images that are "
            f"left out, for instance {problems[0].path!r}: {problems[0].message}"
        )


def _listed_classes(folder: Folder, source: str) -> ClassList:
    """Returns the classes that a file names."""
    listed = read_class_list(TextFile(folder, source).read(), source)
    if len(listed.names) < 2:
        raise ValueError(
            f"{source} must name two classes or more; what is around the objects is one, too. "
            f"Received: {listed.names[0]!r} alone."
        )
    return listed


def _classes(
    folder: Folder, source: str | None, listed: ClassList | None, masks: Sequence[str]
) -> tuple[ClassList, list[str]]:
    """Returns the classes that are listed, else the values of the masks, and notes."""
    if listed is None:
        return count_classes(folder, masks)
    classes = with_white(listed, folder, masks)
    notes = [f"Classes: {len(classes.names)} of {source}."]
    if classes != listed:
        notes.append(f"Masks are black and white alone: white is {classes.names[1]}.")
    return classes, notes


def _mask_files(index: FileIndex) -> set[str]:
    return {
        path
        for path in index.files
        if path.lower().endswith(".png")
        and file_kind(path) == "image"
        and any(part.lower() in _MASKS for part in path.split("/")[:-1])
    }


def _pairs(index: FileIndex) -> list[_Pair]:
    """Returns the images below folders called like images, each with its mask."""
    masks: dict[tuple[str, ...], str] = {}
    # Names that differ in case or in how accents are composed; None where several do.
    similar: dict[tuple[str, ...], str | None] = {}
    for path in sorted(_mask_files(index)):
        key = _key(path, _MASKS)
        if key:
            masks[key] = path
            same = tuple(map(path_key, key))
            similar[same] = None if same in similar else path
    keys = {path: key for path in index.images if (key := _key(path, _IMAGES))}
    splits = name_splits({part for *parents, _ in keys.values() for part in parents})
    pairs = []
    for path, (*parents, stem) in keys.items():
        called = [(*parents, stem + ending) for ending in _ENDINGS]
        mask = next((masks[each] for each in called if each in masks), None)
        if mask is None:
            alike = [similar.get(tuple(map(path_key, each))) for each in called]
            mask = next(filter(None, alike), None)
        split = next((splits[part] for part in parents if part in splits), None)
        pairs.append(_Pair(path, mask, split))
    return pairs


def _key(path: str, kinds: Sequence[str]) -> tuple[str, ...] | None:
    """Returns what image and mask have in common: the path less the folder of its kind."""
    *parents, name = path.split("/")
    places = [place for place, part in enumerate(parents) if part.lower() in kinds]
    if not places:
        return None
    del parents[places[-1]]
    return (*parents, name.rpartition(".")[0])


@dataclasses.dataclass(frozen=True)
class _MaskFile:
    """What reads the file of the mask of one image."""

    folder: Folder
    image: str
    path: str
    classes: ClassList

    def __call__(self) -> TargetReader | Rejection:
        try:
            content = self.folder.read(self.path)
        except FileNotFoundError:
            return Rejection(self.image, "mask_missing", f"There is no file {self.path}.")
        except PermissionError as error:
            message = f"{self.path}: the mask may not be read: {error.strerror}."
            return Rejection(self.image, "no_permission", message)
        return functools.partial(self.target, content)

    def target(
        self, content: bytes, height: int, width: int, orientation: int
    ) -> Target | Rejection:
        """Returns the mask at the size of the image, or why it cannot be used."""
        try:
            mask = class_numbers(content, self.classes)
        except UnreadableMaskError as error:
            return Rejection(self.image, error.code, f"{self.path}: {error}")
        changes: tuple[str, ...] = ()
        if is_as_stored(mask.shape, height, width, orientation):
            mask, changes = turn_pixels(mask, orientation), ("turned",)
        elif is_taken_as_upright(mask.shape, height, width, orientation):
            changes = ("upright",)
        if mask.shape != (height, width):
            turned = " The image may have been turned after that: the mask must be as it is shown."
            message = (
                f"{self.path}: a mask must be of the size of its image, {width} x {height} pixels. "
                f"Received: {mask.shape[1]} x {mask.shape[0]}."
                + turned
                * (mask.shape == (width, height))
            )
            return Rejection(self.image, "mask_size", message)
        shown = np.unique(mask)
        shown = shown[shown != IGNORED]
        if not len(shown):
            message = f"{self.path}: every pixel is {IGNORED}, of which nothing is known."
            return Rejection(self.image, "mask_empty", message)
        labels = tuple(self.classes.names[label] for label in shown.tolist())
        return Target(labels, {"mask": encode_mask(mask)}, changes)
