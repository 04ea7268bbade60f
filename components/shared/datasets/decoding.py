"""From the bytes of a file, or an array, to 8-bit gray or RGB pixels: uint8 [height, width, C].

Every image is decoded to its last row here: that is how a truncated one is found, before training.
"""

import dataclasses
import io
import struct
import zlib

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

__all__ = ["CHANGES", "Decoded", "UnreadableImageError", "decode_array", "decode_file"]

# Pillow's own limit against decompression bombs, 0.27 GB of RGB; it only warns up to twice that.
_MAX_PIXELS = 89_478_485
# No EPS (runs Ghostscript), no PDF: formats of photographs and masks only.
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM")
# What Pillow's parsers raise on broken files; MemoryError and KeyboardInterrupt are not among them.
_DECODE_ERRORS = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
_ORIENTATION = 0x0112  # EXIF tag; 1 is upright.
_ALPHA_MODES = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})

# How pixels were changed -> what the user reads after the number of images.
CHANGES = {
    "alpha": "had transparency and were composited on white",
    "animated": "were animated: the first frame is used",
    "bilevel": "had one bit a pixel and became gray",
    "colour_space": "were in another colour space (CMYK for instance) and became RGB",
    "palette": "had a palette and became RGB or gray",
    "rotated": "were turned upright as their EXIF orientation says",
    "sixteen_bit": "had 16 bits a channel and were scaled to 8",
}


class UnreadableImageError(ValueError):
    """An image is left out; `code` says why in one word."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclasses.dataclass(frozen=True, slots=True)
class Decoded:
    """An image as the store keeps it.

    Attributes:
        pixels: uint8 [height, width, 1 or 3].
        content: What goes into the `image` column.
        encoding: `png`, `jpeg` or `raw`.
        changes: Keys of `CHANGES`.
    """

    pixels: np.ndarray
    content: bytes
    encoding: str
    changes: tuple[str, ...]


def decode_file(content: bytes) -> Decoded:
    """Decodes an image file; keeps its bytes when nothing about the pixels had to change.

    Raises:
        UnreadableImageError: The file is not an image, broken, or a decompression bomb.
    """
    if not content:
        raise UnreadableImageError("empty_file", "The file has no bytes.")
    try:
        with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
            _check_size(image.width, image.height)
            image.load()
            upright, changes = _normalise(image)
            is_plain = image.format in ("PNG", "JPEG", "MPO") and not changes
            encoding = "png" if image.format == "PNG" or not is_plain else "jpeg"
            pixels = _with_channels(np.asarray(upright, np.uint8))
    except UnidentifiedImageError as error:
        message = f"The file is not an image in one of the formats {', '.join(_FORMATS)}."
        raise UnreadableImageError("not_an_image", message) from error
    except Image.DecompressionBombError as error:
        raise UnreadableImageError("too_large", str(error)) from error
    except UnreadableImageError:
        raise
    except _DECODE_ERRORS as error:
        code = "truncated" if "truncated" in str(error).lower() else "corrupt"
        message = f"The image cannot be decoded to its end: {error}"
        raise UnreadableImageError(code, message) from error
    return Decoded(pixels, content if is_plain else _as_png(upright), encoding, tuple(changes))


def decode_array(pixels: np.ndarray) -> Decoded:
    """Takes uint8 or uint16 [height, width] or [height, width, 1, 3 or 4 channels] as it is."""
    changes = []
    _check_size(pixels.shape[1], pixels.shape[0])
    if pixels.dtype == np.uint16:
        pixels, changes = _to_eight_bits(pixels), ["sixteen_bit"]
    pixels = _with_channels(pixels)
    if pixels.shape[-1] == 4:
        changes.append("alpha")
        pixels = np.asarray(_on_white(Image.fromarray(pixels, "RGBA")))
    pixels = np.ascontiguousarray(pixels)
    return Decoded(pixels, pixels.tobytes(), "raw", tuple(changes))


def _check_size(width: int, height: int) -> None:
    if not 0 < width * height <= _MAX_PIXELS:
        raise UnreadableImageError(
            "too_large" if width * height else "corrupt",
            f"An image must have 1 to {_MAX_PIXELS} pixels. Received: {width} x {height}",
        )


def _with_channels(pixels: np.ndarray) -> np.ndarray:
    return pixels if pixels.ndim == 3 else pixels[..., None]


def _to_eight_bits(pixels: np.ndarray) -> np.ndarray:
    # 65535 / 255 = 257: white stays white, and rounds to nearest.
    return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _normalise(image: Image.Image) -> tuple[Image.Image, list[str]]:
    """Returns an upright image of mode L or RGB, and how it differs from the file."""
    changes = []
    # A multi-picture JPEG is a photograph with a preview, not an animation.
    if getattr(image, "is_animated", False) and image.format != "MPO":
        changes.append("animated")
    is_rotated = image.getexif().get(_ORIENTATION, 1) in range(2, 9)
    upright = ImageOps.exif_transpose(image) if is_rotated else image
    if is_rotated:
        changes.append("rotated")
    mode = upright.mode
    if mode.startswith("I;16"):
        changes.append("sixteen_bit")
        return Image.fromarray(_to_eight_bits(np.asarray(upright))), changes
    if mode in ("I", "F"):
        raise UnreadableImageError(
            "unsupported_pixels",
            f"Pixels must have 1, 8 or 16 bits a channel. Received: Pillow mode {mode!r}, "
            "whose range is unknown. Convert them to 8 bits.",
        )
    if mode in _ALPHA_MODES or "transparency" in upright.info:
        changes.append("alpha")
        flat = _on_white(upright.convert("RGBA"))
        return (flat.convert("L") if mode in ("L", "LA", "La") else flat), changes
    if mode == "P":
        changes.append("palette")
        return _gray_if_gray(upright.convert("RGB")), changes
    if mode == "1":
        changes.append("bilevel")
        return upright.convert("L"), changes
    if mode not in ("L", "RGB"):
        changes.append("colour_space")
        return upright.convert("RGB"), changes
    return upright, changes


def _on_white(image: Image.Image) -> Image.Image:
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")


def _gray_if_gray(image: Image.Image) -> Image.Image:
    red, green, blue = image.split()
    is_gray = red.tobytes() == green.tobytes() == blue.tobytes()
    return red if is_gray else image


def _as_png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(image)).save(buffer, "PNG")  # Without the metadata of the source.
    return buffer.getvalue()
