"""Files that cannot be decoded as they are.

Formats that are recognised but not read, so that messages can name them, and files that are mended
because their pixels are whole.
"""

import io
from collections.abc import Iterator

from PIL import Image

__all__ = ["add_jpeg_end", "describe_other_file", "name_image_format", "remove_png_text"]

# Brand of an ISO base media file (bytes 8 to 12, after `ftyp`) -> format.
_BRANDS = {
    **dict.fromkeys((b"avif", b"avis"), "AVIF"),
    **dict.fromkeys((b"heic", b"heim", b"heis", b"heix", b"hevc", b"hevm", b"hevx"), "HEIC"),
    **dict.fromkeys((b"mif1", b"msf1", b"mif2"), "HEIC"),
    b"crx ": "Canon raw (CR3)",
    b"jxl ": "JPEG XL",
}
# (first byte, signature, format) of images that are not read.
_IMAGES = (
    (0, b"\x00\x00\x00\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"\x00\x00\x00\x0cJXL \r\n\x87\n", "JPEG XL"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"II\x2a\x00\x10\x00\x00\x00CR", "Canon raw (CR2)"),
    (0, b"8BPS", "Photoshop"),
    (0, b"\x76\x2f\x31\x01", "OpenEXR"),
    (0, b"#?RADIANCE", "Radiance HDR"),
    (128, b"DICM", "DICOM"),
)
# The same for files that people find where an image should be.
_OTHERS = (
    (0, b"version https://git-lfs.github.com/", "a Git LFS pointer: run `git lfs pull`"),
    (0, b"/annex/objects/", "a git-annex pointer: run `git annex get`"),
    (0, b"PK\x03\x04", "a ZIP archive: unpack it"),
    (0, b"\x1f\x8b", "a gzip archive: unpack it"),
    (0, b"Rar!", "a RAR archive: unpack it"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it"),
    (257, b"ustar", "a tar archive: unpack it"),
    (0, b"%PDF", "a PDF"),
    (0, b"PAR1", "a Parquet table: give the URI of its folder"),
    (0, b"<!doctype html", "a web page: the download of the image failed"),
    (0, b"<html", "a web page: the download of the image failed"),
)
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_TEXT = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")
_JPEG_END = b"\xff\xd9"


def name_image_format(content: bytes) -> str:
    """Returns the name of a format of images that is known but not decoded here, or nothing."""
    if content[4:8] == b"ftyp":
        return _BRANDS.get(content[8:12], "")
    return _match(_IMAGES, content)


def describe_other_file(content: bytes) -> str:
    """Returns what a file is that is no image, and what to do about it, or nothing."""
    return _match(_OTHERS, content[:512].lstrip().lower()) or _match(_OTHERS, content)


def _match(table: tuple[tuple[int, bytes, str], ...], content: bytes) -> str:
    found = (name for start, sign, name in table if content[start : start + len(sign)] == sign)
    return next(found, "")


def remove_png_text(content: bytes) -> bytes:
    """Returns a PNG file without texts and colour profile; other content as it is.

    A text may be larger than Pillow accepts, or damaged; no pixel depends on it.
    """
    if not content.startswith(_PNG):
        return content
    return _PNG + b"".join(chunk for kind, chunk in _png_chunks(content) if kind not in _PNG_TEXT)


def _png_chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yields kind and bytes of the chunks: length, kind, data, CRC."""
    start = len(_PNG)
    while start < len(content):
        end = start + 12 + int.from_bytes(content[start : start + 4], "big")
        yield content[start + 4 : start + 8], content[start:end]
        start = end


def add_jpeg_end(content: bytes) -> bytes:
    """Returns a JPEG file with the end marker that it lacks; no bytes if pixels are missing too.

    When the data of the pixels are whole, what follows them changes nothing: the image is decoded
    with different bytes before the marker. What is missing would be taken from these.
    """
    if not content.startswith(b"\xff\xd8"):
        return b""
    body = content.rstrip(b"\xff")
    decoded = {_jpeg_pixels(body + filler * 64 + _JPEG_END) for filler in (b"", b"\x55", b"\xaa")}
    return body + _JPEG_END if len(decoded) == 1 and b"" not in decoded else b""


def _jpeg_pixels(content: bytes) -> bytes:
    try:
        with Image.open(io.BytesIO(content), formats=("JPEG",)) as image:
            return image.tobytes()
    except (OSError, SyntaxError, ValueError):
        return b""
