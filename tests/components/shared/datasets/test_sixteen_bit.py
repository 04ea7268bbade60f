"""12 bits in 16-bit files come out as bright as they were taken, all on one scale."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from kfp_vision.components.shared.datasets.decoding import decode_array, decode_file
from kfp_vision.components.shared.datasets.sixteen_bit import white_level

TWELVE_BITS = np.array([[0, 1024, 2048, 4095]] * 4, np.uint16)
EIGHT_BITS = [0, 64, 128, 255]


def _file(kind: str) -> bytes:
    if kind == "PGM":
        return b"P5 4 4 65535\n" + TWELVE_BITS.astype(">u2").tobytes()
    if kind == "big-endian TIFF":
        return _tiff_big_endian()
    buffer = io.BytesIO()
    Image.fromarray(TWELVE_BITS).save(buffer, kind)
    return buffer.getvalue()


def _tiff_big_endian() -> bytes:
    tags = [(256, 4), (257, 4), (258, 16), (259, 1), (262, 1), (273, 122), (277, 1), (278, 4)]
    entries = b"".join(struct.pack(">HHIHH", tag, 3, 1, value, 0) for tag, value in tags)
    entries += struct.pack(">HHII", 279, 4, 1, TWELVE_BITS.nbytes)
    header = b"MM\0\x2a" + struct.pack(">IH", 8, 9) + entries + bytes(4)
    return header + TWELVE_BITS.astype(">u2").tobytes()


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "big-endian TIFF", "PGM", "JPEG2000"])
def test_files_are_scaled_by_the_white_level(kind):
    decoded = decode_file(_file(kind), white=4095)
    assert decoded.peak == 4095
    assert decoded.changes == ("sixteen_bit",)
    np.testing.assert_array_equal(decoded.pixels[..., 0], [EIGHT_BITS] * 4)


def test_arrays_are_scaled_by_the_white_level():
    decoded = decode_array(TWELVE_BITS, white=4095)
    np.testing.assert_array_equal(decoded.pixels[..., 0], [EIGHT_BITS] * 4)
    assert decoded.peak == 4095


def test_brighter_than_white_is_white():
    assert decode_array(np.array([[65535]], np.uint16), white=1023).pixels.item() == 255


@pytest.mark.parametrize("content", [_file("PNG"), TWELVE_BITS], ids=["file", "array"])
def test_a_small_part_of_the_range_is_noticed(content):
    decode = decode_array if isinstance(content, np.ndarray) else decode_file
    assert decode(content).changes == ("sixteen_bit", "bright_part_unused")


def test_a_hot_pixel_does_not_hide_it():
    pixels = np.full((100, 100), 900, np.uint16)
    pixels[5, 5] = 65535
    assert "bright_part_unused" in decode_array(pixels).changes


def _wide_png(colour_type: int, channels: int, value: int) -> bytes:
    """Returns 4 x 4 pixels of 16 bits a channel, all `value`."""
    row = b"\0" + struct.pack(">H", value) * channels * 4
    header = struct.pack(">IIBBBBB", 4, 4, 16, colour_type, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(row * 4)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


@pytest.mark.parametrize(("colour_type", "channels"), [(2, 3), (6, 4), (4, 2)])
@pytest.mark.parametrize(("value", "is_dim"), [(4000, True), (60000, False)])
def test_colours_of_sixteen_bits_are_noticed_too(colour_type, channels, value, is_dim):
    decoded = decode_file(_wide_png(colour_type, channels, value))
    assert "sixteen_bit" in decoded.changes
    assert ("bright_part_unused" in decoded.changes) == is_dim
    again = decode_file(decoded.content)
    np.testing.assert_array_equal(again.pixels, decoded.pixels)
    assert again.changes == ()


def _wide_file(kind: str, pixels: np.ndarray) -> bytes:
    """Returns a file of uint16 [height, width, 3 or 4 channels] pixels."""
    cv2 = pytest.importorskip("cv2")
    bgr = pixels[..., [2, 1, 0, 3][: pixels.shape[-1]]]
    suffix, _, compression = kind.partition(" ")
    options = [cv2.IMWRITE_TIFF_COMPRESSION, int(compression)] if compression else []
    return cv2.imencode(suffix, bgr, options)[1].tobytes()


@pytest.mark.parametrize("kind", [".png", ".tiff 1", ".tiff 5"])
@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("white", [4095, 65535])
def test_colours_of_sixteen_bits_keep_all_of_them(kind, channels, white):
    pixels = np.random.default_rng(0).integers(0, 4096, (5, 7, channels)).astype(np.uint16)
    pixels[0, 0, :3] = 4095
    pixels[..., 3:] = 65535
    decoded = decode_file(_wide_file(kind, pixels), white)
    assert decoded.peak == 4095
    np.testing.assert_array_equal(
        decoded.pixels, np.rint(pixels[..., :3].astype(float) * 255 / white).astype(np.uint8)
    )
    assert ("bright_part_unused" in decoded.changes) == (white == 65535)


def test_colours_of_sixteen_bits_are_turned_upright():
    pixels = np.arange(18, dtype=np.uint16).reshape(2, 3, 3) * 200
    turned = Image.Exif()
    turned[0x0112] = 6
    content = _wide_file(".png", pixels)
    chunk = b"eXIf" + turned.tobytes()[6:]
    length, crc = struct.pack(">I", len(chunk) - 4), struct.pack(">I", zlib.crc32(chunk))
    decoded = decode_file(content[:33] + length + chunk + crc + content[33:], white=4095)
    expected = np.rint(np.rot90(pixels, -1).astype(float) * 255 / 4095)
    np.testing.assert_array_equal(decoded.pixels, expected.astype(np.uint8))


def test_a_ppm_file_of_sixteen_bits_is_noticed():
    content = b"P6 2 2 65535\n" + np.full(12, 900, ">u2").tobytes()
    assert decode_file(content).changes == ("sixteen_bit", "bright_part_unused")


@pytest.mark.parametrize(
    ("peak", "white"),
    [(0, 65535), (1, 255), (255, 255), (256, 1023), (4095, 4095), (4096, 16383), (65535, 65535)],
)
def test_the_white_level_is_that_of_a_bit_depth(peak, white):
    assert white_level(peak) == white


def test_full_range_is_divided_by_257():
    values = np.arange(65536, dtype=np.uint16)[None]
    np.testing.assert_array_equal(
        decode_array(values).pixels[0, :, 0], np.rint(values[0] / 257).astype(np.uint8)
    )
