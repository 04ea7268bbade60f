"""Masks of classes: stored as PNG, read at the size of the images, counted pixel by pixel.

Shapes: masks uint8 [B, H, W] of class numbers, counts int64 [B, C, C].
"""

import io
import math
from collections.abc import Callable

import numpy as np
import pyarrow as pa
from PIL import Image

from kfp_vision.components.shared.runtime.memory import available_memory_bytes

__all__ = ["IGNORED", "encode_mask", "open_masks", "pixel_counts", "read_masks"]

# A pixel of which nothing is known.
IGNORED = 255
# Of the free memory; the images, of three channels, may have half of it.
_KEPT_SHARE = 1 / 8


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
        with Image.open(io.BytesIO(column[row].as_py())) as image:
            masks[place] = np.asarray(image.resize(size[::-1], Image.Resampling.NEAREST))
    return masks.reshape(*rows.shape, *size)


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


def pixel_counts(masks: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """Returns the known pixels of each image by true and predicted class, int64 [B, C, C].

    Args:
        masks: True classes, [B, H, W].
        predicted: Below C, [B, H, W].
        num_classes: C.
    """
    cells = num_classes * masks.astype(np.int64) + predicted
    return np.stack(
        [
            np.bincount(each[mask != IGNORED], minlength=num_classes**2)
            for each, mask in zip(cells, masks, strict=True)
        ]
    ).reshape(-1, num_classes, num_classes)
