"""Parquet with the images in it, as Hugging Face writes and shards it."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kfp_vision.components.shared.datasets.decoding import decode_file
from kfp_vision.components.shared.datasets.store import iterate_images, open_split

CLASS_LABEL = {"names": ["zebra", "ant"], "_type": "ClassLabel"}
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def _write(
    path: Path,
    files: Sequence[bytes | None],
    labels: Sequence[object],
    label_feature: object = CLASS_LABEL,
    column: str = "label",
    **more: Sequence[object],
) -> None:
    """Writes a table as `datasets.Dataset.to_parquet` does, features in the metadata."""
    features = {"image": {"_type": "Image"}, column: label_feature}
    cells = [{"bytes": file, "path": f"{index}.png"} for index, file in enumerate(files)]
    columns = {"image": pa.array(cells, IMAGE), column: pa.array(labels)}
    table = pa.table({**columns, **{name: pa.array(cell) for name, cell in more.items()}})
    info = json.dumps({"info": {"features": features}})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.replace_schema_metadata({"huggingface": info}), path, row_group_size=10)


@pytest.fixture
def files(tmp_path, save_images):
    folder = tmp_path / "files"
    return [(folder / name).read_bytes() for name in save_images(folder, 40)]


def _stored(info, output_dir: Path, split: str) -> dict[bytes, str]:
    table = open_split(output_dir, split)
    pixels = iterate_images(table, range(table.num_rows))
    return {
        image.tobytes(): info.classes[label]
        for image, [label] in zip(pixels, table["labels"].to_pylist(), strict=True)
    }


@pytest.mark.parametrize("below", ["", "data"])
def test_shards_of_splits_with_class_names(below, files, tmp_path, import_into):
    root = tmp_path / "set"
    for shard, rows in enumerate([slice(0, 15), slice(15, 30)]):
        labels = [index % 2 for index in range(rows.start, rows.stop)]
        _write(root / below / f"train-{shard:05d}-of-00002.parquet", files[rows], labels)
    labels = [index % 2 for index in range(10)]
    _write(root / below / "test-00000-of-00001-0a1b2c.parquet", files[30:], labels)
    (root / "README.md").write_text("---\nlicense: mit\n---")
    info, output_dir = import_into(root)
    assert (info.source_format, info.classes) == ("manifest", ["ant", "zebra"])
    assert info.splits["train"] + info.splits["validation"] == 30
    assert info.rejected == {}
    expected = {
        decode_file(file).pixels.tobytes(): ["zebra", "ant"][index % 2]
        for index, file in enumerate(files[30:])
    }
    assert _stored(info, output_dir, "test") == expected


@pytest.mark.parametrize(
    "names",
    [
        ["train/0000.parquet", "train/0001.parquet", "test/0000.parquet"],
        ["split=train/part-0.parquet", "split=train/part-1.parquet", "split=test/part-0.parquet"],
        ["train/a.parquet", "test/b.parquet"],
    ],
)
def test_tables_in_split_folders(names, files, tmp_path, import_into):
    for number, name in enumerate(names):
        rows = slice(10 * number, 10 * number + 10)
        _write(tmp_path / "set" / name, files[rows], [index % 2 for index in range(10)])
    info, _ = import_into(tmp_path / "set")
    assert (info.source_format, info.splits["test"]) == ("manifest", 10)
    assert sum(info.splits.values()) == 10 * len(names)
    assert info.rejected == {}


FEATURES: dict[str, tuple[list[Any], Any, str, list[str], str]] = {
    "names": ([0, 1], CLASS_LABEL, "label", ["ant", "zebra"], "binary"),
    "another column": ([0, 1], CLASS_LABEL, "animal", ["ant", "zebra"], "binary"),
    "no features": ([0, 1], None, "label", ["0", "1"], "binary"),
    "text": (["a", "b"], {"dtype": "string", "_type": "Value"}, "label", ["a", "b"], "binary"),
    "lists": ([[0], [0, 1]], [CLASS_LABEL], "labels", ["ant", "zebra"], "multilabel"),
    "Sequence": (
        [[0], [0, 1]],
        {"feature": CLASS_LABEL, "_type": "Sequence"},
        "labels",
        ["ant", "zebra"],
        "multilabel",
    ),
}


@pytest.mark.parametrize("name", FEATURES)
def test_features_name_the_classes(name, files, tmp_path, import_into):
    labels, feature, column, classes, task = FEATURES[name]
    _write(tmp_path / "set/all.parquet", files, labels * 20, feature, column)
    info, _ = import_into(tmp_path / "set/all.parquet")
    assert (info.classes, info.task) == (classes, task)
    assert sum(info.splits.values()) == 40


def test_a_number_between_two_named_classes_is_none_of_them(files, tmp_path, import_into):
    _write(tmp_path / "set/all.parquet", files, [0.0, 1.7] * 20)
    with pytest.raises(ValueError, match=r"one of the 2 classes .* all\.parquet row 2: 1\.7"):
        import_into(tmp_path / "set/all.parquet")


def test_what_cannot_be_used_is_counted(files, tmp_path, import_into):
    labels: list[int | None] = [index % 2 for index in range(40)]
    # Hugging Face's label of an image that has none; null; broken files; an image left as a path.
    labels[0], labels[1] = -1, None
    broken = [*files[:3], b"no image", b"", *files[5:]]
    _write(tmp_path / "set/train.parquet", broken, labels)
    info, _ = import_into(tmp_path / "set")
    assert info.rejected == {"no_label": 2, "not_an_image": 1, "empty_file": 1}
    assert sum(info.splits.values()) == 36


def test_an_image_may_be_a_path_beside_the_table(files, tmp_path, import_into):
    root = tmp_path / "set"
    _write(root / "all.parquet", [None] * 40, [index % 2 for index in range(40)])
    for index, file in enumerate(files):
        (root / f"{index}.png").write_bytes(file)
    info, _ = import_into(root)
    assert sum(info.splits.values()) == 40
    assert not any("not used" in note for note in info.notes)
    (root / "other.png").write_bytes(files[0])
    info, _ = import_into(root)
    assert any(note.startswith("1 images are not in the manifest") for note in info.notes)


def test_a_second_column_of_images_is_told(files, tmp_path, import_into):
    masks = [{"bytes": file, "path": ""} for file in files]
    _write(tmp_path / "set/all.parquet", files, [index % 2 for index in range(40)], mask=masks)
    info, _ = import_into(tmp_path / "set")
    assert any(note.endswith("columns not used: mask.") for note in info.notes)


def test_a_plain_column_of_bytes_holds_images(files, tmp_path, import_into):
    labels = [("cat", "dog")[index % 2] for index in range(40)]
    (tmp_path / "set").mkdir()
    pq.write_table(pa.table({"jpg": files, "class": labels}), tmp_path / "set/all.parquet")
    info, _ = import_into(tmp_path / "set")
    assert info.classes == ["cat", "dog"]


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "a shard is missing": ("train-00000-of-00002.parquet", {}, "train-00001-of-00002"),
    "number without a name": ("all.parquet", {"labels": [0, 7] * 20}, "row 2.*7"),
    "no label": ("all.parquet", {"column": "caption", "label_feature": None}, "'caption'"),
    "two kinds of classes": (
        "all.parquet",
        {"column": "fine_label", "coarse_label": [0, 1, 2, 3] * 10, "label_feature": None},
        "ename the (one|column)",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name, files, tmp_path, import_into):
    table, more, words = REFUSED[name]
    labels = [str(index) if name == "no label" else index % 2 for index in range(40)]
    _write(tmp_path / "set" / table, files, **{"labels": labels, **more})
    with pytest.raises(ValueError, match=words):
        import_into(tmp_path / "set")


STREAM = """
import sys
import pyarrow as pa
from pathlib import Path
from kfp_vision.components.data_import.readers.parquet import open_parquet
from kfp_vision.components.shared.runtime.storage import open_folder
folder, name = open_folder(sys.argv[1])
table = open_parquet(folder, name)
count = sum(len(content) for content, _ in table.images("image"))
print(count, pa.default_memory_pool().max_memory())
"""


def test_memory_does_not_grow_with_the_file(tmp_path):
    random = np.random.default_rng(0)
    cells = [{"bytes": random.bytes(2**18), "path": None} for _ in range(256)]
    table = pa.table({"image": pa.array(cells, IMAGE), "label": [0, 1] * 128})
    pq.write_table(table, tmp_path / "all.parquet", row_group_size=16)
    command = [sys.executable, "-c", STREAM, str(tmp_path / "all.parquet")]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    total, peak = map(int, run.stdout.split())
    assert total == 64 * 2**20
    assert peak < total / 4
