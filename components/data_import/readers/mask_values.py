"""The file of a mask, as classes: gray of 8 and 16 bits, palettes, one bit, colours of a table."""

import io
from collections.abc import Mapping

import numpy as np
from PIL import Image

from kfp_vision.components.data_import.readers.class_lists import ClassList
from kfp_vision.components.shared.tasks.masks import IGNORED

__all__ = ["WHITE_16", "UnreadableMaskError", "class_numbers", "read_values"]

# Of 16 bits: nothing is known.
WHITE_16 = 2**16 - 1


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
    values = read_values(content)
    if values.ndim == 3:
        return _numbers_of_colours(values, classes.colours)
    numbers = np.full(values.shape, IGNORED, np.uint8)
    strange = []
    for value in np.unique(values).tolist():
        if value in classes.positions:
            numbers[values == value] = classes.positions[value]
        elif value not in (IGNORED, WHITE_16):
            strange.append(value)
    if strange:
        raise UnreadableMaskError(
            "mask_ids",
            f"the values of a mask must be those of the {len(classes.names)} classes, or {IGNORED} "
            f"where nothing is known. Received: {strange[:5]}.",
        )
    return numbers


def read_values(content: bytes) -> np.ndarray:
    """Returns the values of a mask, [H, W], or its colours, [H, W, 3].

    Raises:
        UnreadableMaskError: It is no PNG.
    """
    if not content:
        raise UnreadableMaskError("mask_unreadable", "the file is empty.")
    try:
        with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
            # Of a palette the positions are meant: its colours are there to be looked at.
            values = np.asarray(image.convert("RGB") if image.mode == "RGBA" else image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UnreadableMaskError("mask_unreadable", f"it is no PNG: {error}.") from error
    if values.ndim == 3 and (values.shape[2] == 2 or (values == values[..., :1]).all()):
        values = values[..., 0]
    return values.astype(np.int64)


def _numbers_of_colours(
    values: np.ndarray, colours: Mapping[tuple[int, int, int], int]
) -> np.ndarray:
    if not colours:
        raise UnreadableMaskError(
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
        raise UnreadableMaskError(
            "mask_colours",
            f"the colours of a mask must be those of the table. Received: {strange[:3]}.",
        )
    numbers = np.array([table[each] for each in found.tolist()], np.uint8)
    return numbers[places].reshape(coded.shape)
