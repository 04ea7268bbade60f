"""From uint16 pixels to uint8, with one scale for all images that a model ever sees.

Cameras and microscopes measure 10, 12 or 14 bits and store them in 16: divided by 257, as 16 bits
are, 12 of them end at 15 of 255. Scaled each by its own maximum, a dark image could not be told
from a bright one; so the whole data set has one white level, which goes with the model.
"""

import io
import re
import sys

import numpy as np
from PIL import Image, ImageFile

__all__ = [
    "FULL_WHITE",
    "has_wide_channels",
    "join_bits",
    "open_lower_bits",
    "sixteen_bit_changes",
    "to_eight_bits",
    "white_level",
]

_DEPTHS = (8, 10, 12, 14, 16)
FULL_WHITE = 2**16 - 1
# Of big-endian, little-endian and native raw modes.
_OTHER_ORDER = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
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
    scaled: np.ndarray = (np.minimum(pixels, white).astype(np.uint32) * 255 + white // 2) // white
    return scaled.astype(np.uint8)


def sixteen_bit_changes(pixels: np.ndarray) -> list[str]:
    """Returns the keys of `decoding.CHANGES` for pixels, uint8 now, that had 16 bits a channel."""
    is_dim = np.percentile(pixels, _DIM_PERCENTILE) <= _DIM
    return ["sixteen_bit", "bright_part_unused"] if is_dim else ["sixteen_bit"]


def has_wide_channels(image: ImageFile.ImageFile) -> bool:
    """Returns whether an image of several channels, opened and not loaded, has 16 bits in each.

    Only its raw mode says so, `RGB;16B` for instance, or the maximum of a PPM file: Pillow keeps
    the upper 8 bits. `BGR;16` has 16 bits a pixel.
    """
    wide = r"\('RGB', \d{4,}\)" if image.format == "PPM" else r";16[BLN]"
    return any(re.search(wide, str(tile.args)) for tile in image.tile)


def open_lower_bits(content: bytes, formats: tuple[str, ...]) -> ImageFile.ImageFile | None:
    """Returns an image of the lower 8 bits of 16-bit RGB or RGBA, or None for other raw modes.

    Raw modes name the order of the two bytes of a channel, and Pillow keeps the upper one: told the
    other order it keeps the lower one.
    """
    image = Image.open(io.BytesIO(content), formats=formats)
    tiles = []
    for tile in image.tile:
        raw_mode, *others = tile.args if isinstance(tile.args, tuple) else [tile.args]
        match = re.fullmatch(r"(RGBA?;16)([BLN])", str(raw_mode))
        if not match:
            image.close()
            return None
        swapped = f"{match[1]}{_OTHER_ORDER[match[2]]}"
        args = (swapped, *others) if isinstance(tile.args, tuple) else swapped
        tiles.append(tile._replace(args=args))
    image.tile = tiles
    return image


def join_bits(upper: Image.Image, lower: Image.Image, white: int) -> tuple[Image.Image, np.ndarray]:
    """Returns an 8-bit image of RGB or RGBA, and its 16-bit values [height, width, 3 or 4].

    Args:
        upper: Of the upper 8 bits of each channel.
        lower: Of the lower ones.
        white: The value that becomes 255; of alpha it is always the largest possible one.
    """
    values = np.asarray(upper).astype(np.uint16) << 8 | np.asarray(lower)
    colours, alpha = values[..., :3], values[..., 3:]
    pixels = [to_eight_bits(colours, white), to_eight_bits(alpha, FULL_WHITE)]
    return Image.fromarray(np.concatenate(pixels, axis=-1)), values
