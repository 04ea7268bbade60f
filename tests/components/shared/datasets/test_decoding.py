"""Odd images become the 8-bit pixels that a viewer would show; broken ones are named."""

import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from kfp_vision.components.shared.datasets.decoding import (
    UnreadableImageError,
    decode_array,
    decode_file,
)

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def _file(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _flags() -> Image.Image:
    """Returns 2 x 3 pixels: red, green, blue over white."""
    return Image.fromarray(np.array([[RED, GREEN, BLUE], [WHITE, WHITE, WHITE]], np.uint8))


def _half_transparent(mode: str) -> bytes:
    image = Image.new("RGBA", (1, 1), (0, 0, 0, 128)).convert(mode)
    return _file(image)


def _rotated() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6  # The camera was turned: a viewer rotates by 90 degrees clockwise.
    return _file(_flags(), exif=exif)


def _palette() -> bytes:
    return _file(_flags().convert("P", palette=Image.Palette.ADAPTIVE))


def _sixteen_bit() -> bytes:
    return _file(Image.fromarray(np.array([[0, 257, 65535, 32896]], np.uint16)))


def _animated() -> bytes:
    first, second = Image.new("RGB", (2, 2), RED), Image.new("RGB", (2, 2), BLUE)
    return _file(first, "GIF", save_all=True, append_images=[second])


def _transparent_colour() -> bytes:
    return _file(Image.new("RGB", (1, 1), RED), transparency=RED)


CONVERTED = {
    "rotated": (_rotated(), [[WHITE, RED], [WHITE, GREEN], [WHITE, BLUE]], "rotated"),
    "palette": (_palette(), np.asarray(_flags()), "palette"),
    "gray palette": (_file(Image.new("L", (1, 1), 7).convert("P")), [[[7]]], "palette"),
    "16 bit": (_sixteen_bit(), [[[0], [1], [255], [128]]], "sixteen_bit"),
    "CMYK": (_file(Image.new("CMYK", (1, 1), (0, 255, 255, 0)), "TIFF"), [[RED]], "colour_space"),
    "alpha": (_half_transparent("RGBA"), [[(127, 127, 127)]], "alpha"),
    "gray alpha": (_half_transparent("LA"), [[[127]]], "alpha"),
    "transparent colour": (_transparent_colour(), [[WHITE]], "alpha"),
    "animated": (_animated(), np.full((2, 2, 3), RED), "animated"),
    "one bit": (_file(Image.new("1", (1, 1), 1)), [[[255]]], "bilevel"),
}


@pytest.mark.parametrize("name", CONVERTED)
def test_odd_images_become_what_a_viewer_shows(name):
    content, expected, change = CONVERTED[name]
    decoded = decode_file(content)
    np.testing.assert_array_equal(decoded.pixels, expected)
    assert change in decoded.changes
    assert decoded.encoding == "png"
    # What is stored decodes to the same pixels with nothing left to do.
    again = decode_file(decoded.content)
    np.testing.assert_array_equal(again.pixels, decoded.pixels)
    assert again.changes == ()


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_plain_files_are_stored_byte_by_byte(kind, mode):
    content = _file(_flags().convert(mode), kind)
    decoded = decode_file(content)
    assert decoded.content == content
    assert decoded.encoding == kind.lower()
    assert decoded.changes == ()


@pytest.mark.parametrize("kind", ["BMP", "WEBP", "TIFF", "PPM", "JPEG2000"])
def test_other_lossless_formats_are_stored_as_png(kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    decoded = decode_file(_file(_flags(), kind, **options))
    np.testing.assert_array_equal(decoded.pixels, np.asarray(_flags()))
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(decoded.content))), _flags())


def test_avif_is_decoded():
    red = Image.new("RGB", (16, 16), RED)
    decoded = decode_file(_file(red, "AVIF", quality=100))
    assert decoded.encoding == "png"
    assert np.abs(decoded.pixels.astype(int) - RED).max() <= 2


def _bomb() -> bytes:
    """Returns 90 kB that claim to be 30000 x 30000 pixels."""
    header = struct.pack(">IIBBBBB", 30000, 30000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(90_000_000), 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))


def _png_with_text(count: int, size: int, zipped: bool, at_end: bool) -> bytes:
    texts = PngImagePlugin.PngInfo()
    for index in range(count):
        texts.add_text(f"workflow {index}", "x" * size, zip=zipped)
    content = _file(NOISE, pnginfo=texts)
    if not at_end:
        return content
    bare = _file(NOISE)
    start, end = content.index(b"zTXt" if zipped else b"tEXt") - 4, content.index(b"IDAT") - 4
    return bare[:-12] + content[start:end] + bare[-12:]


def _damaged_text() -> bytes:
    content = bytearray(_png_with_text(1, 40, zipped=False, at_end=False))
    content[content.index(b"workflow") + 20] ^= 1  # Its CRC is wrong now.
    return bytes(content)


def _damaged_exif() -> bytes:
    chunk = b"eXIf" + b"no TIFF header"
    length, crc = struct.pack(">I", len(chunk) - 4), struct.pack(">I", zlib.crc32(chunk))
    bare = _file(NOISE)
    return bare[:33] + length + chunk + crc + bare[33:]


JPEG, PROGRESSIVE = (
    _file(NOISE, "JPEG", quality=90),
    _file(NOISE, "JPEG", quality=90, progressive=True),
)
# The pixels are whole: file -> (the same image without the fault, change).
WHOLE = {
    "zipped text above 1 MB": (_png_with_text(1, 2**21, True, False), _file(NOISE), "text"),
    "text after the pixels": (_png_with_text(1, 2**21, True, True), _file(NOISE), "text"),
    "texts above 64 MB": (_png_with_text(70, 2**20, False, False), _file(NOISE), "text"),
    "damaged text": (_damaged_text(), _file(NOISE), "text"),
    "damaged EXIF": (_damaged_exif(), _file(NOISE), "exif"),
    "JPEG without its last byte": (JPEG[:-1], JPEG, "no_end"),
    "JPEG without its last two bytes": (JPEG[:-2], JPEG, "no_end"),
    "progressive": (PROGRESSIVE[:-2], PROGRESSIVE, "no_end"),
    "gray": (_file(NOISE.convert("L"), "JPEG")[:-2], _file(NOISE.convert("L"), "JPEG"), "no_end"),
}


@pytest.mark.parametrize("name", WHOLE)
def test_files_with_whole_pixels_are_kept_with_a_note(name):
    content, sound, change = WHOLE[name]
    decoded = decode_file(content)
    np.testing.assert_array_equal(decoded.pixels, decode_file(sound).pixels)
    assert [known for known in decoded.changes if known.startswith(change)]
    again = decode_file(decoded.content)
    np.testing.assert_array_equal(again.pixels, decoded.pixels)
    assert again.changes == ()


@pytest.mark.parametrize("content", [JPEG, PROGRESSIVE])
@pytest.mark.parametrize("missing", [3, 4, 5, 8, 50, 500])
def test_a_jpeg_that_lacks_pixels_is_truncated(content, missing):
    with pytest.raises(UnreadableImageError) as caught:
        decode_file(content[:-missing])
    assert caught.value.code == "truncated"


BROKEN = {
    "empty": (b"", "empty_file"),
    "text": (b"path,label\na.png,cat\n", "not_an_image"),
    "script": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not_an_image"),
    "truncated PNG": (_file(NOISE)[:2000], "truncated"),
    "truncated JPEG": (_file(NOISE, "JPEG")[:1000], "truncated"),
    "damaged PNG": (_file(NOISE)[:5000] + bytes(99) + _file(NOISE)[5099:], "corrupt"),
    "32 bit": (_file(Image.fromarray(np.ones((2, 2), np.float32)), "TIFF"), "unsupported_pixels"),
    "bomb": (_bomb(), "too_large"),
    "truncated behind a large text": (
        _png_with_text(1, 2**21, True, False)[:-9000],
        "corrupt",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_named(name):
    content, code = BROKEN[name]
    with pytest.raises(UnreadableImageError) as caught:
        decode_file(content)
    assert caught.value.code == code


# First bytes -> code and words of the message.
FOREIGN = {
    "HEIC": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "unsupported_format", "HEIC"),
    "HEIC of an iPhone burst": (b"\0\0\0\x18ftypmsf1", "unsupported_format", "HEIC"),
    "broken AVIF": (b"\0\0\0\x18ftypavif" + bytes(20), "unsupported_format", "AVIF"),
    "JPEG XL": (b"\xff\x0a" + bytes(30), "unsupported_format", "JPEG XL"),
    "DICOM": (bytes(128) + b"DICM", "unsupported_format", "DICOM"),
    "Photoshop": (b"8BPS\0\1" + bytes(30), "unsupported_format", "Photoshop"),
    "LFS": (b"version https://git-lfs.github.com/spec/v1\noid", "not_an_image", "git lfs pull"),
    "web page": (b"\n<!DOCTYPE html><html>404", "not_an_image", "web page"),
    "ZIP": (b"PK\x03\x04" + bytes(30), "not_an_image", "unpack it"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_files_of_other_formats_are_called_by_their_names(name):
    content, code, words = FOREIGN[name]
    with pytest.raises(UnreadableImageError, match=words) as caught:
        decode_file(content)
    assert caught.value.code == code


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_random_damage_is_decoded_or_named():
    random = np.random.default_rng(0)
    for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "JPEG2000"):
        content = np.frombuffer(_file(NOISE, kind), np.uint8)
        for _ in range(60):
            damaged = content.copy()
            damaged[random.integers(0, len(content), 8)] = random.integers(0, 256, 8)
            with contextlib.suppress(UnreadableImageError):
                decode_file(damaged[: random.integers(1, len(content) + 1)].tobytes())


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        (np.array([[3, 4]], np.uint8), [[[3], [4]]]),
        (np.array([[RED, GREEN]], np.uint8), [[RED, GREEN]]),
        (np.array([[[0, 0, 0, 0]]], np.uint8), [[WHITE]]),
        (np.array([[65535, 0]], np.uint16), [[[255], [0]]]),
    ],
)
def test_arrays_are_kept_raw(pixels, expected):
    decoded = decode_array(pixels)
    np.testing.assert_array_equal(decoded.pixels, expected)
    assert decoded.encoding == "raw"
    assert decoded.content == decoded.pixels.tobytes()
