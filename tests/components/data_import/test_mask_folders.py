"""Folders of images and masks: layouts, modes, lists of classes, and what is wrong with them."""

import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from threading import current_thread

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from kfp_vision.components.data_import.importer import ImportConfig, import_dataset
from kfp_vision.components.data_import.source_version import dataset_version
from kfp_vision.components.data_import.sources import list_source
from kfp_vision.components.shared.datasets.store import open_split
from kfp_vision.components.shared.runtime.storage import Folder, StorageError, upload

_IDS = np.array([[0, 1, 2], [1, 1, 255]], np.uint8)
_COLOURS = np.array([[9, 0, 0], [0, 9, 0], [0, 0, 9], *[[1, 2, 3]] * 253], np.uint8)


def _png(array: np.ndarray, mode: str | None = None) -> bytes:
    file = io.BytesIO()
    image = Image.fromarray(array)
    if mode == "P":
        image = Image.fromarray(array, "L").copy()
        image = Image.frombytes("P", image.size, image.tobytes())
        image.putpalette(_COLOURS.ravel().tobytes())
    image.save(file, "PNG")
    return file.getvalue()


def _write(folder: Path, masks: list[bytes], pattern: str = "{kind}/{name}", **files: str) -> Path:
    """Writes images of noise, with these masks."""
    generator = np.random.default_rng(0)
    for index, content in enumerate(masks):
        pixels = generator.integers(0, 256, (2, 3, 3)).astype(np.uint8)
        for kind, written in (("images", _png(pixels)), ("masks", content)):
            path = folder / pattern.format(kind=kind, name=f"{index}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(written)
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_bytes(text.encode())
    return folder


def _import(folder: Path, output: Path):
    info = import_dataset(str(folder), output, ImportConfig())
    stored = {}
    for split in info.splits:
        table = open_split(output, split)
        for path, mask in zip(table["path"].to_pylist(), table["mask"].to_pylist(), strict=True):
            with Image.open(io.BytesIO(mask)) as image:
                assert image.mode == "L"
                stored[path] = np.asarray(image)
    return info, stored


@pytest.mark.parametrize("pattern", ["{kind}/{name}", "all/{kind}/{name}", "{kind}/a/{name}"])
@pytest.mark.parametrize(
    "mask",
    [
        _png(_IDS),
        _png(_IDS, "P"),
        _png(_IDS.astype(np.uint16)),
        _png(np.repeat(_IDS[..., None], 3, 2)),
        _png(np.where(_IDS == 255, 65535, _IDS).astype(np.uint16)),
    ],
    ids=["gray", "palette", "16 bits", "gray in colour", "16 bits, unknown"],
)
def test_ways_to_write_the_same_mask(tmp_path, mask, pattern):
    source = _write(tmp_path / "in", [mask] * 12, pattern, classes_txt="a\r\nb\r\n\r\nc\r\n")
    info, stored = _import(source, tmp_path / "out")
    assert (info.task, info.source_format) == ("semantic_segmentation", "mask_folders")
    assert (info.classes, info.rejected) == (["a", "b", "c"], {})
    assert len(stored) == 12
    assert all((each == _IDS).all() for each in stored.values())


@pytest.mark.parametrize("pattern", ["{split}/{kind}/{{name}}", "{kind}/{split}/{{name}}"])
def test_splits_are_those_of_the_source(tmp_path, pattern):
    for split in ("train", "val", "test"):
        inner = pattern.format(split=split, kind="{kind}")
        _write(tmp_path / "in", [_png(_IDS)] * 4, inner, classes_txt="a\nb\nc")
    info, _ = _import(tmp_path / "in", tmp_path / "out")
    assert info.splits == {"train": 4, "validation": 4, "test": 4}
    assert set(info.split_origin.values()) == {"given"}


@pytest.mark.parametrize("names", [("train2017", "val2017"), ("seg_train", "seg_test"), ("a", "b")])
def test_folders_called_after_splits_are_those_of_other_formats(tmp_path, names):
    for name in names:
        _write(
            tmp_path / "in", [_png(_IDS)] * 20, f"{{kind}}/{name}/{{name}}", classes_txt="a\nb\nc"
        )
    info, _ = _import(tmp_path / "in", tmp_path / "out")
    given = {split for split, origin in info.split_origin.items() if origin == "given"}
    assert (
        given
        == {
            "train2017": {"train", "validation"},
            "seg_train": {"train", "test"},
            "a": set(),
        }[names[0]]
    )


@pytest.mark.parametrize(
    "files",
    [
        {"classes_csv": "name,r,g,b\nlow,9,0,0\nhigh,0,9,0\nvoid,1,2,3\ntop,0,0,9\n"},
        {"labelmap_txt": "# a:b\r\nlow:9,0,0::\r\nhigh:0,9,0::\r\nvoid:1,2,3::\r\ntop:0,0,9::"},
    ],
    ids=["csv", "label map"],
)
def test_colours_by_a_table(tmp_path, files):
    source = _write(tmp_path / "in", [_png(_COLOURS[_IDS])] * 12, **files)
    info, stored = _import(source, tmp_path / "out")
    assert info.classes == ["low", "high", "top"]
    assert all((each == _IDS).all() for each in stored.values())


# As of DeepGlobe: the grays of black and white stand elsewhere than their values.
_LAND = "name,r,g,b\nurban,0,255,255\nforest,0,255,0\nbarren,255,255,255\nwater,0,0,0\n"
_LAND_COLOURS = [(0, 255, 255), (0, 255, 0), (255, 255, 255), (0, 0, 0)]


def _palette(values: list[int], colours: list[tuple[int, int, int]]) -> bytes:
    image = Image.frombytes("P", (3, 2), bytes(values))
    image.putpalette([channel for colour in colours for channel in colour])
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _filled(value: int, *channels: int) -> np.ndarray:
    return np.full((2, 3, *channels), value, np.uint8)


@pytest.mark.parametrize(
    ("mask", "labels"),
    [
        (_png(_filled(0, 3)), [3] * 6),
        (_png(_filled(255, 3)), [2] * 6),
        (_png(_filled(0)), [3] * 6),
        (_png(_filled(255)), [2] * 6),
        (_png(_filled(0).astype(bool)), [3] * 6),
        (_png(np.stack([_filled(0), _filled(255)], 2)), [3] * 6),
        (_png(np.array([[0, 0, 255], [0, 255, 0]], np.uint8)), [3, 3, 2, 3, 2, 3]),
        (_png(np.array([[0, 0, 255], [0, 255, 0]], bool)), [3, 3, 2, 3, 2, 3]),
        (_palette([0, 1, 2, 3, 3, 0], _LAND_COLOURS[::-1]), [3, 2, 1, 0, 0, 3]),
        # Values of classes: no colour of theirs is in the table.
        (_png(np.array([[1, 2, 3], [3, 2, 1]], np.uint8)), [1, 2, 3, 3, 2, 1]),
        (_png(np.array([[0, 2, 65535]] * 2, np.uint16)), [0, 2, 255] * 2),
        (_palette([0, 1, 2, 3, 3, 0], [(9, v, 0) for v in range(4)]), [0, 1, 2, 3, 3, 0]),
    ],
    ids=[
        "black in colour",
        "white in colour",
        "black",
        "white",
        "black of 1 bit",
        "black with alpha",
        "black and white",
        "black and white of 1 bit",
        "palette",
        "numbers",
        "numbers of 16 bits",
        "numbers with a palette of other colours",
    ],
)
def test_the_colours_of_a_table_count_in_every_mode(tmp_path, mask, labels):
    coloured = _png(np.array([[*_LAND_COLOURS, *_LAND_COLOURS[:2]]], np.uint8).reshape(2, 3, 3))
    source = _write(tmp_path / "in", [mask, *[coloured] * 11], classes_csv=_LAND)
    info, stored = _import(source, tmp_path / "out")
    assert (info.classes, info.rejected) == (["urban", "forest", "barren", "water"], {})
    assert stored["images/0.png"].ravel().tolist() == labels
    assert stored["images/1.png"].ravel().tolist() == [0, 1, 2, 3, 0, 1]


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        # 0 is black, which is water, and 1 can only be a number, as which 0 is urban.
        (_png(np.array([[0, 1, 2]] * 2, np.uint8)), r"\(1, 1, 1\), and \(0, 0, 0\).*`id`"),
        (_png(_filled(7, 3)), r"\(7, 7, 7\)"),
        (_palette([0] * 6, [(9, 9, 0), *_LAND_COLOURS]), r"\(9, 9, 0\), and \(0, 255, 255\)"),
    ],
    ids=["numbers or colours", "gray of no class", "a palette of the table and a colour more"],
)
def test_values_are_not_guessed_beside_a_table_of_colours(tmp_path, mask, said):
    coloured = _png(np.array([_LAND_COLOURS[:3]] * 2, np.uint8))
    source = _write(tmp_path / "in", [mask, *[coloured] * 11], classes_csv=_LAND)
    info, _ = _import(source, tmp_path / "out")
    assert info.rejected == {"mask_colours": 1}
    (row,) = pq.read_table(tmp_path / "out/rejected.parquet").to_pylist()
    assert re.search(said, row["message"])


def test_numbers_beside_a_table_whose_first_class_is_black(tmp_path):
    files = {"classes_csv": "name,r,g,b\nground,0,0,0\nroad,128,0,0\nroof,0,128,0\n"}
    border = [(0, 0, 0), (128, 0, 0), (0, 128, 0), *[(224, 224, 192)] * 253]
    masks = [_png(_IDS), _palette(_IDS.ravel().tolist(), border)] * 6
    info, stored = _import(_write(tmp_path / "in", masks, **files), tmp_path / "out")
    assert info.rejected == {}
    assert len(stored) == 12
    assert all((each == _IDS).all() for each in stored.values())


def test_colours_without_a_table_are_refused_with_what_they_are(tmp_path):
    black = _png(np.zeros((2, 3, 3), np.uint8))
    source = _write(tmp_path / "in", [black, *[_png(_COLOURS[_IDS])] * 11])
    with pytest.raises(ValueError, match=r"`classes.csv`.*11 masks of colours.*\(9, 0, 0\)"):
        _import(source, tmp_path / "out")


def test_masks_with_smoothed_edges_are_refused(tmp_path):
    # 30 shades between wide areas of black and white.
    shades = np.repeat([*range(0, 255, 8), 255], [40, *[1] * 31, 40])[None]
    image = np.zeros((*shades.shape, 3), np.uint8)
    source = _write(tmp_path / "in", [_png(shades.astype(np.uint8))] * 12)
    for path in (source / "images").iterdir():
        Image.fromarray(image).save(path)
    with pytest.raises(ValueError, match=r"32 values, most pixels 0 or 255: shades at edges"):
        _import(source, tmp_path / "out")


def test_a_mask_of_an_image_that_was_turned_later_says_so(tmp_path):
    source = _write(tmp_path / "in", [_png(_IDS)] * 13, classes_txt="a\nb\nc\n")
    (source / "masks/5.png").write_bytes(_png(np.ascontiguousarray(_IDS.T)))
    _import(source, tmp_path / "out")
    (row,) = pq.read_table(tmp_path / "out/rejected.parquet").to_pylist()
    assert row["message"].endswith("turned after that: the mask must be as it is shown.")


def test_classes_without_a_list_are_the_values(tmp_path):
    ids = np.array([[3, 7, 7], [3, 255, 40]], np.uint8)
    info, stored = _import(_write(tmp_path / "in", [_png(ids)] * 12), tmp_path / "out")
    assert info.classes == ["3", "7", "40"]
    assert next(iter(stored.values())).tolist() == [[0, 1, 1], [0, 255, 2]]
    assert any("No classes.txt" in note for note in info.notes)


def test_black_and_white_masks_are_background_and_foreground(tmp_path):
    ids = np.where(_IDS == 1, 255, 0).astype(np.uint8)
    info, stored = _import(_write(tmp_path / "in", [_png(ids)] * 12), tmp_path / "out")
    assert info.classes == ["background", "foreground"]
    assert next(iter(stored.values())).tolist() == (ids // 255).tolist()


@pytest.mark.parametrize(
    ("files", "white", "kind"),
    [
        ({"classes_txt": "ground\nroad\n"}, 255, np.uint8),
        ({"classes_txt": "ground\nroad\n"}, 65535, np.uint16),
        ({"classes_csv": "name,id\nground,0\nroad,1\n"}, 255, np.uint8),
        ({"classes_csv": "name,id\nground,0\nroad,255\n"}, 255, np.uint8),
    ],
)
def test_of_two_named_classes_white_is_the_second(tmp_path, files, white, kind):
    ids = np.where(_IDS == 1, white, 0).astype(kind)
    info, stored = _import(_write(tmp_path / "in", [_png(ids)] * 12, **files), tmp_path / "out")
    assert info.classes == ["ground", "road"]
    assert all((each == (_IDS == 1)).all() for each in stored.values())


def test_numbers_of_void_are_unknown(tmp_path):
    files = {"classes_csv": "name,id\nlow,0\nhigh,1\ntop,2,\nvoid,9\n"}
    ids = np.where(_IDS == 255, 9, _IDS).astype(np.uint8)
    info, stored = _import(_write(tmp_path / "in", [_png(ids)] * 12, **files), tmp_path / "out")
    assert info.classes == ["low", "high", "top"]
    assert all((each == _IDS).all() for each in stored.values())


@pytest.mark.parametrize("separator", [";", "\t"])
def test_spreadsheets_separate_a_list_of_classes_as_they_like(tmp_path, separator):
    table = "name,r,g,b\nlow,9,0,0\nhigh,0,9,0\ntop,0,0,9\n".replace(",", separator)
    table = table.replace("high", "high, not the top")
    colours = np.array([[9, 0, 0], [0, 9, 0], [0, 0, 9]], np.uint8)[_IDS % 3]
    source = _write(tmp_path / "in", [_png(colours)] * 12, classes_csv=table)
    info, stored = _import(source, tmp_path / "out")
    assert info.classes == ["low", "high, not the top", "top"]
    assert all((each == _IDS % 3).all() for each in stored.values())


def test_white_is_unknown_where_one_mask_has_the_second_class(tmp_path):
    black = _png(np.where(_IDS == 1, 255, 0).astype(np.uint8))
    last = _png(np.where(_IDS == 1, 1, 0).astype(np.uint8))
    source = _write(tmp_path / "in", [*[black] * 11, last], classes_txt="ground\nroad\n")
    _, stored = _import(source, tmp_path / "out")
    assert sorted(np.unique(each).tolist() for each in stored.values()) == [
        [0, 1],
        *[[0, 255]] * 11,
    ]


@pytest.mark.parametrize(
    ("mask", "code", "said"),
    [
        (_png(np.zeros((3, 3), np.uint8)), "mask_size", "3 x 2 pixels. Received: 3 x 3"),
        (_png(np.full((2, 3), 14, np.uint8)), "mask_ids", r"the 3 classes.*\[14\]"),
        (_png(np.full((2, 3), 300, np.uint16)), "mask_ids", r"\[300\]"),
        (_png(np.full((2, 3), 255, np.uint8)), "mask_empty", "nothing is known"),
        (_png(_COLOURS[_IDS]), "mask_colours", "classes.csv"),
        (b"", "mask_unreadable", "empty"),
        (_png(_IDS)[:40], "mask_unreadable", "no PNG"),
        (None, "mask_missing", "no mask"),
    ],
    ids=["size", "ids", "16 bits", "nothing known", "colours", "empty file", "cut off", "absent"],
)
def test_a_mask_that_cannot_be_used_costs_its_image_alone(tmp_path, mask, code, said):
    source = _write(tmp_path / "in", [_png(_IDS)] * 13, classes_txt="a\nb\nc\n")
    path = source / "masks/5.png"
    path.unlink() if mask is None else path.write_bytes(mask)
    info, stored = _import(source, tmp_path / "out")
    assert (info.rejected, len(stored)) == ({code: 1}, 12)
    (row,) = pq.read_table(tmp_path / "out/rejected.parquet").to_pylist()
    assert row["path"] == "images/5.png"
    assert re.search(said, row["message"])


# With a list of the classes and without: then all masks are read beforehand.
_LISTED = pytest.mark.parametrize(
    "files", [{}, {"classes_txt": "a\nb\nc\n"}], ids=["values", "list"]
)


@_LISTED
def test_a_name_that_is_not_utf_8_costs_its_image_alone(tmp_path, files):
    source = _write(tmp_path / "in", [_png(_IDS)] * 15, **files)
    odd = os.fsdecode(b"caf\xe9.png")
    for kind in ("images", "masks"):
        (source / kind / "5.png").rename(source / kind / odd)
    (source / "masks/6.png").rename(source / "masks" / f"lonely-{odd}")
    (source / "images/7.png").rename(source / "images" / f"bare-{odd}")
    before = dataset_version(str(source), "auto", follow_links=False)
    info, stored = _import(source, tmp_path / "out")
    assert (info.rejected, len(stored)) == ({"undecodable_name": 2, "mask_missing": 1}, 12)
    rows = pq.read_table(tmp_path / "out/rejected.parquet").to_pylist()
    assert {row["path"] for row in rows} == {
        "images/caf\\xe9.png",
        "images/bare-caf\\xe9.png",
        "images/6.png",
    }
    assert any("such as masks/7.png" in note for note in info.notes)
    (source / "masks/7.png").unlink()
    info, _ = _import(source, tmp_path / "again")
    assert any("such as masks/lonely-caf\\xe9.png" in note for note in info.notes)
    (source / "masks/8.png").write_bytes(_png(_IDS[::-1]))
    assert dataset_version(str(source), "auto", follow_links=False) != before


def _link_out(source: Path, paths: list[str]) -> None:
    for index, path in enumerate(paths):
        target = source.parent / f"elsewhere-{index}.png"
        (source / path).rename(target)
        (source / path).symlink_to(target)


@_LISTED
def test_masks_and_images_behind_links_are_read_when_links_are_followed(
    tmp_path, import_into, files
):
    source = _write(tmp_path / "in", [_png(_IDS)] * 15, **files)
    # Of a class that no mask in the root shows.
    (source / "masks/5.png").write_bytes(_png(np.full((2, 3), 1 if files else 9, np.uint8)))
    _link_out(source, ["masks/5.png", "images/6.png"])
    (source / "masks/7.png").unlink()
    (source / "masks/7.png").symlink_to("gone.png")
    info, output = import_into(source)
    assert info.rejected == {"outside_root": 2, "missing_file": 1}
    assert "9" not in info.classes
    rows = pq.read_table(output / "rejected.parquet").to_pylist()
    said = {row["path"]: row["message"] for row in rows}
    assert sorted(said) == ["images/5.png", "images/6.png", "images/7.png"]
    assert said["images/5.png"].startswith("masks/5.png: The link leads out of the data root")
    assert "follow-links" in said["images/5.png"]
    followed, _ = import_into(source, follow_links=True)
    assert followed.rejected == {"missing_file": 1}
    assert sum(followed.splits.values()) == 14


@_LISTED
def test_most_masks_behind_links_stop_the_import(tmp_path, import_into, files):
    source = _write(tmp_path / "in", [_png(_IDS)] * 15, **files)
    _link_out(source, [f"masks/{index}.png" for index in range(15)])
    with pytest.raises(ValueError, match=r"15 outside of it, 0 in it.*masks/.*follow_links"):
        import_into(source)
    followed, _ = import_into(source, follow_links=True)
    assert sum(followed.splits.values()) == 15


def test_a_source_without_a_name_that_can_be_stored_says_so(tmp_path):
    source = _write(tmp_path / "in", [_png(_IDS)] * 3, os.fsdecode(b"{kind}/\xe9{name}"))
    with pytest.raises(ValueError, match=r"3 images.*images/.*xe90\.png.*must be UTF-8"):
        _import(source, tmp_path / "out")


@_LISTED
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a user who may not read")
def test_a_mask_that_must_not_be_read_costs_its_image_alone(files):
    # Not below `tmp_path`, which only its owner may enter.
    with tempfile.TemporaryDirectory() as temporary:
        source = _write(Path(temporary, "in"), [_png(_IDS)] * 13, **files)
        (source / "masks/5.png").chmod(0)
        for path in (Path(temporary), source, *source.rglob("*")):
            os.chown(path, 65534, -1)
        os.seteuid(65534)
        try:
            info, stored = _import(source, Path(temporary, "out"))
        finally:
            os.seteuid(0)
        (row,) = pq.read_table(Path(temporary, "out/rejected.parquet")).to_pylist()
    assert (info.rejected, len(stored)) == ({"no_permission": 1}, 12)
    assert row["path"] == "images/5.png"
    assert row["message"] == "masks/5.png: the mask may not be read: Permission denied."


def test_classes_are_not_those_of_the_masks_that_a_lost_storage_gave(tmp_path, monkeypatch):
    source, read = _write(tmp_path / "in", [_png(_IDS)] * 13), Folder.read

    def read_or_fail(folder: Folder, path: str) -> bytes:
        if path == "masks/5.png":
            raise StorageError("Cannot reach it.")
        return read(folder, path)

    monkeypatch.setattr(Folder, "read", read_or_fail)
    with pytest.raises(StorageError, match="Cannot reach it"):
        list_source(str(source), "auto", "", False, "auto")


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"classes_txt": ""}, "0 names"),
        ({"classes_txt": "a\nb\na\n"}, "2 of them different"),
        ({"classes_txt": "a\n"}, "'a' alone"),
        ({"classes_csv": "name,id\na,1\nb,1\n"}, r"more than once: \[1\]"),
        ({"classes_csv": "name,r,g,b\na,1,2,3\nb,1,2,3\n"}, r"once: \[\(1, 2, 3\)\]"),
        ({"classes_csv": "name,id\na,0,7\nb,1\n"}, "its header: name, id. Received: a, 0, 7"),
        ({"classes_csv": "name,red\na,1\n"}, "`name` and `id`"),
        ({"classes_csv": "name,r,g,b\na,1,2,x\n"}, "'x'"),
    ],
)
def test_a_list_of_classes_that_is_none(tmp_path, files, said):
    source = _write(tmp_path / "in", [_png(_IDS)] * 3, **files)
    with pytest.raises(ValueError, match=said):
        import_dataset(str(source), tmp_path / "out", ImportConfig())


def test_an_import_starts_no_tensorflow(tmp_path):
    _write(tmp_path / "set", [_png(_IDS)] * 40)
    program = (
        "import sys; from pathlib import Path\n"
        "from kfp_vision.components.data_import.importer import ImportConfig, import_dataset\n"
        "import_dataset(sys.argv[1], Path(sys.argv[2]), ImportConfig())\n"
        "assert 'tensorflow' not in sys.modules and 'keras' not in sys.modules\n"
    )
    command = [sys.executable, "-c", program, tmp_path / "set", tmp_path / "out"]
    ended = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert not ended.returncode, ended.stderr


def test_masks_are_read_at_once_and_not_to_list_the_files(s3, tmp_path, monkeypatch):
    values = np.array([[0, 1], [2, 7]], np.uint8)
    upload(_write(tmp_path / "in", [_png(np.roll(values, n % 2)) for n in range(80)]), f"{s3}/in")
    names, read = set(), Folder.read

    def named(folder: Folder, path: str) -> bytes:
        names.add(current_thread().name)
        return read(folder, path)

    monkeypatch.setattr(Folder, "read", named)
    list_source(f"{s3}/in", "auto", "", False)
    assert names == set()
    listing, *_ = list_source(f"{s3}/in", "auto", "", False, "auto")
    assert listing.class_order == ("0", "1", "2", "7")
    assert len(names) > 8


def test_a_mask_that_changes_is_another_version_also_where_no_file_names_the_classes(tmp_path):
    source = _write(tmp_path / "in", [_png(_IDS)] * 4)
    before = dataset_version(str(source), "auto", follow_links=False)
    (source / "masks/1.png").write_bytes(_png(_IDS, "P"))
    assert dataset_version(str(source), "auto", follow_links=False) != before


@pytest.mark.parametrize(("image", "mask"), [("A1", "a1"), ("\u00fc", "u\u0308")])
def test_a_mask_may_be_called_like_its_image_in_another_spelling(tmp_path, image, mask):
    source = _write(tmp_path / "in", [_png(_IDS)] * 4, classes_txt="a\nb\nc")
    (source / "images/1.png").rename(source / f"images/{image}.png")
    (source / "masks/1.png").rename(source / f"masks/{mask}.png")
    assert _import(source, tmp_path / "out")[0].rejected == {}


def test_of_two_masks_in_another_spelling_none_is_meant(tmp_path):
    source = _write(tmp_path / "in", [_png(_IDS)] * 5, classes_txt="a\nb\nc")
    for number, name in ((1, "Ab"), (2, "aB")):
        (source / f"masks/{number}.png").rename(source / f"masks/{name}.png")
    (source / "images/1.png").rename(source / "images/ab.png")
    (source / "images/2.png").unlink()
    assert _import(source, tmp_path / "out")[0].rejected == {"mask_missing": 1}


def test_masks_that_cannot_be_read_are_named_where_they_are_all(tmp_path):
    with pytest.raises(
        ValueError, match=r"0 values.*4 masks cannot be read.*masks/0\.png: it is no"
    ):
        _import(_write(tmp_path / "in", [b"GIF89a"] * 4), tmp_path / "out")
