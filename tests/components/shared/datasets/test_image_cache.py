"""The cache gives back the pixels that were decoded, and nothing else whatever became of the file.

Photographs are drawn here: JPEG files of 60 x 45 px, in a store as the import writes it.
"""

import hashlib
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from kfp_vision.components.shared.datasets.image_cache import ImageCache, image_cache
from kfp_vision.components.shared.datasets.loader import ImageSource
from kfp_vision.components.shared.datasets.store import SplitWriter, encode_raw, open_split

COUNT, SIZE = 20, (24, 32)
ALL = np.arange(COUNT)
RECORD = 24 * 32 * 3 + 4
PLENTY = 2**30


def row(pixels: np.ndarray, encoding: str) -> dict[str, object]:
    content = encode_raw(pixels)
    if encoding == "jpeg":
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG")
        content = buffer.getvalue()
    height, width, channels = pixels.shape
    return {
        "image": content,
        "encoding": encoding,
        "height": height,
        "width": width,
        "channels": channels,
        "labels": [0],
        "path": "photo",
        "sha256": hashlib.sha256(content).digest(),
        "signature": bytes(64),
    }


def write_split(folder: Path, split: str, seed: int, encoding: str = "jpeg") -> None:
    folder.mkdir(exist_ok=True)
    images = np.random.default_rng(seed).integers(0, 256, (COUNT, 45, 60, 3)).astype(np.uint8)
    with SplitWriter(folder, split) as writer:
        for pixels in images:
            writer.write(row(pixels, encoding))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for seed, split in enumerate(("train", "validation", "test")):
        write_split(folder, split, seed)
    return folder


@pytest.fixture(scope="module")
def expected(photos: Path) -> np.ndarray:
    return ImageSource(photos, "train", SIZE, 3).take(ALL)


def open_source(
    photos: Path, root: Path, split: str = "train", memory: int | None = 0, bound: int = PLENTY
) -> ImageSource:
    return ImageSource(photos, split, SIZE, 3, memory, ImageCache(root, bound))


def files(root: Path) -> list[Path]:
    return sorted(root.glob("*.images"))


@pytest.mark.parametrize("memory", [0, None])
def test_every_image_is_decoded_once_by_all_who_open_the_split(photos, expected, tmp_path, memory):
    first = open_source(photos, tmp_path, memory=memory)
    order = np.array([[3, 19], [0, 7]])
    np.testing.assert_array_equal(first.take(order), expected[order])
    assert first.num_decoded == 4
    np.testing.assert_array_equal(first.take(ALL), expected)
    second = open_source(photos, tmp_path, memory=memory)
    np.testing.assert_array_equal(second.take(ALL), expected)
    assert first.num_decoded == COUNT
    assert second.num_decoded == 0


def test_images_of_another_content_order_or_size_have_another_file(photos, tmp_path):
    open_source(photos, tmp_path).take(ALL)
    other = open_source(photos, tmp_path, "validation")
    other.take(ALL)
    assert other.num_decoded == COUNT
    smaller = ImageSource(photos, "train", (8, 8), 3, 0, ImageCache(tmp_path, PLENTY))
    smaller.take(ALL)
    gray = ImageSource(photos, "train", (8, 8), 1, 0, ImageCache(tmp_path, PLENTY))
    assert gray.take(ALL).shape == (COUNT, 8, 8, 1)
    assert smaller.num_decoded == gray.num_decoded == COUNT
    assert len(files(tmp_path)) == 4


def test_what_the_store_holds_as_it_is_needed_is_not_kept_twice(tmp_path):
    write_split(tmp_path / "data", "train", 0, encoding="raw")
    cache = ImageCache(tmp_path / "cache", PLENTY)
    table = open_split(tmp_path / "data", "train")
    assert cache.open(table, (45, 60, 3)) is None
    assert not (tmp_path / "cache").exists()
    assert cache.open(table, (45, 60, 1)) is not None


@pytest.mark.parametrize(
    ("damage", "num_lost"),
    [
        (lambda content: b"", COUNT),
        (lambda content: content[: 5 * RECORD + 7], COUNT),
        (lambda content: content + b"\0", COUNT),
        (lambda content: bytes([content[0] ^ 1]) + content[1:], 1),
        # A record that a kill has cut off, and one that was never written.
        (lambda content: content[: RECORD - 99] + bytes(99) + content[RECORD:], 1),
        (lambda content: bytes(2 * RECORD) + content[2 * RECORD :], 2),
    ],
)
def test_a_damaged_record_is_decoded_again(photos, expected, tmp_path, damage, num_lost):
    open_source(photos, tmp_path).take(ALL)
    (path,) = files(tmp_path)
    content = path.read_bytes()
    assert len(content) == COUNT * RECORD
    path.write_bytes(damage(content))
    again = open_source(photos, tmp_path)
    np.testing.assert_array_equal(again.take(ALL), expected)
    assert again.num_decoded == num_lost
    assert path.read_bytes() == content


def test_a_file_that_is_cut_while_it_is_read_costs_its_records(photos, expected, tmp_path):
    source = open_source(photos, tmp_path)
    source.take(ALL)
    (path,) = files(tmp_path)
    os.truncate(path, 3 * RECORD)
    np.testing.assert_array_equal(source.take(ALL), expected)
    assert source.num_decoded == COUNT + COUNT - 3


def test_the_files_used_last_stay_within_the_bound(photos, tmp_path):
    bound = 2 * COUNT * RECORD
    for split in ("train", "validation"):
        open_source(photos, tmp_path, split, bound=bound).take(ALL)
    newer, oldest = files(tmp_path)
    for used_at, path in enumerate((oldest, newer)):
        os.utime(path, (used_at, used_at))
    open_source(photos, tmp_path, "test", bound=bound).take(ALL)
    assert not oldest.exists()
    assert newer.exists()
    assert sum(path.stat().st_size for path in files(tmp_path)) == bound


def test_what_is_in_use_is_not_removed(photos, expected, tmp_path, capsys):
    bound = COUNT * RECORD
    held = open_source(photos, tmp_path, bound=bound)
    held.take(ALL)
    other = open_source(photos, tmp_path, "validation", bound=bound)
    other.take(ALL)
    other.take(ALL)
    assert other.num_decoded == 2 * COUNT
    assert "more than what `image_cache_gib` leaves" in capsys.readouterr().out
    np.testing.assert_array_equal(held.take(ALL), expected)
    assert held.num_decoded == COUNT
    del held
    open_source(photos, tmp_path, "validation", bound=bound).take(ALL)
    assert open_source(photos, tmp_path, "validation", bound=bound).take(ALL).any()


def test_a_split_beyond_the_bound_is_decoded_and_removes_nothing(photos, tmp_path, capsys):
    open_source(photos, tmp_path).take(ALL)
    beyond = open_source(photos, tmp_path, "validation", bound=COUNT * RECORD - 1)
    beyond.take(ALL)
    assert "more than what `image_cache_gib` leaves" in capsys.readouterr().out
    assert len(files(tmp_path)) == 1


def test_half_of_the_free_disk_is_left_to_others(photos, expected, tmp_path, monkeypatch, capsys):
    usage = shutil.disk_usage(tmp_path)
    small = usage._replace(free=2 * COUNT * RECORD - 2)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: small)
    source = open_source(photos, tmp_path)
    np.testing.assert_array_equal(source.take(ALL), expected)
    assert "more than half of the free disk" in capsys.readouterr().out
    assert not files(tmp_path)


def test_a_disk_that_fills_up_while_images_are_kept(photos, expected, tmp_path):
    """A disk of 320 KiB has room for the file, until another process takes all that is left."""
    code = f"""
import subprocess, sys
import numpy as np
from pathlib import Path
from kfp_vision.components.shared.datasets.image_cache import ImageCache
from kfp_vision.components.shared.datasets.loader import ImageSource
disk = Path({str(tmp_path)!r})
if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=320k", "none", disk]).returncode:
    sys.exit(77)
for filled in (0, 280):
    cache = ImageCache(disk, {PLENTY})
    source = ImageSource(Path({str(photos)!r}), "train", {SIZE}, 3, 0, cache)
    (disk / "other").write_bytes(bytes(filled * 2**10))
    sums = [int(source.take(np.arange({COUNT})).sum()) for _ in range(2)]
    print(filled, source.num_decoded, *sums)
    for path in disk.glob("*.images"):
        path.unlink()
"""
    command = ["unshare", "--mount", sys.executable, "-c", code]
    if os.geteuid() != 0:
        command.insert(1, "--map-root-user")
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode == 77 or "unshare" in run.stderr:
        pytest.skip("a disk of our own cannot be mounted here")
    total = int(expected.sum())
    said, other = run.stdout.splitlines()[1:], run.stdout.splitlines()[0]
    assert other == f"0 {COUNT} {total} {total}", run.stdout + run.stderr
    assert "no longer kept" in said[0]
    assert "No space left on device" in said[0]
    assert re.fullmatch(rf"280 (2[1-9]|3\d|40) {total} {total}", said[-1])


def test_a_folder_that_cannot_be_written_costs_the_cache_alone(photos, expected, tmp_path, capsys):
    (tmp_path / "file").touch()
    source = open_source(photos, tmp_path / "file")
    np.testing.assert_array_equal(source.take(ALL), expected)
    assert "Decoded images are not kept" in capsys.readouterr().out


def test_simultaneous_writers_and_readers(photos, expected, tmp_path):
    def read(seed: int) -> bool:
        order = np.random.default_rng(seed).permutation(COUNT)
        return np.array_equal(open_source(photos, tmp_path).take(order), expected[order])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(24)))


def test_a_killed_process_leaves_valid_records(photos, expected, tmp_path):
    code = f"""
import sys
import numpy as np
from pathlib import Path
from kfp_vision.components.shared.datasets.image_cache import ImageCache
from kfp_vision.components.shared.datasets.loader import ImageSource
cache = ImageCache(Path({str(tmp_path)!r}), {PLENTY})
source = ImageSource(Path({str(photos)!r}), "train", {SIZE}, 3, 0, cache)
source.take(np.arange(5))
print("written", flush=True)
while True:
    source._cached.write(7, source.take(np.array([7]))[0])
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"written\n"
        time.sleep(0.05)
        child.send_signal(signal.SIGKILL)
    source = open_source(photos, tmp_path)
    np.testing.assert_array_equal(source.take(ALL), expected)
    assert COUNT - 6 <= source.num_decoded <= COUNT - 5


def test_what_is_read_from_disk_is_not_memory_of_the_process(tmp_path):
    """64 MB of records are read twice; a map of them would add as much to the resident memory."""
    write_split(tmp_path / "data", "train", 0)
    source = ImageSource(
        tmp_path / "data", "train", (1024, 1024), 3, 0, ImageCache(tmp_path / "cache", PLENTY)
    )
    source.take(ALL[:1])
    before = psutil.Process().memory_info().rss
    for _ in range(2):
        for each in ALL:
            source.take(np.array([each]))
    assert psutil.Process().memory_info().rss - before < 32 * 2**20
    assert source.num_decoded == COUNT


@pytest.mark.parametrize(("uri", "gib"), [("", 10.0), ("folder", 0.0)])
def test_without_a_folder_or_room_there_is_no_cache(uri, gib):
    assert image_cache(uri, gib) is None
