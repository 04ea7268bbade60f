"""The file of a mask, as classes: gray of 8 and 16 bits, palettes, one bit, colours of a table."""

import dataclasses
import io
from collections.abc import Mapping

import numpy as np
from PIL import Image

from kfp_vision.components.data_import.readers.class_lists import ClassList
from kfp_vision.components.shared.tasks.masks import IGNORED

__all__ = ["WHITE_16", "UnreadableMaskError", "class_numbers", "read_values"]

# Of 16 bits: nothing is known.
WHITE_16 = 2**16 - 1
_UNKNOWN = (IGNORED, WHITE_16)

_Colour = tuple[int, int, int]


class UnreadableMaskError(ValueError):
    """A mask that tells nothing; `code` is that of the rejection."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def class_numbers(content: bytes, classes: ClassList) -> np.ndarray:
    """Returns uint8 [H, W]: positions of classes, 255 where nothing is known.

    Raises:
        UnreadableMaskError: It is no mask, or not one of these classes.
    """
    image = _decode(content)
    if classes.colours and image.mode in ("RGB", "RGBA"):
        # All gray or not: it is the table that says what a colour means.
        return _numbers_of_colours(np.asarray(image.convert("RGB"), np.int32), classes.colours)
    values = _values(image)
    if not classes.colours:
        return _numbers_of_values(values, classes)
    known = _by_table(np.unique(values).tolist(), _colours(image), classes)
    return _numbers_of_values(values, known)


def read_values(content: bytes) -> np.ndarray:
    """Returns the values of a mask, [H, W], or its colours, [H, W, 3].

    Raises:
        UnreadableMaskError: It is no PNG.
    """
    return _values(_decode(content))


def _decode(content: bytes) -> Image.Image:
    if not content:
        raise UnreadableMaskError("mask_unreadable", "the file is empty.")
    try:
        image = Image.open(io.BytesIO(content), formats=("PNG",))
        image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UnreadableMaskError("mask_unreadable", f"it is no PNG: {error}.") from error
    return image


def _values(image: Image.Image) -> np.ndarray:
    # Of a palette the positions are meant: its colours are there to be looked at.
    values = np.asarray(image.convert("RGB") if image.mode == "RGBA" else image)
    if values.ndim == 3 and (values.shape[2] == 2 or (values == values[..., :1]).all()):
        values = values[..., 0]
    return values.astype(np.uint8) if values.dtype == bool else values


def _colours(image: Image.Image) -> dict[int, _Colour]:
    """Returns the colours in which the values of one channel are shown; none of 16 bits."""
    if image.mode == "P":
        channels = iter(image.getpalette() or ())
        return dict(enumerate(zip(channels, channels, channels, strict=False)))
    if image.mode == "1":
        return {0: (0, 0, 0), 1: (255, 255, 255)}
    return {value: (value,) * 3 for value in range(256)} if image.mode in ("L", "LA") else {}


def _by_table(shown: list[int], colours: Mapping[int, _Colour], classes: ClassList) -> ClassList:
    """Returns the classes with what the values of a mask of one channel mean, by a colour table.

    Its colours count where it has all that are shown. Where it has none of them, nor of the
    palette, the values are numbers of classes: black may be class 0 and white unknown by both.
    """
    listed = {
        value: classes.colours[colour]
        for value, colour in colours.items()
        if colour in classes.colours
    }
    unlisted = [value for value in shown if value not in listed and value not in _UNKNOWN]
    if not unlisted:
        return dataclasses.replace(classes, positions=listed)
    both = {0: 0, IGNORED: IGNORED}
    # Of a palette, colours that this mask does not show tell as well what it was made for. Grays do
    # not: palettes are filled up with them.
    mixed = [
        value
        for value, label in listed.items()
        if (value in shown or len(set(colours[value])) > 1) and both.get(value) != label
    ]
    if mixed:
        strange = colours.get(unlisted[0], unlisted[0])
        raise UnreadableMaskError(
            "mask_colours",
            "the colours of a mask must be those of the table. Received: "
            f"{strange}, and {colours[mixed[0]]}, which is in the table. If the values are numbers "
            "of classes, write them into a column `id` of `classes.csv`.",
        )
    return classes


def _numbers_of_values(values: np.ndarray, classes: ClassList) -> np.ndarray:
    if values.ndim == 3:
        raise UnreadableMaskError(
            "mask_colours",
            "the mask is of colours, and no table says what they mean. Write `classes.csv` with "
            "the columns name, r, g, b.",
        )
    numbers = np.full(values.shape, IGNORED, np.uint8)
    strange = []
    for value in np.unique(values).tolist():
        if value in classes.positions:
            numbers[values == value] = classes.positions[value]
        elif value not in _UNKNOWN:
            strange.append(value)
    if strange:
        raise UnreadableMaskError(
            "mask_ids",
            f"the values of a mask must be those of the {len(classes.names)} classes, or {IGNORED} "
            f"where nothing is known. Received: {strange[:5]}.",
        )
    return numbers


def _numbers_of_colours(values: np.ndarray, colours: Mapping[_Colour, int]) -> np.ndarray:
    coded = (values[..., 0] << 16) | (values[..., 1] << 8) | values[..., 2]
    found, places = np.unique(coded, return_inverse=True)
    table = {(r << 16) | (g << 8) | b: label for (r, g, b), label in colours.items()}
    strange = [
        (each >> 16, each >> 8 & 255, each & 255) for each in found.tolist() if each not in table
    ]
    if strange:
        raise UnreadableMaskError(
            "mask_colours",
            f"the colours of a mask must be those of the table. Received: {strange[:3]}.",
        )
    numbers = np.array([table[each] for each in found.tolist()], np.uint8)
    return numbers[places].reshape(coded.shape)
