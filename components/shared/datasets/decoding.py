"""From the bytes of a file, or an array, to 8-bit gray or RGB pixels: uint8 [height, width, C].

Every image is decoded to its last row here: that is how a truncated one is found, before training.
"""

import dataclasses
import io
import struct
import zlib

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from kfp_vision.components.shared.datasets.colour_modes import on_white, to_gray_or_rgb
from kfp_vision.components.shared.datasets.file_formats import (
    add_jpeg_end,
    describe_other_file,
    name_image_format,
    remove_png_text,
)
from kfp_vision.components.shared.datasets.sixteen_bit import (
    FULL_WHITE,
    has_wide_channels,
    join_bits,
    open_lower_bits,
    sixteen_bit_changes,
    to_eight_bits,
)

__all__ = [
    "CHANGES",
    "HEAD_BYTES",
    "Decoded",
    "UnreadableImageError",
    "count_pixels",
    "decode_array",
    "decode_file",
]

# Of a file, to tell whether it is an image, and mostly how many pixels it has.
HEAD_BYTES = 2**18
# A file of no more bytes has few pixels, and opening it takes longer than the rest.
_SMALL_BYTES = 2**16
# Of files whose first bytes do not tell: a JPEG file of little detail.
_PIXELS_A_BYTE = 2

# Pillow's own limit against decompression bombs, 0.27 GB of RGB; it only warns up to twice that.
_MAX_PIXELS = 89_478_485
# No EPS (runs Ghostscript), no PDF: formats of photographs and masks only.
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "AVIF", "JPEG2000")
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

# How pixels were changed -> what the user reads after the number of images.
CHANGES = {
    "alpha": "had transparency and were composited on white",
    "animated": "were animated: the first frame is used",
    "bilevel": "had one bit a pixel and became gray",
    "bright_part_unused": (
        "use less than a sixteenth of their 16 bits and became nearly black; scale them before "
        "the import"
    ),
    "colour_space": "were in another colour space (CMYK for instance) and became RGB",
    "exif_unreadable": "had EXIF data that could not be read, so that they were not turned",
    "no_end_marker": "lacked the end marker of a JPEG file; their pixels are whole",
    "palette": "had a palette and became RGB or gray",
    "rotated": "were turned upright as their EXIF orientation says",
    "sixteen_bit": "had 16 bits a channel and were scaled to 8",
    "text_left_out": "had a text or profile that could not be read, and were kept without it",
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
        file: The bytes that were read, where they hold these pixels; else None.
        encoding: Of `content`: `png`, `jpeg` or `raw`.
        changes: Keys of `CHANGES`.
        peak: The largest value of 16-bit pixels; 0 when there are none.
        wide: 16-bit pixels before they were scaled, uint16 [height, width, ...]; None without any.
        orientation: Of the EXIF data, which the pixels were turned from; 1 where they were upright.
    """

    pixels: np.ndarray
    file: bytes | None
    encoding: str
    changes: tuple[str, ...]
    peak: int = 0
    wide: np.ndarray | None = None
    orientation: int = 1

    @property
    def content(self) -> bytes:
        """What goes into the `image` column; made anew at each call where there is no `file`."""
        if self.file is not None:
            return self.file
        return self.pixels.tobytes() if self.encoding == "raw" else _as_png(self.pixels)


def decode_file(content: bytes, white: int = FULL_WHITE) -> Decoded:
    """Decodes an image file; keeps its bytes when nothing about the pixels had to change.

    Args:
        content: Of the file.
        white: The 16-bit value that becomes 255, one for all images that a model ever sees.

    Raises:
        UnreadableImageError: The file is not an image, broken, or a decompression bomb.
    """
    _require_bytes(content)
    try:
        return _decode(content, white)
    except UnreadableImageError as error:
        mended, change = _mend(content, error.code)
        if not mended:
            raise
        try:
            return _decode(mended, white, change)
        except UnreadableImageError:
            raise error from None


def count_pixels(head: bytes, size: int) -> int:
    """Returns about how many pixels a file has, by its first bytes.

    Args:
        head: The first `HEAD_BYTES` of the file.
        size: Of the file, in bytes.

    Raises:
        UnreadableImageError: The file is not an image, or a decompression bomb.
    """
    _require_bytes(head)
    if not _starts_like_image(head):
        raise _unidentified(head)
    if size > _SMALL_BYTES:
        try:
            with Image.open(io.BytesIO(head), formats=_FORMATS) as image:
                _check_size(image.width, image.height)
                return image.width * image.height
        except Image.DecompressionBombError as error:
            raise UnreadableImageError("too_large", str(error)) from error
        except UnreadableImageError:
            raise
        except _DECODE_ERRORS:
            pass  # The header goes on, or is at the end: decoding the whole file tells.
    return size * _PIXELS_A_BYTE


def _require_bytes(content: bytes) -> None:
    if not content:
        raise UnreadableImageError("empty_file", "The file has no bytes.")


def _starts_like_image(head: bytes) -> bool:
    """Returns whether one of the formats takes the first bytes for its own, as Pillow asks them."""
    Image.init()
    accepts = (Image.OPEN[name][1] for name in _FORMATS if name in Image.OPEN)
    return any(accept is None or accept(head[:16]) is True for accept in accepts)


def _mend(content: bytes, code: str) -> tuple[bytes, tuple[str, ...]]:
    """Returns a file with the same pixels that can be decoded, or no bytes, and what changed."""
    if code == "truncated" and (with_end := add_jpeg_end(content)):
        return with_end, ("no_end_marker",)
    without_text = remove_png_text(content)
    return (b"", ()) if len(without_text) == len(content) else (without_text, ("text_left_out",))


def _decode(content: bytes, white: int, mended: tuple[str, ...] = ()) -> Decoded:
    try:
        with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
            _check_size(image.width, image.height)
            is_wide = has_wide_channels(image)
            lower = open_lower_bits(content, _FORMATS) if is_wide else None
            image.load()
            orientation = _orientation(image)
            upright, changes, wide = _normalise(image, lower, white, is_wide, orientation)
            changes += mended
            is_plain = image.format in ("PNG", "JPEG", "MPO") and not changes
            encoding = "png" if image.format == "PNG" or not is_plain else "jpeg"
            pixels = _with_channels(np.asarray(upright, np.uint8))
    except UnidentifiedImageError as error:
        raise _unidentified(content) from error
    except Image.DecompressionBombError as error:
        raise UnreadableImageError("too_large", str(error)) from error
    except UnreadableImageError:
        raise
    except _DECODE_ERRORS as error:
        code = "truncated" if "truncated" in str(error).lower() else "corrupt"
        message = f"The image cannot be decoded to its end: {error}"
        raise UnreadableImageError(code, message) from error
    # Without alpha.
    peak = 0 if wide is None else int(_with_channels(wide)[..., :3].max())
    file = content if is_plain else None
    return Decoded(pixels, file, encoding, tuple(changes), peak, wide, orientation or 1)


def _orientation(image: Image.Image) -> int | None:
    """Returns the EXIF orientation, 1 without any; None for EXIF data that cannot be read."""
    try:
        found = image.getexif().get(_ORIENTATION, 1)
    except _DECODE_ERRORS:
        return None
    return found if found in range(2, 9) else 1


def _unidentified(content: bytes) -> UnreadableImageError:
    formats = ", ".join(_FORMATS)
    if name := name_image_format(content):
        message = f"The file is {name}, not one of the formats {formats}. Convert it to one."
        return UnreadableImageError("unsupported_format", message)
    message = f"The file is not an image in one of the formats {formats}"
    what = describe_other_file(content)
    return UnreadableImageError(
        "not_an_image", f"{message}; it is {what}." if what else f"{message}."
    )


def decode_array(pixels: np.ndarray, white: int = FULL_WHITE) -> Decoded:
    """Takes uint8 or uint16 [height, width] or [height, width, 1, 3 or 4 channels] as it is."""
    changes, peak, wide = [], 0, None
    _check_size(pixels.shape[1], pixels.shape[0])
    if pixels.dtype == np.uint16:
        peak, wide = int(pixels.max()), pixels
        pixels = to_eight_bits(pixels, white)
        changes = sixteen_bit_changes(pixels)
    pixels = _with_channels(pixels)
    if pixels.shape[-1] == 4:
        changes.append("alpha")
        pixels = np.asarray(on_white(Image.fromarray(pixels, "RGBA")))
    pixels = np.ascontiguousarray(pixels)
    return Decoded(pixels, None, "raw", tuple(changes), peak, wide)


def _check_size(width: int, height: int) -> None:
    if not 0 < width * height <= _MAX_PIXELS:
        raise UnreadableImageError(
            "too_large" if width * height else "corrupt",
            f"An image must have 1 to {_MAX_PIXELS} pixels. Received: {width} x {height}",
        )


def _with_channels(pixels: np.ndarray) -> np.ndarray:
    return pixels if pixels.ndim == 3 else pixels[..., None]


def _normalise(
    image: Image.Image,
    lower: Image.Image | None,
    white: int,
    is_wide: bool,
    orientation: int | None,
) -> tuple[Image.Image, list[str], np.ndarray | None]:
    """Returns an upright image of mode L or RGB, how it differs from the file, and its wide pixels.

    Args:
        image: As Pillow reads it.
        lower: The lower bits of channels of 16, of which `image` has the upper ones.
        white: The 16-bit value that becomes 255.
        is_wide: Whether there are such channels.
        orientation: Of its EXIF data; None where it cannot be read.
    """
    changes = []
    # A multi-picture JPEG is a photograph with a preview, not an animation.
    if getattr(image, "is_animated", False) and image.format != "MPO":
        changes.append("animated")
    if orientation is None:
        changes.append("exif_unreadable")
    is_rotated = orientation not in (None, 1)
    upright = ImageOps.exif_transpose(image) if is_rotated else image
    if is_rotated:
        changes.append("rotated")
    # Pillow reads a PGM file of more than 8 bits as 32 bits that use 16.
    if upright.mode.startswith("I;16") or (upright.mode == "I" and image.format == "PPM"):
        values = np.asarray(upright).astype(np.uint16)
        pixels = to_eight_bits(values, white)
        return Image.fromarray(pixels), changes + sixteen_bit_changes(pixels), values
    wide = None
    if lower is not None:
        upright, wide = join_bits(upright, ImageOps.exif_transpose(lower), white)
    if is_wide:
        colours = np.asarray(upright)[..., : 1 if upright.mode == "LA" else 3]  # Without alpha.
        changes += sixteen_bit_changes(colours)
    if upright.mode in ("I", "F"):
        raise UnreadableImageError(
            "unsupported_pixels",
            f"Pixels must have 1, 8 or 16 bits a channel. Received: Pillow mode {upright.mode!r}, "
            "whose range is unknown. Convert them to 8 bits.",
        )
    gray_or_rgb, change = to_gray_or_rgb(upright)
    return gray_or_rgb, changes + change, wide


def _as_png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(buffer, "PNG")
    return buffer.getvalue()
