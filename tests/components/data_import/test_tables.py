"""Tables as people write them: each is read as it is meant, or refused with what would help."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from kfp_vision.components.shared.datasets.store import open_split

COUNT = 24


def _rows(root: Path, noise, path_of: Callable[[int], str]) -> list[tuple[str, str]]:
    """Writes images and returns (path, label): every second one is a cat."""
    rows = []
    for index in range(COUNT):
        path = root / path_of(index)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise()).save(path)
        rows.append((path_of(index), ("cat", "dog")[index % 2]))
    return rows


def _flat(index: int) -> str:
    return f"images/{index}.png"


def _in_train(index: int) -> str:
    return f"train/{index}.png"


def _lines(header: str, row: Callable[[str, str], str], name: str = "all.csv", path_of=_flat):
    """Returns a function that writes a table of `header` and a line for each image."""

    def write(root: Path, noise) -> None:
        lines = [row(path, label) for path, label in _rows(root, noise, path_of)]
        (root / name).write_text("\n".join([header, *lines] if header else lines))

    return write


def _encoded(encoding: str, line_end: str):
    def write(root: Path, noise) -> None:
        lines = ["path,label", *map(",".join, _rows(root, noise, _flat))]
        (root / "all.csv").write_bytes(line_end.join(lines).encode(encoding))

    return write


def _json(make: Callable[[list[tuple[str, str]]], object], name: str = "all.json"):
    def write(root: Path, noise) -> None:
        (root / name).write_text(json.dumps(make(_rows(root, noise, _flat))))

    return write


def _absolute(root: Path, noise) -> None:
    lines = [f"{root.absolute()}/{path},{label}" for path, label in _rows(root, noise, _flat)]
    (root / "all.csv").write_text("\n".join(["path,label", *lines]))


def _long_cell(root: Path, noise) -> None:
    lines = [f"{path},{label},{'x' * 140_000}" for path, label in _rows(root, noise, _flat)]
    (root / "all.csv").write_text("\n".join(["path,label,comment", *lines]))


def _beside_test_images(root: Path, noise) -> None:
    for index in range(COUNT + 6):
        (root / "test_images").mkdir(exist_ok=True, parents=True)
        Image.fromarray(noise()).save(root / f"test_images/{index}.png")
    rows = _rows(root, noise, lambda index: f"train_images/{index}.png")
    lines = [f"{Path(path).stem},{label}" for path, label in rows]
    (root / "train.csv").write_text("\n".join(["image_id,label", *lines]))


def _image_folder(root: Path, noise) -> None:
    rows = _rows(root, noise, lambda index: f"{'train' if index < 18 else 'test'}/{index}.png")
    for split in ("train", "test"):
        lines = [f"{Path(p).name},{label}" for p, label in rows if p.startswith(split)]
        (root / split / "metadata.csv").write_text("\n".join(["file_name,label", *lines]))


def _in_train_beside_test(root: Path, noise) -> None:
    rows = _rows(root, noise, _in_train)
    lines = [f"{_name(path)},{label}" for path, label in rows]
    (root / "train/labels.csv").write_text("\n".join(["image,label", *lines]))
    (root / "test").mkdir()
    Image.fromarray(noise()).save(root / "test/unlabelled.png")


def _same_names(root: Path, noise) -> None:
    """Writes cat/0.png, dog/0.png, cat/1.png, ... and a table of 0.png, 0.png, 1.png, ..."""
    rows = _rows(root, noise, lambda index: f"{('cat', 'dog')[index % 2]}/{index // 2}.png")
    lines = [f"{_name(path)},{label}" for path, label in rows]
    (root / "all.csv").write_text("\n".join(["filename,class", *lines]))


def _split_folders(root: Path, noise) -> None:
    rows = _rows(root, noise, lambda i: f"{'train' if i < 18 else 'test'}/{i}.png")
    lines = [f"{Path(p).name},{label},{p.split('/')[0]}" for p, label in rows]
    (root / "all.csv").write_text("\n".join(["filename,class,subset", *lines]))


def _packed(root: Path, noise) -> None:
    lines = ["path,label", *map(",".join, _rows(root, noise, _flat))]
    (root / "labels.csv.gz").write_bytes(gzip.compress("\n".join(lines).encode()))


def _spread(index: int) -> str:
    """Chest X-rays of the NIH: names in the table, files in images_001/images and so on."""
    return f"images_{index // 8:03d}/images/{index}.png"


def _name(path: str) -> str:
    return Path(path).name


ONE_HOT = {"cat": "1,0", "dog": "0,1"}

READ = {
    "tab": _lines("path\tlabel", lambda p, c: f"{p}\t{c}"),
    "semicolon": _lines("path;label", lambda p, c: f"{p};{c}"),
    "semicolon, commas in cells": _lines("path;label;note", lambda p, c: f"{p};{c};a, b"),
    "bar": _lines("path|label", lambda p, c: f"{p}|{c}"),
    "Path,Label": _lines("Path,Label", lambda p, c: f"{p},{c}"),
    "spaces": _lines(" path , label ", lambda p, c: f" {p} , {c} "),
    "file_name": _lines("file_name,label", lambda p, c: f"{p},{c}"),
    "filename,class": _lines("filename,class", lambda p, c: f"{p},{c}"),
    "image,category": _lines("image,category", lambda p, c: f"{p},{c}"),
    "unknown names": _lines("foto,soort", lambda p, c: f"{p},{c}"),
    "index of pandas": _lines(",path,label", lambda p, c: f"7,{p},{c}"),
    "extra column": _lines("id,filepaths,labels", lambda p, c: f"{c},{p},{c}"),
    "tsv": _lines("path\tlabel", lambda p, c: f"{p}\t{c}", "all.tsv"),
    "one-hot": _lines("image,cat,dog", lambda p, c: f"{p},{ONE_HOT[c]}"),
    "one-hot floats": _lines(
        "image,cat,dog", lambda p, c: f"{p},{float(c == 'cat')},{float(c == 'dog')}"
    ),
    "one-hot beside is_train": _lines(
        "image,cat,dog,is_train", lambda p, c: f"{p},{ONE_HOT[c]},{len(p) % 2}"
    ),
    "backslashes": _lines("path,label", lambda p, c: f"{p},{c}".replace("/", "\\")),
    "dot and backslash": _lines("path,label", lambda p, c: f".\\{p},{c}".replace("/", "\\")),
    "ids": _lines("id,label", lambda p, c: f"{p.removesuffix('.png')},{c}"),
    "ids below a folder": _lines(
        "image_id,label", lambda p, c: f"{Path(p).stem},{c}", "train.csv", _in_train
    ),
    "absolute": _absolute,
    "absolute elsewhere": _lines("path,label", lambda p, c: f"/kaggle/input/set/{p},{c}"),
    "from the folder above": _lines("path,label", lambda p, c: f"my_data/{p},{c}"),
    "drive": _lines("path,label", lambda p, c: f"C:\\sets\\{p},{c}".replace("/", "\\")),
    "other case": _lines("path,label", lambda p, c: f"{p.upper()},{c}"),
    "other suffix": _lines("path,label", lambda p, c: f"{p[:-4]}.tif,{c}"),
    "below train": _lines("path,label", lambda p, c: f"{_name(p)},{c}", "train.csv", _in_train),
    "below the class": _lines(
        "filename,class",
        lambda p, c: f"{_name(p)},{c}",
        path_of=lambda index: f"photos/{('cat', 'dog')[index % 2]}/{index}.png",
    ),
    "below the split": _split_folders,
    "no header": _lines("", lambda p, c: f"{p},{c}"),
    "no header, tab": _lines("", lambda p, c: f"{p}\t{c}"),
    "no header, label first": _lines("", lambda p, c: f"{c},{p}"),
    "no header, below a folder": _lines("", lambda p, c: f"{_name(p)} {c}"),
    "gzip": _packed,
    "spread over folders": _lines(
        "Image Index,Finding Labels", lambda p, c: f"{_name(p)},{c}", path_of=_spread
    ),
    "ids spread over folders": _lines(
        "image_id,dx", lambda p, c: f"{Path(p).stem},{c}", path_of=_spread
    ),
    "split of nan": _lines("path,label,split", lambda p, c: f"{p},{c},nan"),
    "quotes": _lines("path,label", lambda p, c: f'"{p}","{c}"'),
    "old Mac": _encoded("utf-8", "\r"),
    "Windows": _encoded("utf-8-sig", "\r\n"),
    "UTF-16 of Excel": _encoded("utf-16", "\r\n"),
    "UTF-16 without a mark": _encoded("utf-16-le", "\n"),
    "UTF-16, big-endian, without a mark": _encoded("utf-16-be", "\n"),
    "cell of 140 kB": _long_cell,
    "json": _json(lambda rows: [{"path": p, "label": c} for p, c in rows]),
    "json, file_name": _json(lambda rows: [{"file_name": p, "class": c} for p, c in rows]),
    "json object": _json(dict),
    "json lists": _json(lambda rows: rows),
    "json lines in json": _lines("", lambda p, c: json.dumps({"path": p, "label": c}), "all.json"),
    "json lines, list": _lines("", lambda p, c: json.dumps({"path": p, "label": [c]}), "all.jsonl"),
    "json lines, rows": _lines("", lambda p, c: json.dumps([p, c]), "all.jsonl"),
    "train_images beside test_images": _beside_test_images,
    "Hugging Face image folder": _image_folder,
    "in train, beside test": _in_train_beside_test,
}


@pytest.mark.parametrize("name", READ)
def test_tables_are_read_as_they_are_meant(name, tmp_path, noise, import_into):
    root = tmp_path / "my_data"
    root.mkdir()
    READ[name](root, noise)
    info, output_dir = import_into(root)
    assert (info.source_format, info.task, info.classes) == ("manifest", "binary", ["cat", "dog"])
    assert info.rejected == {}
    counts = [0, 0]
    for split in info.splits:
        table = open_split(output_dir, split)
        for path, [label] in zip(
            table["path"].to_pylist(), table["labels"].to_pylist(), strict=True
        ):
            assert int(Path(path).stem) % 2 == label
            counts[label] += 1
    assert counts == [COUNT // 2, COUNT // 2]


def _also(path: str, separator: str) -> str:
    """Returns a second label for some images."""
    return f"{separator}emu" if "1" in path else ""


MULTILABEL = {
    "bars in label": _lines("path,label", lambda p, c: f"{p},{c}|{'cat' if '1' in p else 'emu'}"),
    "commas in labels": _lines("path,labels", lambda p, c: f'{p},"{c}{_also(p, ", ")}"'),
    "semicolons in tags": _lines("path,tags", lambda p, c: f"{p},{c}{_also(p, ';')}"),
    "lists of pandas": _lines("path,labels", lambda p, c: f"""{p},"['{c}', 'emu']" """),
    "lists in JSON lines": _lines(
        "", lambda p, c: json.dumps({"path": p, "labels": [c, "emu"]}), "a.jsonl"
    ),
    "lists in label": _lines(
        "", lambda p, c: json.dumps({"path": p, "label": [c, "emu"]}), "a.jsonl"
    ),
    "several columns": _lines("image,cat,dog,emu", lambda p, c: f"{p},{ONE_HOT[c]},1"),
}


@pytest.mark.parametrize("name", MULTILABEL)
def test_several_labels_of_one_image(name, tmp_path, noise, import_into):
    MULTILABEL[name](tmp_path, noise)
    info, _ = import_into(tmp_path)
    assert (info.task, info.classes) == ("multilabel", ["cat", "dog", "emu"])
    assert info.rejected == {}


def test_the_third_column_without_header_may_be_the_split(tmp_path, noise, import_into):
    splits = ["train"] * 16 + ["test"] * 8
    rows = zip(_rows(tmp_path, noise, _flat), splits, strict=True)
    (tmp_path / "all.csv").write_text("\n".join(f"{p},{c},{s}" for (p, c), s in rows))
    info, _ = import_into(tmp_path)
    assert info.classes == ["cat", "dog"]
    assert info.splits == {"train": 14, "validation": 2, "test": 8}
    assert info.split_origin["test"] == "given"


@pytest.mark.parametrize(
    ("column", "cells", "splits"),
    [
        # As fastai, and as CUB-200 write it.
        ("is_valid", ("False", "True"), {"train": 14, "validation": 8, "test": 2}),
        ("is_training_image", (1, 0), {"train": 14, "validation": 2, "test": 8}),
        ("is_test", (0.0, 1.0), {"train": 14, "validation": 2, "test": 8}),
    ],
)
def test_a_column_of_yes_and_no_may_be_the_split(
    column, cells, splits, tmp_path, noise, import_into
):
    lines = [
        f"{path},{label},{cells[index >= 16]}"
        for index, (path, label) in enumerate(_rows(tmp_path, noise, _flat))
    ]
    (tmp_path / "all.csv").write_text("\n".join([f"path,label,{column}", *lines]))
    info, _ = import_into(tmp_path)
    assert info.splits == splits
    assert any(f"in column {column!r} true is " in note for note in info.notes)


def test_folds_are_told_not_to_be_splits(tmp_path, noise, import_into):
    _lines("path,label,fold", lambda p, c: f"{p},{c},{len(p)}")(tmp_path, noise)
    info, _ = import_into(tmp_path)
    assert set(info.split_origin.values()) == {"made"}
    assert any("'fold' with ['12', '13'] does not name splits" in note for note in info.notes)


def test_splits_in_the_paths_are_kept(tmp_path, noise, import_into):
    rows = _rows(tmp_path, noise, lambda i: f"{'train' if i < 16 else 'test'}/{i}.png")
    (tmp_path / "all.csv").write_text("\n".join(["path,label", *map(",".join, rows)]))
    info, _ = import_into(tmp_path)
    assert info.splits["test"] == 8
    assert any("splits from the folders" in note for note in info.notes)


@pytest.mark.parametrize("gone", ["gone.png", "./gone.png", "train/gone.png", ""])
def test_splits_in_the_paths_are_kept_where_a_file_is_missing(gone, tmp_path, noise, import_into):
    rows = _rows(tmp_path, noise, lambda i: f"{'train' if i < 16 else 'test'}/{i}.png")
    (tmp_path / "all.csv").write_text(
        "\n".join(["path,label", *map(",".join, rows), f"{gone},cat"])
    )
    info, output_dir = import_into(tmp_path)
    assert sum(info.rejected.values()) == 1
    assert info.split_origin["test"] == "given"
    tested = open_split(output_dir, "test")["path"].to_pylist()
    assert sorted(tested) == sorted(path for path, _ in rows[16:])


def test_a_split_in_the_paths_without_a_file_is_told(tmp_path, noise, import_into):
    rows = _rows(tmp_path, noise, lambda i: f"train/{i}.png")
    rows += [(f"test/{index}.png", "cat") for index in range(3)]
    (tmp_path / "all.csv").write_text("\n".join(["path,label", *map(",".join, rows)]))
    info, _ = import_into(tmp_path)
    assert info.rejected == {"missing_file": 3}
    assert any("No image of the split test could be used" in note for note in info.notes)


def test_images_outside_of_the_splits_in_the_paths_are_told(tmp_path, noise, import_into):
    folders = ["train"] * 16 + ["test"] * 7 + ["more"]
    rows = _rows(tmp_path, noise, lambda i: f"{folders[i]}/{i}.png")
    (tmp_path / "all.csv").write_text("\n".join(["path,label", *map(",".join, rows)]))
    info, _ = import_into(tmp_path)
    assert set(info.split_origin.values()) == {"made"}
    words = (
        "all.csv: the folders of the paths, test, train, are not taken as splits: 1 of 24 images "
        "are in none of them, 'more/23.png' for instance."
    )
    assert words in info.notes


def _unquoted(root: Path, noise) -> None:
    lines = [f"{p},{c}, common" if "3" in p else f"{p},{c}" for p, c in _rows(root, noise, _flat)]
    (root / "all.csv").write_text("\n".join(["path,label", *lines]))


def _two_folders(root: Path, noise) -> None:
    rows = _rows(root, noise, lambda index: f"a/{index}.png")
    _rows(root, noise, lambda index: f"b/{index}.png")
    lines = [f"{_name(p)},{c}" for p, c in rows]
    (root / "all.csv").write_text("\n".join(["path,label", *lines]))


def _latin_1(root: Path, noise) -> None:
    rows = [(p, c.replace("cat", "café")) for p, c in _rows(root, noise, _flat)]
    text = "\n".join(["path,label", *map(",".join, rows)])
    (root / "all.csv").write_bytes(text.encode("latin-1"))


def _kaggle_without_label(root: Path, noise) -> None:
    _beside_test_images(root, noise)
    lines = [f"{index},{index / 7},{index * 3}" for index in range(COUNT)]
    (root / "train.csv").write_text("\n".join(["image_id,height,width", *lines]))


def _tags(number: int) -> list[str]:
    return [word for bit, word in enumerate(("big", "red", "wet")) if number >> bit & 1]


# What is written -> all of the words that the error must say.
REFUSED = {
    "unquoted comma": (_unquoted, ["all.csv row 4", "3 cells", "'path', 'label'", "double quotes"]),
    "nowhere": (
        _lines("path,label", lambda p, c: f"x{p.replace('/', '-')},{c}"),
        ["all.csv", "row 1", "'path', 'label'", "ximages-0.png", "images/0.png"],
    ),
    "in two folders": (
        _two_folders,
        ["all.csv row 1", "24 of 24 exist below a/", "24 of 24 exist below b/"],
    ),
    "Latin-1": (_latin_1, ["all.csv", "line 2", "UTF-8"]),
    "several columns of classes": (
        _lines("path,coarse,fine", lambda p, c: f"{p},{c},{c}"),
        ["all.csv", "'coarse', 'fine'", "Rename the column of classes to `label`"],
    ),
    "no labels": (
        _kaggle_without_label,
        ["train.csv", "'image_id', 'height', 'width'", "Rename the column of classes to `label`"],
    ),
    "unclear commas": (
        _lines("path,labels", lambda p, c: f'{p},"{c}, {c[::-1]}"'),
        ["'cat, tac'", "all.csv", "Join several labels by `|`"],
    ),
    "unclear spaces": (
        _lines("path,tags", lambda p, c: f"{p},{' '.join([c, *_tags(int(Path(p).stem))])}"),
        ["all.csv", "Join several labels by `|`"],
    ),
    "two separators": (
        _lines("path,label", lambda p, c: f"{p};{c}"),
        ["all.csv", "'path', 'label'", "'images/0.png;cat' in row 1", "same separator"],
    ),
    "open quote": (
        _lines("path,label", lambda p, c: f'{p},"{c}'),
        ["all.csv", "line 2", "quote"],
    ),
    "same name twice": (
        _lines("path,label,label", lambda p, c: f"{p},{c},{c}"),
        ["all.csv", "two columns 'label'"],
    ),
    "object as label": (
        _lines("", lambda p, c: json.dumps({"path": p, "label": {"name": c}}), "all.jsonl"),
        ["all.jsonl row 1", "text or a number"],
    ),
    "broken line": (
        _lines(
            "", lambda p, c: json.dumps({"path": p, "label": c})[: 9 if "5" in p else 99], "a.jsonl"
        ),
        ["a.jsonl row 6"],
    ),
    "columns of JSON": (
        _json(lambda rows: {"path": [p for p, _ in rows], "label": [c for _, c in rows]}),
        ["all.json", "['path', 'label']", "records"],
    ),
    "flags beside another column": (
        _lines("image,cat,dog,age", lambda p, c: f"{p},{ONE_HOT[c]},{len(p)}"),
        ["all.csv", "as ['age'] are"],
    ),
    "flag that is none": (
        _lines("path,cat,dog", lambda p, c: f"{p},{int(c == 'cat')},{2 * int(c == 'dog')}"),
        ["all.csv", "'cat', 'dog'", "0 and 1"],
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_tables_are_refused_with_what_would_help(name, tmp_path, noise, import_into):
    write, words = REFUSED[name]
    write(tmp_path, noise)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the words are checked below.
        import_into(tmp_path)
    for word in words:
        assert word in str(caught.value)


def test_one_name_in_each_class_folder_is_told_by_the_label(tmp_path, noise, import_into):
    _same_names(tmp_path, noise)
    info, output_dir = import_into(tmp_path)
    assert info.rejected == {}
    assert sum(info.splits.values()) == COUNT
    for split in info.splits:
        table = open_split(output_dir, split)
        for path, [label] in zip(
            table["path"].to_pylist(), table["labels"].to_pylist(), strict=True
        ):
            assert path.partition("/")[0] == info.classes[label]


def test_a_folder_that_is_a_link_is_named(tmp_path, noise, import_into):
    _rows(tmp_path / "cache", noise, _flat)
    root = tmp_path / "set"
    root.mkdir()
    (root / "images").symlink_to(tmp_path / "cache/images")
    lines = [f"{_flat(index)},{index % 2}" for index in range(COUNT)]
    (root / "all.csv").write_text("\n".join(["path,label", *lines]))
    with pytest.raises(ValueError, match=r"leads out of the data root.*--follow-links"):
        import_into(root)
    info, _ = import_into(root, follow_links=True)
    assert sum(info.splits.values()) == COUNT


def test_a_damaged_gzip_file_is_named(tmp_path, noise, import_into):
    _packed(tmp_path, noise)
    path = tmp_path / "labels.csv.gz"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(ValueError, match=r"labels\.csv\.gz, which is damaged"):
        import_into(tmp_path)


def test_a_split_without_labels_is_told(tmp_path, noise, import_into):
    lines = [
        f"{path},{-1 if index >= 16 else index % 3},{'test' if index >= 16 else 'train'}"
        for index, (path, _) in enumerate(_rows(tmp_path, noise, _flat))
    ]
    (tmp_path / "all.csv").write_text("\n".join(["path,label,split", *lines]))
    info, _ = import_into(tmp_path)
    assert info.rejected == {"negative_label": 8}
    assert info.split_origin["test"] == "made"
    assert any("No image of the split test could be used" in note for note in info.notes)


@pytest.mark.parametrize("text", ["path,label\n", "path,label"])
def test_a_header_alone_is_no_table(text, tmp_path, noise, import_into):
    _rows(tmp_path, noise, _flat)
    (tmp_path / "all.csv").write_text(text)
    with pytest.raises(ValueError, match=r"all\.csv is not used: A table must have rows"):
        import_into(tmp_path)


def test_what_was_understood_is_told(tmp_path, noise, import_into):
    root = tmp_path / "set"
    _lines("foto,soort", lambda p, c: f"{Path(p).stem},{c}", path_of=_in_train)(root, noise)
    info, _ = import_into(root)
    notes = " ".join(info.notes)
    assert "images from column 'foto', labels from column 'soort'" in notes
    assert "24 of 24 paths in all.csv exist below train/ with .png" in notes


@pytest.mark.parametrize("name", ["train-00001-of-00002.csv", "test.csv"])
def test_a_shard_or_the_training_split_is_missing(name, tmp_path, noise, import_into):
    _lines("path,label", lambda p, c: f"{p},{c}", name)(tmp_path, noise)
    with pytest.raises(ValueError, match=r"All shards|must be training images"):
        import_into(tmp_path)


def test_a_table_that_is_named_may_be_called_anything(tmp_path, noise, import_into):
    _lines("path,label", lambda p, c: f"{p},{c}", "test.csv")(tmp_path, noise)
    (tmp_path / "train.csv").write_text("path,label\nimages/0.png,cat\n")
    info, _ = import_into(tmp_path / "test.csv")
    assert sum(info.splits.values()) == COUNT
    assert any("train.csv beside test.csv is not used" in note for note in info.notes)


def test_a_link_in_a_path_is_followed_inside_the_root(tmp_path, noise, import_into):
    _lines("path,label", lambda p, c: f"{p.replace('images', 'link')},{c}")(tmp_path, noise)
    (tmp_path / "link").symlink_to(tmp_path / "images")
    info, _ = import_into(tmp_path)
    assert sum(info.splits.values()) == COUNT


def test_no_path_leads_out_of_the_root(tmp_path, noise, import_into):
    _rows(tmp_path / "secret", noise, _flat)
    (tmp_path / "set").mkdir()
    lines = [f"../secret/{_flat(index)},{index % 2}" for index in range(COUNT)]
    (tmp_path / "set/all.csv").write_text("\n".join(["path,label", *lines]))
    with pytest.raises(ValueError, match="none of the 24 paths"):
        import_into(tmp_path / "set")


def test_a_parquet_table_of_paths_reads_only_its_columns(tmp_path, noise, import_into):
    rows = _rows(tmp_path, noise, _flat)
    table = pa.table({
        "file_name": [path for path, _ in rows],
        "label": [label for _, label in rows],
        "embedding": [[0.5] * 8] * COUNT,
    })  # fmt: skip
    pq.write_table(table, tmp_path / "all.parquet")
    info, _ = import_into(tmp_path)
    assert info.classes == ["cat", "dog"]
    assert any("columns not used: embedding" in note for note in info.notes)
