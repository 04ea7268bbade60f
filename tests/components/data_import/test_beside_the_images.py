"""Tables and images beside each other: what is used, what is not, and that this is told."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

PER_CLASS = 40


@pytest.fixture
def folders(tmp_path, save_images) -> Path:
    """Returns two class folders of 40 images."""
    for name in ("cat", "dog"):
        save_images(tmp_path / "set" / name, PER_CLASS)
    return tmp_path / "set"


def _table(root: Path, per_class: int, name: str = "labels.csv") -> None:
    rows = [f"{kind}/{index}.png,{kind}" for kind in ("cat", "dog") for index in range(per_class)]
    (root / name).write_text("\n".join(["path,label", *rows]))


def test_a_table_of_few_of_the_images_is_refused(folders, import_into):
    _table(folders, 4)
    with pytest.raises(ValueError, match="72 images are not in the manifest") as caught:
        import_into(folders)
    for word in ("labels.csv", "36 in cat/", "36 in dog/", "class_folders", "URI of the table"):
        assert word in str(caught.value)


def test_few_of_the_images_are_used_where_the_user_says_so(folders, import_into):
    _table(folders, 6)
    info, _ = import_into(folders / "labels.csv")
    assert sum(info.splits.values()) == 12
    assert any("68 images are not in the manifest" in note for note in info.notes)
    info, _ = import_into(folders, dataset_format="class_folders")
    assert sum(info.splits.values()) == 2 * PER_CLASS


def test_images_that_are_not_in_the_table_are_counted(folders, import_into):
    _table(folders, 30)
    info, _ = import_into(folders)
    assert sum(info.splits.values()) == 60
    assert any("20 images are not in the manifest (labels.csv)" in note for note in info.notes)


def test_test_images_without_labels_may_be_the_most(tmp_path, save_images, import_into):
    save_images(tmp_path / "train_images", 20)
    save_images(tmp_path / "test_images", 50)
    rows = [f"{index},{index % 2}" for index in range(20)]
    (tmp_path / "train.csv").write_text("\n".join(["image_id,label", *rows]))
    (tmp_path / "test.csv").write_text("\n".join(["image_id", *map(str, range(50))]))
    sample = [f"{index},0" for index in range(50)]
    (tmp_path / "sample_submission.csv").write_text("\n".join(["image_id,label", *sample]))
    info, output_dir = import_into(tmp_path)
    assert sum(info.splits.values()) == 20
    notes = " ".join(info.notes)
    assert "50 images are not in the manifest" in notes
    assert "test.csv is not used" in notes
    assert "sample_submission.csv is not used" in notes


def _log(root: Path) -> None:
    lines = [json.dumps({"time": index, "message": "ü", "label": "x"}) for index in range(9)]
    (root / "log.jsonl").write_text("\n".join(lines))


def _measured(root: Path) -> None:
    rows = [f"{kind}/{index}.png,{index % 4}" for kind in ("cat", "dog") for index in range(40)]
    (root / "sizes.csv").write_text("\n".join(["filename,size", *rows]))


# What lies beside class folders -> words of the note that says that it is not used.
STRAYS = {
    "log": (_log, "log.jsonl"),
    "Latin-1": (lambda r: (r / "notes.csv").write_bytes(b"name,not\xe9\n1,a\n"), "notes.csv"),
    "broken Parquet": (lambda r: (r / "x.parquet").write_bytes(b"PAR1 but no more"), "x.parquet"),
    "Parquet with a broken end": (
        lambda r: (r / "x.parquet").write_bytes(b"PAR1" + b"\xff" * 40 + b"\x08\0\0\0PAR1"),
        "x.parquet",
    ),
    "other Parquet": (lambda r: pq.write_table(pa.table({"a": [1]}), r / "x.parquet"), "x.parquet"),
    "empty": (lambda r: (r / "x.csv").write_bytes(b""), "x.csv"),
    "binary": (lambda r: (r / "x.csv").write_bytes(bytes(range(256))), "x.csv"),
    "errors of a server": (
        lambda r: (r / "x.csv").write_text("path,status,time\n/index.html,404,1\n/a.html,200,2\n"),
        "x.csv",
    ),
    "settings": (lambda r: (r / "x.json").write_text('{"seed": 1}'), "x.json"),
    "broken JSON": (lambda r: (r / "x.json").write_text('{"seed": '), "x.json"),
    "number": (lambda r: (r / "x.json").write_text("7"), "x.json"),
    "text in JSON lines": (lambda r: (r / "x.jsonl").write_text("hello\n"), "x.jsonl"),
    "names of classes": (lambda r: (r / "x.csv").write_text("id,label\n0,cat\n1,dog\n"), "x.csv"),
    "measurements": (_measured, "sizes.csv"),
    "features": (lambda r: np.savez(r / "x.npz", features=np.zeros((80, 4))), "x.npz"),
    "no archive": (lambda r: (r / "x.npz").write_bytes(b"no zip"), "x.npz"),
}  # fmt: skip


@pytest.mark.parametrize("name", STRAYS)
def test_what_is_no_manifest_is_told_and_ignored(name, folders, import_into):
    write, stray = STRAYS[name]
    write(folders)
    info, _ = import_into(folders)
    assert (info.source_format, info.classes) == ("class_folders", ["cat", "dog"])
    assert sum(info.splits.values()) == 2 * PER_CLASS
    assert any(note.startswith(f"{stray} is not used: ") for note in info.notes)


def test_hidden_files_are_no_tables(folders, import_into):
    _table(folders, 4, "._labels.csv")
    info, _ = import_into(folders)
    assert info.source_format == "class_folders"


@pytest.mark.parametrize("name", ["Latin-1", "broken Parquet"])
def test_a_table_that_is_all_there_is_says_why_it_is_none(name, tmp_path, import_into):
    write, stray = STRAYS[name]
    write(tmp_path)
    with pytest.raises(ValueError, match=f"{stray} is not used: "):
        import_into(tmp_path)
    with pytest.raises(ValueError, match=stray):
        import_into(tmp_path / stray)


def test_a_manifest_with_a_broken_row_is_not_ignored(folders, import_into):
    _table(folders, PER_CLASS)
    with (folders / "labels.csv").open("a") as file:
        file.write("\ncat/1.png,cat,dog")
    with pytest.raises(ValueError, match=r"labels.csv row 81.*3 cells"):
        import_into(folders)


def test_folders_beside_arrays_are_told(folders, import_into):
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 8), np.uint8)
    np.savez(folders / "set.npz", images=images, labels=np.arange(20) % 2)
    info, _ = import_into(folders)
    assert info.source_format == "npz"
    assert any("not used: cat, dog" in note for note in info.notes)
