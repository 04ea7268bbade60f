"""Small pictures that can stand inside JSON and HTML."""

import base64
import io

import numpy as np
from PIL import Image

__all__ = ["thumbnail"]

_SIDE = 64


def thumbnail(pixels: np.ndarray) -> str:
    """Returns a PNG data URI of at most 64x64 pixels; small images keep their size.

    Args:
        pixels: uint8 [height, width, channels], 1 or 3 channels.
    """
    image = Image.fromarray(pixels.squeeze(axis=2) if pixels.shape[2] == 1 else pixels)
    image.thumbnail((_SIDE, _SIDE), Image.Resampling.BOX)
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")
