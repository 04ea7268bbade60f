"""Names and files that nobody meant to be there: read rightly, or named."""

import os
import shutil
import tempfile
import unicodedata
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from kfp_vision.components.data_import.importer import ImportConfig, import_dataset
from kfp_vision.components.shared.datasets.store import open_split


@pytest.fixture
def source(tmp_path: Path, save_images) -> Path:
    """Returns two class folders of 10 images."""
    for name in ("cat", "dog"):
        save_images(tmp_path / "source" / name)
    return tmp_path / "source"


def _copy(source: Path, path: str) -> None:
    target = source / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes((source / "cat/0.png").read_bytes())


def _rejected(output_dir: Path) -> list[dict[str, str]]:
    return pq.read_table(output_dir / "rejected.parquet").to_pylist()


def test_a_name_that_is_not_utf_8_is_left_out_alone(source, import_into):
    _copy(source, os.fsdecode(b"cat/caf\xe9.png"))
    info, output_dir = import_into(source)
    assert info.rejected == {"undecodable_name": 1}
    assert [row["path"] for row in _rejected(output_dir)] == ["cat/caf\\xe9.png"]
    assert sum(info.splits.values()) == 20


def test_hidden_files_may_have_any_name(source, import_into):
    _copy(source, os.fsdecode(b"cat/.caf\xe9.png"))
    _, output_dir = import_into(source)
    assert [row["path"] for row in _rejected(output_dir)] == ["cat/.caf\\xe9.png"]


def test_a_class_whose_name_is_not_utf_8_is_refused(source, import_into):
    (source / "dog").rename(source / os.fsdecode(b"H\xfcndin"))
    with pytest.raises(ValueError, match=r"must be UTF-8.*H\\\\xfcndin.*Rename"):
        import_into(source)


@pytest.mark.parametrize(
    "name",
    ["a [1].png", "50%.png", "%20.png", "#1.png", "new\nline.png", "a:b.png", "x*?.png", "猫"],
)
def test_names_of_any_kind_are_read(name, source, import_into):
    _copy(source, f"cat/{name}")
    info, output_dir = import_into(source)
    assert info.rejected == {}
    paths = {
        path for split in info.splits for path in open_split(output_dir, split)["path"].to_pylist()
    }
    assert f"cat/{name}" in paths


def test_classes_of_any_name_are_read(tmp_path, save_images, import_into):
    names = ["1:2", "50%", "a\nb", "a b", "a#b", "a[b]"]
    for name in names:
        save_images(tmp_path / "source" / name)
    assert import_into(tmp_path / "source")[0].classes == names


@pytest.mark.parametrize(
    "path", ["@eaDir/0.png/SYNOPHOTO_THUMB_M.jpg", "cat/@eaDir/0.png", "cat/.thumbs/0.png"]
)
def test_images_of_systems_are_no_images_of_the_class(path, source, import_into):
    _copy(source, path)
    info, _ = import_into(source)
    assert info.rejected == {"hidden": 1}
    assert info.classes == ["cat", "dog"]
    assert any(path.rpartition("/")[0] in note for note in info.notes)


def test_a_repository_around_the_images_is_hidden(source, import_into):
    for path in (".git/HEAD", ".git/objects/ab/cdef", ".dvc/cache/00/11", "cat/.cache/x"):
        _copy(source, path)
    info, _ = import_into(source)
    assert info.rejected == {"hidden": 4}
    assert sum(info.splits.values()) == 20


@pytest.mark.parametrize("name", ["Thumbs.db", "desktop.ini", ".DS_Store", "._0.png", "Icon\r"])
def test_files_of_systems_are_hidden(name, source, import_into):
    (source / "cat" / name).write_bytes(b"\0\0")
    assert import_into(source)[0].rejected == {"hidden": 1}


def test_a_pipe_does_not_hold_the_import(source, import_into):
    os.mkfifo(source / "cat/pipe.png")
    assert import_into(source)[0].rejected == {"not_a_file": 1}


def test_suffixes_decide_nothing(source, import_into):
    for name in ("x.jfif", "x.jpe", "x.mpo", "x.JPG", "x", "x.data", "x.txt"):
        _copy(source, f"cat/{name}")
    info, _ = import_into(source)
    assert (info.rejected, sum(info.splits.values())) == ({}, 27)


def test_structure_is_seen_whatever_the_suffix(tmp_path, save_images, import_into):
    for folder in ("cats/train", "cats/test", "dogs/train", "dogs/test"):
        save_images(tmp_path / "source" / folder)
        for path in (tmp_path / "source" / folder).iterdir():
            path.rename(path.with_suffix(".dat"))
    info, _ = import_into(tmp_path / "source")
    assert info.split_origin == {"train": "given", "validation": "made", "test": "given"}


def test_files_that_are_no_images_are_named_by_what_they_are(source, import_into):
    (source / "cat/a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    (source / "cat/b.jpg").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    info, output_dir = import_into(source)
    assert info.rejected == {"unsupported_format": 1, "not_an_image": 1}
    heic, pointer = _rejected(output_dir)
    assert "HEIC" in heic["message"]
    assert "git lfs pull" in pointer["message"]


def test_a_class_without_a_readable_image_is_named(source, import_into):
    (source / "emu").mkdir()
    for index in range(3):
        (source / f"emu/{index}.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    info, _ = import_into(source)
    assert info.classes == ["cat", "dog"]
    assert [note for note in info.notes if "read: 1 (emu); " in note and "format (3)" in note]


def test_a_split_without_a_readable_image_is_named(source, import_into):
    for name in ("cat", "dog"):
        (source / "train").mkdir(exist_ok=True)
        (source / name).rename(source / "train" / name)
        (source / "test" / name).mkdir(parents=True)
        (source / "test" / name / "0.png").write_bytes(b"")
    info, _ = import_into(source)
    assert info.split_origin["test"] == "made"
    assert any("No image of the split test" in note for note in info.notes)


def test_one_readable_class_is_refused_with_the_cause(source, import_into):
    for path in (source / "dog").iterdir():
        path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"two classes.*\['cat'\].*1 \(dog\).*empty file \(10\)"):
        import_into(source)


def test_archives_are_mentioned(source, import_into):
    (source / "cat/more.zip").write_bytes(b"PK\x03\x04" + bytes(30))
    info, _ = import_into(source)
    assert info.rejected == {"not_an_image": 1}
    assert any("unpack" in note and "cat/more.zip" in note for note in info.notes)


@pytest.mark.parametrize("name", ["", "/train.zip"])
def test_nothing_but_archives_is_refused(name, tmp_path, import_into):
    for archive in ("train.zip", "test.zip"):
        (tmp_path / archive).write_bytes(b"PK\x03\x04" + bytes(30))
    with pytest.raises(ValueError, match=r"unpacked first.*train\.zip"):
        import_into(f"{tmp_path}{name}")


def test_unlabelled_files_are_looked_at_alike(source, import_into):
    more = source.parent / "more"
    shutil.copytree(source / "cat", more / "any")
    for name in (b"caf\xe9.png", b"Thumbs.db", b"2.jfif"):
        shutil.copy(source / "cat/0.png", more / os.fsdecode(name))
    os.mkfifo(more / "pipe")
    info, _ = import_into(source, unlabeled_uri=str(more))
    assert info.splits["unlabeled"] == 11
    assert info.rejected == {"undecodable_name": 1, "hidden": 1, "not_a_file": 1}


def test_what_is_left_out_says_which_uri_it_is_of(source, import_into):
    more = source.parent / "more"
    shutil.copytree(source / "cat", more / "cat")
    for folder in (source, more):
        (folder / "cat/0.png").write_bytes(b"no image")
        (folder / "cat/.1.png").write_bytes(b"")
        (folder / "cat/__MACOSX").mkdir()
        shutil.copy(source / "cat/1.png", folder / "cat/__MACOSX/1.png")
    info, output_dir = import_into(source, unlabeled_uri=str(more))
    named = {(row["source"], row["path"], row["code"]) for row in _rejected(output_dir)}
    assert named == {
        (uri, f"cat/{name}", code)
        for uri in ("dataset_uri", "unlabeled_uri")
        for name, code in (
            ("0.png", "not_an_image"),
            (".1.png", "hidden"),
            ("__MACOSX/1.png", "hidden"),
        )
    }
    assert "Left out: 1 x not_an_image." in info.notes
    assert "Left out of `unlabeled_uri`: 1 x not_an_image." in info.notes
    assert sum("hidden folders" in note for note in info.notes) == 2
    assert any(note.startswith("`unlabeled_uri`: 1 images in hidden") for note in info.notes)


def test_animations_give_their_first_frame(source, import_into):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(source / "cat/x.gif", save_all=True, append_images=frames[1:])
    info, _ = import_into(source)
    assert sum(info.splits.values()) == 21
    assert "1 images were animated: the first frame is used." in info.notes


NFC, NFD = (unicodedata.normalize(form, "Käfer") for form in ("NFC", "NFD"))


@pytest.mark.parametrize(
    "folders",
    [
        ["train/cat", "train/dog", "test/Cat", "test/dog"],
        ["train/cat", "train/dog", "test/cat ", "test/dog"],
        [f"train/{NFC}", "train/dog", f"test/{NFD}", "test/dog"],
        ["cat", "cat ", "dog"],
        [NFC, NFD, "dog"],
    ],
)
def test_names_that_people_take_for_the_same_are_refused(
    folders, tmp_path, save_images, import_into
):
    for folder in folders:
        save_images(tmp_path / "source" / folder, 2)
    with pytest.raises(ValueError, match=r"Received: '.+', '.+'.*Rename"):
        import_into(tmp_path / "source")


def test_letters_of_both_cases_are_classes(tmp_path, save_images, import_into):
    for name in ("a", "A", "b", "B"):
        save_images(tmp_path / "source" / name)
    info, _ = import_into(tmp_path / "source")
    assert info.classes == ["A", "B", "a", "b"]
    assert any("'A', 'a'" in note for note in info.notes)


def test_deep_folders_are_read(source, import_into):
    _copy(source, "cat/" + "/".join("abcdefghij" * 5) + "/x.png")
    info, _ = import_into(source)
    assert sum(info.splits.values()) == 21
    assert any("'cat/a' (1 images) to 'cat'" in note for note in info.notes)


def test_the_sizes_of_made_splits_are_the_real_ones(tmp_path, save_images, import_into):
    for label in range(40):
        save_images(tmp_path / "source" / f"{label:02}", 3)
    info, _ = import_into(tmp_path / "source")
    assert info.splits == {"train": 80, "validation": 20, "test": 20}
    [note] = [note for note in info.notes if note.startswith("Made here")]
    assert "test 20 images (16.7%) of 20 classes" in note
    assert "from 120 training images of 40 classes" in note


def test_a_wrapped_folder_is_refused_with_the_uri_that_works(source, import_into):
    with pytest.raises(ValueError, match=r"'source', holds .*'source/cat'.*`/source`"):
        import_into(source.parent)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a user who may not read")
def test_what_must_not_be_read_is_named(source):
    # Not below `tmp_path`, which only its owner may enter.
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary, "source")
        source.rename(root)
        for name in ("cat/secret", "cat/.lost"):
            (root / name).mkdir(mode=0)
        (root / "cat/0.png").chmod(0)
        for path in (Path(temporary), root, *root.rglob("*")):
            os.chown(path, 65534, -1)
        os.seteuid(65534)
        try:
            with pytest.raises(OSError, match=r"readable.*'cat/secret'.*[Pp]ermission"):
                import_dataset(str(root), Path(temporary, "out"), ImportConfig())
            (root / "cat/secret").rmdir()
            info = import_dataset(str(root), Path(temporary, "out"), ImportConfig())
        finally:
            os.seteuid(0)
    assert info.rejected == {"hidden": 1, "no_permission": 1}
    assert sum(info.splits.values()) == 19
