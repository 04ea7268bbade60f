"""Folders `images/` and `masks/`: a PNG of class numbers for every image, with splits or without.

`train/images/` and `images/train/` are both read. Mask modes: 8 and 16 bits gray, palettes (whose
positions are the numbers), one bit, and colours where a table of the classes says what they mean.
"""

import collections
import dataclasses
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from kfp_vision.components.data_import.objects.turning import is_as_stored, turn_pixels
from kfp_vision.components.data_import.readers.class_lists import (
    ClassList,
    find_class_list,
    read_class_list,
)
from kfp_vision.components.data_import.readers.file_index import FileIndex
from kfp_vision.components.data_import.readers.text import TextFile
from kfp_vision.components.data_import.samples import (
    SPLIT_NAMES,
    Listing,
    Rejection,
    Sample,
    Target,
)
from kfp_vision.components.shared.datasets.image_files import file_kind
from kfp_vision.components.shared.runtime.storage import Folder
from kfp_vision.components.shared.tasks.masks import IGNORED, encode_mask

__all__ = ["find_mask_folders", "read_mask_folders"]

_IMAGES = ("images", "image", "imgs", "jpegimages")
_MASKS = ("masks", "mask", "annotations", "labels", "segmentationclass")
# What may follow the name of the image in that of its mask.
_ENDINGS = ("", "_mask", "_labels", "_L")
# Of 16 bits and of a mask of two values.
_WHITE_16, _WHITE_8 = 2**16 - 1, 255
# More values than these beside a black and a white are shades.
_MANY_VALUES = 20


class _Pair(NamedTuple):
    """An image and its mask; None where there is none."""

    image: str
    mask: str | None
    split: str | None


class _UnreadableMaskError(ValueError):
    """A mask that tells nothing; `code` is that of the rejection."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def find_mask_folders(folder: Folder, index: FileIndex) -> list[str]:
    """Returns the masks of a source in mask folders; none where it is another one."""
    return [pair.mask for pair in _pairs(index) if pair.mask]


def read_mask_folders(folder: Folder, name: str = "") -> Listing:
    """Lists images with their masks.

    Where no file names the classes, all masks are read once beforehand: their values are the
    classes. Values 0 and 255 alone are a background and a foreground.

    Raises:
        ValueError: There is no image with a mask, or the list of the classes is not one or, for
            masks of colours, not there.
        StorageError: A folder must not be read.
    """
    index = FileIndex(folder)
    pairs = _pairs(index)
    if not any(pair.mask for pair in pairs):
        raise ValueError(
            "There must be folders `images` and `masks` with a PNG of the same name for each "
            f"image. Received: none in {folder.uri!r}."
        )
    source = find_class_list(index.files)
    if source:
        classes = read_class_list(TextFile(folder, source).read(), source)
        notes = [f"Classes: {len(classes.names)} of {source}."]
    else:
        classes, notes = _count_classes(folder, [pair.mask for pair in pairs if pair.mask])
    used = {pair.mask for pair in pairs}
    lonely = sorted(_mask_files(index) - used)
    if lonely:
        notes.append(f"{len(lonely)} masks without an image are not used, such as {lonely[0]}.")

    def samples() -> Iterator[Sample | Rejection]:
        for image, mask, split in pairs:
            if mask is None:
                yield Rejection(image, "mask_missing", "There is no mask of the name of the image.")
            else:
                yield Sample(image, (), split, folder, _MaskFile(folder, image, mask, classes))

    return Listing(
        samples(),
        len(pairs),
        notes,
        splits=frozenset(pair.split for pair in pairs if pair.split),
        task="semantic_segmentation",
        class_order=classes.names,
    )


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
    for path in sorted(_mask_files(index)):
        key = _key(path, _MASKS)
        if key:
            masks[key] = path
    pairs = []
    for path in index.images:
        key = _key(path, _IMAGES)
        if key is None:
            continue
        *parents, stem = key
        found = (masks.get((*parents, stem + ending)) for ending in _ENDINGS)
        mask = next((each for each in found if each), None)
        splits = [SPLIT_NAMES[part.lower()] for part in parents if part.lower() in SPLIT_NAMES]
        pairs.append(_Pair(path, mask, splits[0] if splits else None))
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
    """What reads the mask of one image."""

    folder: Folder
    image: str
    path: str
    classes: ClassList

    def __call__(self, height: int, width: int, orientation: int) -> Target | Rejection:
        try:
            mask = _class_numbers(self.folder.read(self.path), self.classes)
        except _UnreadableMaskError as error:
            return Rejection(self.image, error.code, f"{self.path}: {error}")
        except FileNotFoundError:
            return Rejection(self.image, "mask_missing", f"There is no file {self.path}.")
        changes: tuple[str, ...] = ()
        if is_as_stored(mask.shape, height, width, orientation):
            mask, changes = turn_pixels(mask, orientation), ("turned",)
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


def _class_numbers(content: bytes, classes: ClassList) -> np.ndarray:
    """Returns uint8 [H, W]: positions of classes, 255 where nothing is known.

    Raises:
        _UnreadableMaskError: It is no mask, or not one of these classes.
    """
    values = _read_values(content)
    if values.ndim == 3:
        return _numbers_of_colours(values, classes.colours)
    numbers = np.full(values.shape, IGNORED, np.uint8)
    strange = []
    for value in np.unique(values).tolist():
        if value in classes.positions:
            numbers[values == value] = classes.positions[value]
        elif value not in (IGNORED, _WHITE_16):
            strange.append(value)
    if strange:
        raise _UnreadableMaskError(
            "mask_ids",
            f"the values of a mask must be those of the {len(classes.names)} classes, or {IGNORED} "
            f"where nothing is known. Received: {strange[:5]}.",
        )
    return numbers


def _read_values(content: bytes) -> np.ndarray:
    """Returns the values of a mask, [H, W], or its colours, [H, W, 3].

    Raises:
        _UnreadableMaskError: It is no PNG.
    """
    if not content:
        raise _UnreadableMaskError("mask_unreadable", "the file is empty.")
    try:
        with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
            # Of a palette the positions are meant: its colours are there to be looked at.
            values = np.asarray(image.convert("RGB") if image.mode == "RGBA" else image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _UnreadableMaskError("mask_unreadable", f"it is no PNG: {error}.") from error
    if values.ndim == 3 and (values.shape[2] == 2 or (values == values[..., :1]).all()):
        values = values[..., 0]
    return values.astype(np.int64)


def _numbers_of_colours(
    values: np.ndarray, colours: Mapping[tuple[int, int, int], int]
) -> np.ndarray:
    if not colours:
        raise _UnreadableMaskError(
            "mask_colours",
            "the mask is of colours, and no table says what they mean. Write `classes.csv` with "
            "the columns name, r, g, b.",
        )
    coded = (values[..., 0] << 16) | (values[..., 1] << 8) | values[..., 2]
    found, places = np.unique(coded, return_inverse=True)
    table = {(r << 16) | (g << 8) | b: label for (r, g, b), label in colours.items()}
    strange = [
        (each >> 16, each >> 8 & 255, each & 255) for each in found.tolist() if each not in table
    ]
    if strange:
        raise _UnreadableMaskError(
            "mask_colours",
            f"the colours of a mask must be those of the table. Received: {strange[:3]}.",
        )
    numbers = np.array([table[each] for each in found.tolist()], np.uint8)
    return numbers[places].reshape(coded.shape)


def _count_classes(folder: Folder, masks: Sequence[str]) -> tuple[ClassList, list[str]]:
    """Returns the values of all masks as classes."""
    found: collections.Counter[int] = collections.Counter()
    coloured: list[str] = []
    for path in masks:
        try:
            values = _read_values(folder.read(path))
        except (_UnreadableMaskError, OSError):
            # It is rejected when its image is read.
            continue
        if values.ndim == 2:
            shown, counts = np.unique(values, return_counts=True)
            found.update(dict(zip(shown.tolist(), counts.tolist(), strict=True)))
        else:
            coloured.append(path)
    # A mask of one gray among them is of colours, too.
    if coloured and len(found) < 2:
        shown = np.unique(_read_values(folder.read(coloured[0])).reshape(-1, 3), axis=0).tolist()
        raise ValueError(
            "Masks of colours must come with `classes.csv`, a table of the columns name, r, g, b "
            f"that says what each stands for. Received: no table, and {len(coloured)} masks of "
            f"colours, {coloured[0]} with {len(shown)} of them: {[*map(tuple, shown[:8])]}."
        )
    if sorted(found) in ([0, _WHITE_8], [0, _WHITE_16]):
        positions = {0: 0, max(found): 1}
        return ClassList(("background", "foreground"), positions), [
            f"Masks of 0 and {max(found)} alone: background and foreground."
        ]
    numbers = sorted(found.keys() - {IGNORED, _WHITE_16})
    most = {value for value, _ in found.most_common(2)}
    if len(numbers) > _MANY_VALUES and most == {0, _WHITE_8}:
        raise ValueError(
            "Masks must hold numbers of classes. Received: "
            f"{len(numbers)} values, most pixels 0 or {_WHITE_8}: shades at edges that were "
            "smoothed. Resize masks without smoothing, or name the classes in `classes.txt`."
        )
    if not 2 <= len(numbers) <= IGNORED:
        raise ValueError(
            f"Masks must have from 2 to {IGNORED} classes, by values or by a file that names them. "
            f"Received: {len(numbers)} values, {numbers[:5]}."
        )
    names = tuple(str(value) for value in numbers)
    positions = {value: place for place, value in enumerate(numbers)}
    return ClassList(names, positions), [
        f"No classes.txt names the classes: they are called after the values of the masks, "
        f"{', '.join(names[:12])}{'' if len(names) <= 12 else ' and more'}."
    ]
