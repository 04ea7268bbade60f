"""Masks of classes: stored as PNG, read at the size of the images, counted pixel by pixel.

Shapes: masks uint8 [B, H, W] of class numbers, counts int64 [B, C, C].
"""

import io

import numpy as np
import pyarrow as pa
from PIL import Image

__all__ = ["IGNORED", "encode_mask", "pixel_counts", "read_masks"]

# A pixel of which nothing is known.
IGNORED = 255


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
