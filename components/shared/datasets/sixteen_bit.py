"""From uint16 pixels to uint8, with one scale for all images that a model ever sees.

Cameras and microscopes measure 10, 12 or 14 bits and store them in 16: divided by 257, as 16 bits
are, 12 of them end at 15 of 255. Scaled each by its own maximum, a dark image could not be told
from a bright one; so the whole data set has one white level, which goes with the model.
"""

import re

import numpy as np
from PIL import ImageFile

__all__ = ["FULL_WHITE", "has_wide_channels", "sixteen_bit_changes", "to_eight_bits", "white_level"]

_DEPTHS = (8, 10, 12, 14, 16)
FULL_WHITE = 2**16 - 1
# 12 of 16 bits end at 16 of 255; one pixel in a thousand may be a hot one.
_DIM, _DIM_PERCENTILE = 16, 99.9


def white_level(peak: int) -> int:
    """Returns the largest value of the bit depth that a data set's 16-bit pixels were taken with.

    Args:
        peak: The largest value in the data set; 0 when it has no 16-bit pixels.
    """
    return next((2**bits - 1 for bits in _DEPTHS if 0 < peak < 2**bits), FULL_WHITE)


def to_eight_bits(pixels: np.ndarray, white: int) -> np.ndarray:
    """Returns uint8 pixels, 255 from `white` on, rounded to nearest."""
    scaled = (np.minimum(pixels, white).astype(np.uint32) * 255 + white // 2) // white
    return scaled.astype(np.uint8)


def sixteen_bit_changes(pixels: np.ndarray) -> list[str]:
    """Returns the keys of `decoding.CHANGES` for pixels, uint8 now, that had 16 bits a channel."""
    is_dim = np.percentile(pixels, _DIM_PERCENTILE) <= _DIM
    return ["sixteen_bit", "bright_part_unused"] if is_dim else ["sixteen_bit"]


def has_wide_channels(image: ImageFile.ImageFile) -> bool:
    """Returns whether an image, opened and not loaded, stores 16 bits a channel.

    Only its raw mode (`RGB;16B` for instance) says so: Pillow keeps the upper 8 bits of three and
    four channels. `BGR;16` has 16 bits a pixel.
    """
    return any(re.search(r";16[BLN]", str(tile)) for tile in image.tile)
