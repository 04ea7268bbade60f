"""Small pictures that can stand inside JSON and HTML."""

import base64
import io

import numpy as np
from PIL import Image

__all__ = ["encode_picture", "thumbnail"]

_SIDE = 64
_LARGE_BYTES = 4096
_QUALITY = 85


def thumbnail(pixels: np.ndarray) -> str:
    """Returns a data URI of at most 64x64 pixels; small images keep their size.

    It is small in bytes, too: a page holds up to 200 of them.

    Args:
        pixels: uint8 [height, width, channels], 1 or 3 channels.
    """
    image = Image.fromarray(pixels.squeeze(axis=2) if pixels.shape[2] == 1 else pixels)
    image.thumbnail((_SIDE, _SIDE), Image.Resampling.BOX)
    return encode_picture(image)


def encode_picture(image: Image.Image) -> str:
    """Returns the data URI of an image: a PNG, or a JPEG where that would be large."""
    kind, file = "png", io.BytesIO()
    image.save(file, "PNG", optimize=True)
    if file.tell() > _LARGE_BYTES:
        kind, file = "jpeg", io.BytesIO()
        image.save(file, "JPEG", quality=_QUALITY)
    return f"data:image/{kind};base64," + base64.b64encode(file.getvalue()).decode("ascii")
