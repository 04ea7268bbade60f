"""Bad input is a clear error before work starts, or a counted rejection; nothing is lost."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from kfp_vision.components.data_import.importer import ImportConfig, import_dataset


@pytest.fixture
def source(tmp_path: Path, save_images: Callable[..., list[str]]) -> Path:
    """Returns two class folders of 10 images."""
    for name in ("cat", "dog"):
        save_images(tmp_path / "source" / name)
    return tmp_path / "source"


def _link(path: Path, target: Path) -> None:
    path.symlink_to(target)


def _outside(source: Path) -> Path:
    outside = source.parent / "secret"
    outside.mkdir()
    Image.new("RGB", (2, 2)).save(outside / "a.png")
    return outside


# What is added to the source -> (code, path) of the rejection.
REJECTED_FILES = {
    "zero bytes": (lambda s: (s / "cat/x.png").write_bytes(b""), "empty_file", "cat/x.png"),
    "text": (lambda s: (s / "cat/notes.txt").write_text("hi"), "not_an_image", "cat/notes.txt"),
    "truncated": (
        lambda s: (s / "cat/x.png").write_bytes((s / "cat/0.png").read_bytes()[:200]),
        "truncated",
        "cat/x.png",
    ),
    "beside the classes": (
        lambda s: (s / "x.png").write_bytes((s / "cat/0.png").read_bytes()),
        "no_label",
        "x.png",
    ),
    "mask": (
        lambda s: (s / "cat/0_mask_1.png").write_bytes((s / "cat/0.png").read_bytes()),
        "mask",
        "cat/0_mask_1.png",
    ),
    "hidden": (lambda s: (s / "cat/.DS_Store").write_bytes(b"\0"), "hidden", "cat/.DS_Store"),
    "empty class": (lambda s: (s / "emu").mkdir(), "empty_class", "emu"),
    "link to a file outside": (
        lambda s: _link(s / "cat/x.png", _outside(s) / "a.png"),
        "outside_root",
        "cat/x.png",
    ),
    "link to a folder outside": (
        lambda s: _link(s / "cat/more", _outside(s)),
        "outside_root",
        "cat/more",
    ),
    "link that goes round": (lambda s: _link(s / "cat/loop", s), "linked_folder", "cat/loop"),
    "link to nothing": (lambda s: _link(s / "cat/x.png", s / "gone"), "missing_file", "cat/x.png"),
}


@pytest.mark.parametrize("name", REJECTED_FILES)
def test_files_are_left_out_and_counted(name, source, import_into):
    spoil, code, path = REJECTED_FILES[name]
    spoil(source)
    info, output_dir = import_into(source)
    assert info.rejected == {code: 1}
    assert info.classes == ["cat", "dog"]
    assert sum(info.splits.values()) == 20
    rows = pq.read_table(output_dir / "rejected.parquet").to_pylist()
    assert [(row["path"], row["code"]) for row in rows] == [(path, code)]
    assert any(f"1 x {code}" in note for note in info.notes)


def test_a_link_inside_the_root_is_an_image(source, import_into):
    (source / "cat/link.png").symlink_to(source / "cat/0.png")
    info, _ = import_into(source)
    assert sum(info.splits.values()) == 21


# Rows added to a good manifest -> codes.
REJECTED_ROWS = {
    "absolute": (["/etc/passwd,cat"], {"absolute_path": 1}),
    "drive": (["C:\\x.png,cat"], {"absolute_path": 1}),
    "another URI": (["s3://bucket/x.png,cat"], {"absolute_path": 1}),
    "dots": (["../secret/a.png,cat"], {"outside_root": 1}),
    "dots within": (["cat/../../secret/a.png,cat"], {"outside_root": 1}),
    "nowhere": (["cat/nothing.png,cat"], {"missing_file": 1}),
    "a folder": (["cat,cat"], {"missing_file": 1}),
    "too long a name": ([f"cat/{'x' * 300}.png,cat"], {"missing_file": 1}),
    "too long a path": ([f"{'x/' * 3000}x.png,cat"], {"missing_file": 1}),
    "no label": (["cat/x.png,"], {"no_label": 1}),
    "short row": (["cat/x.png"], {"no_label": 1}),
    "no path": ([",cat"], {"no_path": 1}),
    "twice": (["cat/1.png,cat"], {"duplicate_row": 1}),
    "two labels": (["cat/1.png,dog"], {"conflicting_labels": 2}),
}


@pytest.mark.parametrize("name", REJECTED_ROWS)
def test_rows_are_left_out_and_counted(name, source, import_into):
    added, codes = REJECTED_ROWS[name]
    _outside(source)
    rows = [f"{kind}/{index}.png,{kind}" for kind in ("cat", "dog") for index in range(10)]
    (source / "all.csv").write_text("\n".join(["path,label", *rows, *added]))
    info, _ = import_into(source)
    assert info.rejected == codes
    assert sum(info.splits.values()) + sum(codes.values()) == len(rows) + len(added)


def _manifest(text: str) -> Callable[[Path], object]:
    return lambda root: (root / "all.csv").write_text(text)


def _regression(root: Path) -> None:
    rows = [f"{index}.png,{index / 7}" for index in range(30)]
    (root / "all.csv").write_text("path,label\n" + "\n".join(rows))


def _pickled(root: Path) -> None:
    labels = np.array([{"code": "runs"}, "cat"], dtype=object)
    np.savez(root / "all.npz", images=np.zeros((2, 4, 4), np.uint8), labels=labels)


def _arrays(**arrays: np.ndarray) -> Callable[[Path], None]:
    return lambda root: np.savez(root / "all.npz", allow_pickle=False, **arrays)


def _truncated_archive(root: Path) -> None:
    labels = np.arange(20) % 2
    np.savez(root / "all.npz", images=np.zeros((20, 4, 4), np.uint8), labels=labels)
    content = (root / "all.npz").read_bytes()
    (root / "all.npz").write_bytes(content[: len(content) // 2])


def _truncated_idx(root: Path) -> None:
    (root / "train-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03" + b"\0\0\0\x09" * 3 + b"x" * 99)
    (root / "train-labels-idx1-ubyte").write_bytes(
        b"\0\0\x08\x01" + b"\0\0\0\x09" + bytes(range(9))
    )


def _annotated(image: str, annotation: str) -> Callable[[Path], None]:
    def write(root: Path) -> None:
        for name in (image, annotation):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text("{}")

    return write


IMAGES = np.random.default_rng(0).integers(0, 256, (20, 4, 4), np.uint8)
LABELS = np.arange(20) % 2

# What the folder holds -> words of the error.
REFUSED = {
    "nothing": (lambda root: None, "nothing in it"),
    "only images": (lambda root: Image.new("L", (1, 1)).save(root / "a.png"), "unlabeled_uri"),
    "a spreadsheet after images": (
        lambda root: [
            (root / name).touch() for name in [*(f"{i}.png" for i in range(9)), "z.xlsx"]
        ],
        "z.xlsx",
    ),
    "one class": (lambda root: (root / "cat").mkdir(), "at least two classes"),
    "empty classes": (
        lambda root: [(root / name).mkdir() for name in ("cat", "dog")],
        "must be images with labels",
    ),
    "no label column": (
        _manifest("path,width,height\na.png,1,2\n"),
        "Rename the column of classes",
    ),
    "one class in a manifest": (
        _manifest("path,label\na.png,1\nb.png,1\n"),
        "at least two classes",
    ),
    "measurements": (_regression, "different numbers with decimals"),
    "unknown split": (_manifest("path,label,split\na.png,1,fold7\n"), "fold7"),
    "not UTF-8": (lambda root: (root / "all.csv").write_bytes(b"path,label\n\xff,1\n"), "UTF-8"),
    "broken JSON": (lambda root: (root / "all.jsonl").write_text('{"path": '), "all.jsonl row 1"),
    "pickle": (_pickled, "pickled"),
    "floats": (_arrays(images=IMAGES / 255, labels=LABELS), "uint8 or uint16"),
    "channels first": (
        _arrays(images=np.zeros((20, 3, 8, 8), np.uint8), labels=LABELS),
        "move the",
    ),
    "labels missing": (_arrays(images=IMAGES), "labels"),
    "fewer labels": (_arrays(images=IMAGES, labels=LABELS[:9]), "20 in images and 9"),
    "other names": (_arrays(data=IMAGES, target=LABELS), "x_train"),
    "no arrays": (lambda root: (root / "all.npz").write_bytes(b"no zip"), "all.npz"),
    "half an archive": (_truncated_archive, "all.npz"),
    "half an IDX file": (_truncated_idx, "ends after"),
    "only test": (
        _arrays(x_test=IMAGES, y_test=LABELS),
        "There must be training images",
    ),
    "Pascal VOC": (
        _annotated("JPEGImages/7.jpg", "Annotations/7.xml"),
        "Annotations of objects that are not read: 1 like Annotations/7.xml",
    ),
    "YOLO": (_annotated("train/images/7.jpg", "train/labels/7.txt"), "numbers with spaces"),
    "COCO": (
        _annotated("train2017/7.jpg", "annotations/instances_train2017.json"),
        "1 like annotations/instances_train2017.json",
    ),
    "a spreadsheet beside images": (
        _annotated("images/7.jpg", "labels.xlsx"),
        "Not read: .'labels.xlsx'.; tables are CSV",
    ),
    "flat YOLO": (_annotated("7.jpg", "7.txt"), "1 like 7.txt"),
    "LabelMe": (
        lambda root: [_annotated(f"{n}.jpg", f"{n}.json")(root) for n in range(9)],
        r"6 more files are not used\..* 9 like 0.json\. .* convert them",
    ),
    "too few": (_arrays(images=IMAGES[:4], labels=LABELS[:4]), "at least 3 images"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_sources_are_refused_and_leave_nothing(name, tmp_path):
    spoil, words = REFUSED[name]
    root = tmp_path / "source"
    root.mkdir()
    spoil(root)
    with pytest.raises(ValueError, match=words):
        import_dataset(str(root), tmp_path / "out" / "dataset", ImportConfig())
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("", "dataset_uri"),
        ("no/such/folder", "Cannot reach 'no/such/folder'"),
        ("ftp://host/data", "ftp"),
        ("tfds:no_such_set_of_tfds", "no_such_set_of_tfds"),
    ],
)
def test_uris_that_lead_nowhere(uri, words, tmp_path):
    with pytest.raises((ValueError, OSError), match=words):
        import_dataset(uri, tmp_path / "out", ImportConfig())


@pytest.mark.parametrize(
    "config",
    [
        {"dataset_format": "zip"},
        {"dataset_format": None},
        {"task": "regression"},
        {"seed": -1},
        {"seed": 1.5},
        {"seed": True},
        {"seed": "0"},
        {"unlabeled_uri": None},
    ],
)
def test_config_values_are_checked(config):
    with pytest.raises(ValueError, match=r"must be .* Received: "):
        ImportConfig(**config)


def test_a_task_that_the_labels_do_not_make(source, import_into):
    with pytest.raises(ValueError, match="make it 'binary'"):
        import_into(source, task="multiclass")
    assert import_into(source, task="multilabel")[0].task == "multilabel"


def test_a_class_that_is_only_in_test_is_kept_for_the_profile(tmp_path, save_images, import_into):
    for folder in ("train/cat", "train/dog", "test/cat", "test/emu"):
        save_images(tmp_path / "source" / folder)
    info, _ = import_into(tmp_path / "source")
    assert info.classes == ["cat", "dog", "emu"]


def test_a_class_whose_images_are_all_broken_is_no_class(source, import_into):
    (source / "emu").mkdir()
    (source / "emu/0.png").write_bytes(b"")
    info, _ = import_into(source)
    assert info.classes == ["cat", "dog"]
    assert info.rejected == {"empty_file": 1}


def test_what_is_in_the_output_folder_is_not_overwritten(source, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/precious").touch()
    with pytest.raises(FileExistsError, match="must be empty"):
        import_dataset(str(source), tmp_path / "out", ImportConfig())


FULL_DISK = """
import errno, subprocess, sys
from pathlib import Path
from kfp_vision.components.data_import.importer import ImportConfig, import_dataset
disk = Path(sys.argv[2])
if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "none", disk]).returncode:
    sys.exit(77)
try:
    import_dataset(sys.argv[1], disk / "dataset", ImportConfig())
except OSError as error:
    assert error.errno == errno.ENOSPC, error
    print(error)
print("left:", list(disk.iterdir()))
"""


def test_a_full_disk_is_named_and_nothing_is_left(source, tmp_path):
    (tmp_path / "disk").mkdir()
    command = ["unshare", "--mount", sys.executable, "-c", FULL_DISK, source, tmp_path / "disk"]
    if os.geteuid() != 0:
        command.insert(1, "--map-root-user")
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode == 77 or "unshare" in run.stderr:
        pytest.skip("a disk of our own cannot be mounted here")
    assert "nothing is kept" in run.stdout, run.stderr
    assert "left: []" in run.stdout
