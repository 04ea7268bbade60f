"""One answer to which files may be images, whatever they are called."""

import os

import pytest
from PIL import Image

from kfp_vision.components.shared.datasets.image_files import (
    escape_name,
    file_kind,
    list_image_files,
)
from kfp_vision.components.shared.runtime.storage import open_folder

IMAGES = "a.png a.JPG a.jpeg a.jpe a.jfif a.mpo a.avif a.webp a.b.tif cat/a.ppm x%20#[1]\n.gif"
HIDDEN = (
    ".DS_Store ._a.png cat/.git/a.png __MACOSX/a.png cat/@eaDir/a.png/SYNOPHOTO_THUMB_M.jpg "
    "Thumbs.db cat/desktop.ini .ipynb_checkpoints/a.png $RECYCLE.BIN/a.png lost+found/1 Icon\r"
)
UNKNOWN = "cat/0001 n01440764_10026 notes.txt a.png.bak png a. 1.2"

KINDS = [
    *((name, "image") for name in IMAGES.split(" ")),
    *((name, "hidden") for name in HIDDEN.split(" ")),
    *((name, "unknown") for name in UNKNOWN.split(" ")),
]


@pytest.mark.parametrize(("path", "kind"), KINDS)
def test_the_name_says_only_what_is_hidden(path, kind):
    assert file_kind(path) == kind


@pytest.mark.parametrize("suffix", Image.registered_extensions())
def test_no_format_that_is_decoded_is_forgotten(suffix):
    formats = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "MPO", "AVIF", "JPEG2000")
    if Image.registered_extensions()[suffix] in formats and suffix != ".pfm":
        assert file_kind(f"a{suffix}") == "image"


def test_files_below_a_folder_that_is_hidden_itself_are_listed(tmp_path):
    root = tmp_path / ".cache"
    for name in ("cat/b.png", "cat/a", ".DS_Store", "@eaDir/a.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    assert list_image_files(open_folder(str(root))[0]) == ["cat/a", "cat/b.png"]


@pytest.mark.parametrize("path", ["cat/ü.png", "日本/1.png", "a\\b.png"])
def test_names_in_utf_8_stay(path):
    assert escape_name(path) == path


def test_bytes_that_are_not_utf_8_are_shown(tmp_path):
    (tmp_path / os.fsdecode(b"caf\xe9.png")).touch()
    [path] = list_image_files(open_folder(str(tmp_path))[0])
    assert escape_name(path) == "caf\\xe9.png"
    assert file_kind(path) == "image"
