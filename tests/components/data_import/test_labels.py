"""One rule for every format: only None, "" and NaN are no label; float integers are integers."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kfp_vision.components.data_import.classes import class_names, label_text

NAN = float("nan")
REPEATS = 8


def _csv(root: Path, paths: Sequence[str], labels: Sequence[Any], column: str) -> None:
    cells = ["" if label is None else str(label) for label in labels]
    lines = [f"{path},{cell}" for path, cell in zip(paths, cells, strict=True)]
    (root / "all.csv").write_text("\n".join([f"path,{column}", *lines]))


def _json_lines(root: Path, paths: Sequence[str], labels: Sequence[Any], column: str) -> None:
    rows = [{"path": path, column: label} for path, label in zip(paths, labels, strict=True)]
    (root / "all.jsonl").write_text("\n".join(map(json.dumps, rows)))


def _parquet(root: Path, paths: Sequence[str], labels: Sequence[Any], column: str) -> None:
    table = pa.table({"path": paths, column: pa.array(labels)})
    pq.write_table(table, root / "all.parquet")


def _npz(root: Path, paths: Sequence[str], labels: Sequence[Any], column: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (len(paths), 8, 8), np.uint8)
    np.savez(root / "all.npz", images=noise, labels=np.array(labels))


# Labels, the classes that they make, and code -> images of one repetition that are left out.
COLUMNS: dict[str, tuple[list[Any], list[str], dict[str, int]]] = {
    "integers": ([0, 1, 2], ["0", "1", "2"], {}),
    "float integers": ([0.0, 1.0, 2.0], ["0", "1", "2"], {}),
    "floats with NaN": ([0.0, 1.0, NAN], ["0", "1"], {"no_label": 1}),
    "grades": ([0.0, 0.5, 1.0], ["0.0", "0.5", "1.0"], {}),
    "words": (["cat", "0", "dog"], ["0", "cat", "dog"], {}),
    "words with an empty one": (["cat", "", "dog"], ["cat", "dog"], {"no_label": 1}),
    "words with blanks": (["cat", "  ", " dog"], ["cat", "dog"], {"no_label": 1}),
    "-1 among integers": ([-1, 0, 1], ["0", "1"], {"negative_label": 1}),
    "-1 among float integers": ([-1.0, 0.0, 1.0], ["0", "1"], {"negative_label": 1}),
    "-1 and 1": ([-1, 1], ["-1", "1"], {}),
    "ratings": ([-2, -1, 0, 1, 2], ["-2", "-1", "0", "1", "2"], {}),
    "words with nan": (["cat", "nan", "dog"], ["cat", "dog"], {"no_label": 1}),
    "codes": (["007", "008"], ["007", "008"], {}),
}
WITH_NONE: dict[str, tuple[list[Any], list[str], dict[str, int]]] = {
    "integers with None": ([0, 1, None], ["0", "1"], {"no_label": 1}),
    "words with None": (["cat", None, "dog"], ["cat", "dog"], {"no_label": 1}),
}
CASES = [
    (write, column, name)
    for write, columns in (
        (_csv, ["label", "labels", "class"]),
        (_json_lines, ["label", "labels"]),
        (_parquet, ["label", "labels"]),
        (_npz, ["label"]),
    )
    for column in columns
    for name in (COLUMNS if write is _npz else {**COLUMNS, **WITH_NONE})
]


@pytest.mark.parametrize(("write", "column", "name"), CASES)
def test_no_label_is_the_same_in_every_format(
    write, column, name, tmp_path, save_images, import_into
):
    values, classes, left_out = {**COLUMNS, **WITH_NONE}[name]
    labels = values * REPEATS
    root = tmp_path / "source"
    paths = [f"images/{file}" for file in save_images(root / "images", len(labels))]
    write(root, paths, labels, column)
    info, _ = import_into(root)
    assert info.classes == classes
    assert info.task == ("binary" if len(classes) == 2 else "multiclass")
    assert info.rejected == {code: REPEATS * count for code, count in left_out.items()}
    assert sum(info.splits.values()) == REPEATS * (len(values) - sum(left_out.values()))


# Lists, the classes, the task and what is left out.
LISTS: dict[str, tuple[list[Any], list[str], str, int]] = {
    "class 0": ([[0], [1], [0, 1]], ["0", "1"], "multilabel", 0),
    "single ones": ([[0], [1], [0]], ["0", "1"], "binary", 0),
    "None in a list": ([["cat", None], ["dog"], ["cat", "dog"]], ["cat", "dog"], "multilabel", 0),
    "nothing but None": ([[None], ["dog"], ["cat"]], ["cat", "dog"], "binary", 1),
    "no list at all": ([None, ["dog"], ["cat"]], ["cat", "dog"], "binary", 1),
    "of no class": ([[], ["dog"], ["cat"]], ["cat", "dog"], "multilabel", 0),
    "floats": ([[0.0], [1.0, NAN], [2.0]], ["0", "1", "2"], "multiclass", 0),
    "None beside several": ([None, [0, 1], [1]], ["0", "1"], "multilabel", 1),
    "nothing but None beside several": ([[None], [0, 1], [1]], ["0", "1"], "multilabel", 1),
    "of no class beside several": ([[], [0, 1], [1]], ["0", "1"], "multilabel", 0),
}


@pytest.mark.parametrize("write", [_json_lines, _parquet])
@pytest.mark.parametrize("name", LISTS)
def test_lists_of_labels(write, name, tmp_path, save_images, import_into):
    lists, classes, task, left_out = LISTS[name]
    labels = lists * REPEATS
    paths = [f"images/{file}" for file in save_images(tmp_path / "set/images", len(labels))]
    write(tmp_path / "set", paths, labels, "labels")
    info, _ = import_into(tmp_path / "set")
    assert (info.classes, info.task) == (classes, task)
    assert info.rejected == ({"no_label": REPEATS * left_out} if left_out else {})


def test_one_table_decides_for_the_other_what_a_number_means(tmp_path, save_images, import_into):
    paths = [f"images/{file}" for file in save_images(tmp_path / "set/images", 30)]
    # One missing label made pandas write floats into one of the tables only.
    for name, chosen, write in (("train", paths[:20], "{:.1f}"), ("test", paths[20:], "{}")):
        lines = [f"{path},{write.format(index % 2)}" for index, path in enumerate(chosen)]
        (tmp_path / "set" / f"{name}.csv").write_text("\n".join(["path,label", *lines]))
    info, _ = import_into(tmp_path / "set")
    assert info.classes == ["0", "1"]
    assert info.splits["test"] == 10


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((None, ""), (NAN, ""), ("", ""), (" ", "")),
        *((0, "0"), (False, "False"), (b"cat", "cat"), (b"caf\xe9", "caf\\xe9")),
    ],
)
def test_only_none_nan_and_nothing_are_no_label(value, text):
    assert label_text(value) == text


@pytest.mark.parametrize("labels", [["nan", "rye"], ["NaN", "1"], ["Nan", "rye"]])
def test_nan_is_no_label_as_text_either(labels):
    assert class_names(labels) == {label: label for label in labels if label not in ("nan", "NaN")}


ONE_HOT = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 1, 1]]


@pytest.mark.parametrize("write", [_json_lines, _parquet, _csv])
@pytest.mark.parametrize("labels", [ONE_HOT, [[float(x) for x in each] for each in ONE_HOT]])
def test_lists_of_flags_are_no_lists_of_the_classes_0_and_1(
    write, labels, tmp_path, save_images, import_into
):
    paths = [f"images/{file}" for file in save_images(tmp_path / "set/images", 4 * REPEATS)]
    cells = labels * REPEATS
    write(tmp_path / "set", paths, [f'"{x}"' for x in cells] if write == _csv else cells, "label")
    with pytest.raises(ValueError, match=r"lists of 3 times 0 or 1.*one column of 0 and 1"):
        import_into(tmp_path / "set")


@pytest.mark.parametrize("write", [_csv, _json_lines, _parquet, _npz])
def test_classes_that_look_alike(write, tmp_path, save_images, import_into):
    def run(name: str, labels: list[str]) -> list[str]:
        files = save_images(tmp_path / name / "images", REPEATS * len(labels))
        paths = [f"images/{file}" for file in files]
        write(tmp_path / name, paths, labels * REPEATS, "label")
        return import_into(tmp_path / name)[0].notes

    assert any("'Cat', 'cat'" in note for note in run("case", ["Cat", "cat", "dog"]))
    assert any("'NA', 'null' are classes" in note for note in run("words", ["NA", "null", "dog"]))
    with pytest.raises(ValueError, match="Unicode form"):
        run("unicode", ["B\u00e4r", "Ba\u0308r", "dog"])


def test_images_of_no_class_in_arrays_are_told(tmp_path, import_into):
    images = np.random.default_rng(0).integers(0, 256, (30, 8, 8), np.uint8)
    labels = np.eye(3, dtype=np.uint8)[np.arange(30) % 3]
    labels[4] = 0
    np.savez(tmp_path / "set.npz", images=images, labels=labels)
    info, _ = import_into(tmp_path)
    assert info.task == "multilabel"
    assert any(note.startswith("1 images are listed as images of no class") for note in info.notes)


def test_arrays_that_are_not_used_are_named(tmp_path, import_into):
    images = np.random.default_rng(0).integers(0, 256, (30, 8, 8), np.uint8)
    parts = {"x_train": images, "y_train": np.arange(30) % 2, "x_holdout": images[:9]}
    parts["class_names"] = np.array(["cat", "dog"])
    np.savez(tmp_path / "set.npz", allow_pickle=False, **parts)
    info, _ = import_into(tmp_path)
    assert any("not used: class_names, x_holdout." in note for note in info.notes)


def test_soft_labels_are_refused(tmp_path, import_into):
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 8), np.uint8)
    soft = np.full((20, 2), 0.1) + 0.8 * np.eye(2)[np.arange(20) % 2]
    np.savez(tmp_path / "set.npz", images=images, labels=soft)
    with pytest.raises(ValueError, match="must be 0 or 1, one column a class"):
        import_into(tmp_path)
