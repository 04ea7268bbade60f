"""What an import holds in memory, and what it does not read at all."""

import io
import threading
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from kfp_vision.components.data_import import staging
from kfp_vision.components.shared.datasets.decoding import (
    HEAD_BYTES,
    UnreadableImageError,
    count_pixels,
    decode_file,
)
from kfp_vision.components.shared.runtime.storage import upload
from kfp_vision.components.shared.runtime.storage.reading import map_in_order


def test_files_are_fetched_at_once_and_decoded_on_the_cores(
    s3, tmp_path, save_images, import_into, monkeypatch
):
    for name in ("cat", "dog"):
        save_images(tmp_path / "set" / name, 20)
    upload(tmp_path / "set", f"{s3}/set")
    running, most, lock = 0, 0, threading.Lock()
    wait = threading.Event()

    def counted(content: bytes, white: int):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        wait.wait(0.002)  # Long enough for the others to begin.
        try:
            return decode_file(content, white)
        finally:
            with lock:
                running -= 1

    monkeypatch.setattr(staging, "decode_file", counted)
    monkeypatch.setattr(staging, "usable_cpus", lambda: [0, 1])
    info, _ = import_into(f"{s3}/set")
    assert sum(info.splits.values()) == 40
    assert most == 2


def test_large_images_wait_until_there_is_memory(tmp_path, noise, import_into, monkeypatch):
    for index in range(20):
        path = tmp_path / "set" / ("cat", "dog")[index % 2] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise(300, 300)).save(path)
    held = []

    def watched(pool, function, items, ahead, num_bytes=lambda _: 0, most_bytes=0):
        def size(item):
            held.append(num_bytes(item))
            return held[-1]

        return map_in_order(pool, function, items, ahead, size, most_bytes)

    monkeypatch.setattr(staging, "map_in_order", watched)
    info, _ = import_into(tmp_path / "set")
    assert sum(info.splits.values()) == 20
    pixels = 20 * 300 * 300
    assert sum(held) >= 12 * pixels  # Those of all images count, whatever their files are.
    assert max(held) < 2 * 16 * 2**20  # A chunk ends where it is large.


@pytest.mark.parametrize("name", ["film.mp4", "film.png"])
def test_a_large_file_that_is_no_image_is_not_read(name, tmp_path, save_images, import_into):
    for folder in ("cat", "dog"):
        save_images(tmp_path / "set" / folder)
    with (tmp_path / "set/cat" / name).open("wb") as file:
        file.write(b"\0\0\0\x18ftypmp42")
        file.truncate(2**31)
    tracemalloc.start()
    try:
        info, _ = import_into(tmp_path / "set")
        assert tracemalloc.get_traced_memory()[1] < 2**28
    finally:
        tracemalloc.stop()
    assert info.rejected == {"not_an_image": 1}


def _file(kind: str, side: int, **options) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "PPM", "WEBP", "TIFF"])
def test_the_first_bytes_tell_how_many_pixels_there_are(kind):
    content = _file(kind, 400)
    assert count_pixels(content[:HEAD_BYTES], len(content)) == 400 * 400
    assert count_pixels(_file(kind, 8), 300) < 1000


def test_a_decompression_bomb_is_not_read_whole():
    content = bytearray(_file("PNG", 320))
    content[16:24] = (20_000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    with pytest.raises(UnreadableImageError) as caught:
        count_pixels(bytes(content[:HEAD_BYTES]), len(content))
    assert caught.value.code == "too_large"
