"""Masks of classes: stored as PNG, read at the size of the images, counted pixel by pixel.

Shapes: masks uint8 [B, H, W] of class numbers, probabilities [h, w, C] at the size of a model,
counts int64 [B, C, C].
"""

import functools
import io
import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from kfp_vision.components.shared.runtime.memory import available_memory_bytes

__all__ = [
    "IGNORED",
    "count_pixels",
    "encode_mask",
    "likeliest_classes",
    "open_masks",
    "open_stored_masks",
    "read_masks",
]

# A pixel of which nothing is known.
IGNORED = 255
# Of the free memory; the images, of three channels, may have half of it.
_KEPT_SHARE = 1 / 8
# A side of the squares that are resized at once, in pixels of the mask: in most of them few classes
# can be the likeliest, and the others are not resized.
_SQUARE = 128
# Pixels that are counted at once, as 64-bit numbers.
_COUNTED = 2**16


def encode_mask(mask: np.ndarray) -> bytes:
    """Returns an 8-bit gray PNG of a mask uint8 [H, W]."""
    file = io.BytesIO()
    Image.fromarray(mask).save(file, "PNG")
    return file.getvalue()


def read_masks(table: pa.Table, rows: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Returns the masks of rows of a split at a size, uint8 [*S, H, W]; S: shape of rows.

    Args:
        table: Rows of the store, with the column `mask`.
        rows: Positions, of any shape.
        size: (height, width); the nearest pixel of the stored mask counts.
    """
    column = table["mask"]
    masks = np.empty((rows.size, *size), np.uint8)
    for place, row in enumerate(rows.ravel().tolist()):
        image = Image.fromarray(_read_mask(column, row))
        masks[place] = np.asarray(image.resize(size[::-1], Image.Resampling.NEAREST))
    return masks.reshape(*rows.shape, *size)


def _read_mask(column: pa.ChunkedArray, row: int) -> np.ndarray:
    """Returns the mask of a row of the store at its own size, uint8 [H, W]."""
    with Image.open(io.BytesIO(column[row].as_py())) as image:
        return np.asarray(image)


def open_masks(table: pa.Table, size: tuple[int, int]) -> Callable[[np.ndarray], np.ndarray]:
    """Returns `read_masks` of a split, which decodes a mask once where all of them fit into memory.

    Args:
        table: All rows of the split.
        size: As of `read_masks`.
    """
    if len(table) * math.prod(size) > _KEPT_SHARE * available_memory_bytes():
        return lambda rows: read_masks(table, rows, size)
    # The system gives memory to pages that are written only.
    kept, is_kept = np.empty((len(table), *size), np.uint8), np.zeros(len(table), bool)

    def read(rows: np.ndarray) -> np.ndarray:
        missing = np.unique(rows[~is_kept[rows]])
        kept[missing] = read_masks(table, missing, size)
        is_kept[missing] = True
        masks: np.ndarray = kept[rows]
        return masks

    return read


def open_stored_masks(table: pa.Table) -> Callable[[np.ndarray], np.ndarray]:
    """Returns what makes of rows [*S], for each, a function that reads its mask as it is stored.

    Of a batch only the mask that is looked at is in memory, of whatever size.

    Args:
        table: All rows of the split.
    """
    column = table["mask"]

    def read(rows: np.ndarray) -> np.ndarray:
        readers = np.empty(rows.shape, object)
        flat = rows.ravel().tolist()
        readers.ravel()[:] = [functools.partial(_read_mask, column, row) for row in flat]
        return readers

    return read


def likeliest_classes(probabilities: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Returns the class uint8 [*size] of every pixel; between those of the model is a slope.

    Args:
        probabilities: [h, w, C]; they are resized bilinearly.
        size: (height, width) of the mask.
    """
    mask = np.empty(size, np.uint8)
    if probabilities.shape[:2] == size:
        mask[:] = probabilities.argmax(-1)
        return mask
    planes = np.ascontiguousarray(np.moveaxis(probabilities, -1, 0), np.float32)
    images = [Image.fromarray(plane) for plane in planes]
    scale = np.array(planes.shape[1:]) / size
    # Pixels of the model that count, on each side of a place.
    reach = np.maximum(scale, 1.0)
    for top, left in itertools.product(*(range(0, side, _SQUARE) for side in size)):
        square = mask[top : top + _SQUARE, left : left + _SQUARE]
        first = np.array([top, left]) * scale
        last = np.minimum(first + square.shape * scale, planes.shape[1:])
        y0, x0 = np.maximum(first - reach, 0).astype(int)
        y1, x1 = np.ceil(last + reach).astype(int)
        near = planes[:, y0:y1, x0:x1]
        # What is everywhere less than the least of another class is less in between, too.
        possible = np.flatnonzero(~(near.max((1, 2)) < near.min((1, 2)).max()))
        box = (first[1], first[0], last[1], last[0])
        square[:] = possible[0]
        if len(possible) == 1:
            continue
        best = np.full(square.shape, -1.0, np.float32)
        for label in possible:
            resized = images[label].resize(square.shape[::-1], Image.Resampling.BILINEAR, box)
            larger = np.asarray(resized)
            square[larger > best] = label
            np.maximum(best, larger, out=best)
    return mask


def count_pixels(targets: Mapping[str, Any], probabilities: np.ndarray) -> np.ndarray:
    """Returns the known pixels of each image by true and predicted class, int64 [B, C, C].

    Args:
        targets: `mask` [B, H, W]; or `stored`, [B] of `open_stored_masks`, each of its own size,
            which then count instead.
        probabilities: [B, h, w, C].
    """
    masks = (read() for read in targets["stored"]) if "stored" in targets else targets["mask"]
    return np.stack([_counts(mask, p) for mask, p in zip(masks, probabilities, strict=True)])


def _counts(mask: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Returns the known pixels of an image by true and predicted class, int64 [C, C]."""
    num_classes = probabilities.shape[-1]
    true, predicted = mask.ravel(), likeliest_classes(probabilities, mask.shape).ravel()
    counts = np.zeros(num_classes**2, np.int64)
    for start in range(0, len(true), _COUNTED):
        part = slice(start, start + _COUNTED)
        known = true[part] != IGNORED
        cells = num_classes * true[part][known].astype(np.int64) + predicted[part][known]
        counts += np.bincount(cells, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes)
