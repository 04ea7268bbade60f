"""Every format comes out as the pixels, labels and splits that went in."""

import gzip
import json
import os
import shutil
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from kfp_vision.components.data_import import staging
from kfp_vision.components.shared.artifacts.cost import StageCost
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json
from kfp_vision.components.shared.datasets.near_duplicates import (
    NEAR_DUPLICATES_FILE,
    held_out_copies,
)
from kfp_vision.components.shared.datasets.store import iterate_images, open_split

CLASSES = ["cat", "dog", "emu"]
SPLITS = {"train": "train", "val": "validation", "test": "test"}


def _source(noise) -> dict[str, list[tuple[np.ndarray, str]]]:
    """Returns split -> (pixels, label), 6 training images and 3 of each other split a class."""
    counts = {"train": 6, "val": 3, "test": 3}
    return {
        split: [(noise(), name) for name in CLASSES for _ in range(count)]
        for split, count in counts.items()
    }


def _save_files(root: Path, source, path_of) -> list[dict[str, str]]:
    rows = []
    for split, images in source.items():
        for index, (pixels, label) in enumerate(images):
            path = path_of(split, label, index)
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(root / path)
            rows.append({"path": path, "label": label, "split": split})
    return rows


def _flat(root, source):
    return _save_files(root, source, lambda split, label, index: f"images/{split} ü {index}.png")


def _class_folders(root, source):
    _save_files(root, source, lambda split, label, index: f"{split}/{label}/deep er/{index}.png")
    return root


def _csv(root, source):
    lines = [f'"{row["path"]}",{row["label"]},{row["split"]}' for row in _flat(root, source)]
    (root / "all.csv").write_text("\n".join(["path,label,split", *lines]), encoding="utf-8-sig")
    return root


def _csv_per_split(root, source):
    rows = _flat(root, source)
    for split in source:
        lines = [f"{row['path']},{row['label']}" for row in rows if row["split"] == split]
        (root / f"{split}.csv").write_text("\n".join(["path,labels", *lines]) + "\n")
    return root


def _jsonl(root, source):
    lines = [json.dumps({**row, "labels": [row["label"]]}) for row in _flat(root, source)]
    (root / "all.jsonl").write_text("\n".join(lines))
    return root / "all.jsonl"


def _parquet(root, source):
    pq.write_table(pa.Table.from_pylist(_flat(root, source)), root / "all.parquet")
    return root / "all.parquet"


def _npz(root, source):
    root.mkdir(exist_ok=True)
    arrays = {}
    for split, images in source.items():
        arrays[f"x_{split}"] = np.stack([pixels for pixels, _ in images])
        arrays[f"y_{split}"] = np.array([label for _, label in images])
    np.savez_compressed(root / "all.npz", allow_pickle=False, **arrays)
    return root


FORMATS = [_class_folders, _csv, _csv_per_split, _jsonl, _parquet, _npz]


@pytest.mark.parametrize("write", FORMATS)
def test_pixels_labels_and_splits_survive_every_format(write, noise, tmp_path, import_into):
    source = _source(noise)
    info, output_dir = import_into(write(tmp_path / "source", source))
    assert info.classes == CLASSES
    assert info.task == "multiclass"
    assert info.splits == {"train": 18, "validation": 9, "test": 9}
    assert set(info.split_origin.values()) == {"given"}
    assert info.rejected == {}
    for name, split in SPLITS.items():
        table = open_split(output_dir, split)
        stored = {
            pixels.tobytes(): CLASSES[labels[0]]
            for pixels, labels in zip(
                iterate_images(table, range(table.num_rows)),
                table["labels"].to_pylist(),
                strict=True,
            )
        }
        assert stored == {pixels.tobytes(): label for pixels, label in source[name]}
    assert read_json(DatasetInfo, output_dir / "dataset.json") == info
    assert read_json(StageCost, output_dir / "cost.json").images_seen == 36


def test_the_fingerprint_is_of_the_content_not_of_the_format(noise, tmp_path, import_into):
    source = _source(noise)
    prints = {
        import_into(write(tmp_path / write.__name__, source))[0].fingerprint for write in FORMATS
    }
    assert len(prints) == 1
    pixels, _ = source["train"][0]
    pixels[0, 0, 0] ^= 1
    changed, _ = import_into(_npz(tmp_path / "changed", source))
    relabelled = {**source, "test": [(pixels, "cat") for pixels, _ in source["test"]]}
    other, _ = import_into(_npz(tmp_path / "relabelled", relabelled))
    assert len({*prints, changed.fingerprint, other.fingerprint}) == 3


def test_classes_of_arrays_have_the_names_beside_them(noise, tmp_path, import_into):
    images, labels = np.stack([noise() for _ in range(30)]), np.arange(30) % 3
    np.savez(tmp_path / "set.npz", images=images, labels=labels)
    (tmp_path / "classes.txt").write_text("zebra\ncat\nemu\n", encoding="utf-8")
    info, output_dir = import_into(tmp_path)
    assert info.classes == ["cat", "emu", "zebra"]
    for split in info.splits:
        table = open_split(output_dir, split)
        stored = zip(
            iterate_images(table, range(table.num_rows)), table["labels"].to_pylist(), strict=True
        )
        for pixels, [label] in stored:
            row = int(np.flatnonzero((images == pixels).all(axis=(1, 2, 3)))[0])
            assert info.classes[label] == ["zebra", "cat", "emu"][labels[row]]


@pytest.mark.parametrize("names", ["zebra\ncat", "zebra\n\nemu"])
def test_a_label_without_a_name_is_refused(names, noise, tmp_path, import_into):
    images = np.stack([noise() for _ in range(30)])
    np.savez(tmp_path / "set.npz", images=images, labels=np.arange(30) % 3)
    (tmp_path / "classes.txt").write_text(names, encoding="utf-8")
    with pytest.raises(ValueError, match="`classes.txt` must have a line for every label"):
        import_into(tmp_path)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_files_of_the_mnist_family(suffix, noise, tmp_path, import_into):
    opened = gzip.open if suffix else open
    images = {"train": np.stack([noise()[..., 0] for _ in range(20)])}
    images["t10k"] = np.stack([noise()[..., 0] for _ in range(6)])
    for prefix, pixels in images.items():
        labels = (np.arange(len(pixels)) % 2).astype(np.uint8)
        with opened(tmp_path / f"{prefix}-images-idx3-ubyte{suffix}", "wb") as file:
            file.write(struct.pack(">HBB3I", 0, 8, 3, *pixels.shape) + pixels.tobytes())
        with opened(tmp_path / f"{prefix}-labels-idx1-ubyte{suffix}", "wb") as file:
            file.write(struct.pack(">HBBI", 0, 8, 1, len(labels)) + labels.tobytes())
    info, output_dir = import_into(tmp_path)
    assert (info.source_format, info.task, info.channels) == ("idx", "binary", 1)
    assert info.splits == {"train": 18, "validation": 2, "test": 6}
    assert info.split_origin == {"train": "given", "validation": "made", "test": "given"}
    table = open_split(output_dir, "test")
    stored = np.stack(list(iterate_images(table, range(6))))
    np.testing.assert_array_equal(stored[..., 0], images["t10k"])
    assert table["labels"].to_pylist() == [[0], [1], [0], [1], [0], [1]]


def test_a_manifest_without_header_names_files_and_grades(tmp_path, save_images, import_into):
    names = save_images(tmp_path / "images", 40)
    grades = ["0.0", "0.3333333333333333", "0.6666666666666666", "1.0"]
    lines = [f"images/{name}  {grades[i % 4]}      mono" for i, name in enumerate(names)]
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    info, _ = import_into(tmp_path)
    assert (info.source_format, info.classes) == ("manifest", grades)
    assert sum(info.splits.values()) == 40


def test_several_labels_an_image_are_multilabel_and_none_is_allowed(
    tmp_path, save_images, import_into
):
    names = save_images(tmp_path / "images", 30)
    labels = ["sky|tree", "road", ""]
    lines = [f"images/{name},{labels[i % 3]}" for i, name in enumerate(names)]
    (tmp_path / "all.csv").write_text("path,labels\n" + "\n".join(lines))
    info, output_dir = import_into(tmp_path)
    assert (info.task, info.classes) == ("multilabel", ["road", "sky", "tree"])
    stored = [
        tuple(row)
        for split in info.splits
        for row in open_split(output_dir, split)["labels"].to_pylist()
    ]
    assert {row: stored.count(row) for row in set(stored)} == {(1, 2): 10, (0,): 10, (): 10}


def test_multi_hot_arrays_are_multilabel(noise, tmp_path, import_into):
    images = np.stack([noise() for _ in range(30)])
    labels = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 1]] * 10)
    np.savez(tmp_path / "all.npz", images=images, labels=labels)
    info, _ = import_into(tmp_path / "all.npz")
    assert (info.task, info.classes) == ("multilabel", ["0", "1", "2"])


def test_unlabelled_images_are_a_split_without_labels(tmp_path, save_images, import_into):
    for name in ("a", "b"):
        save_images(tmp_path / "labelled" / name, 10)
    save_images(tmp_path / "more" / "any folder", 7)
    info, output_dir = import_into(tmp_path / "labelled", unlabeled_uri=str(tmp_path / "more"))
    assert info.splits["unlabeled"] == 7
    assert open_split(output_dir, "unlabeled")["labels"].to_pylist() == [[]] * 7
    assert info.task == "binary"


def test_images_of_many_sizes_keep_them(noise, tmp_path, import_into):
    sizes = {(height, width) for height in (5, 40, 300) for width in (7, 33, 200)}
    for label in ("a", "b"):
        (tmp_path / "source" / label).mkdir(parents=True)
        for height, width in sizes:
            image = Image.fromarray(noise(height, width))
            image.save(tmp_path / "source" / label / f"{height} {width}.png")
    info, output_dir = import_into(tmp_path / "source")
    shapes = [
        (row["height"], row["width"])
        for split in info.splits
        for row in open_split(output_dir, split).select(["height", "width"]).to_pylist()
    ]
    assert sorted(shapes) == sorted([*sizes, *sizes])


def _save_twelve_bits(root: Path, noise, ceiling: int) -> None:
    for label, part in (("dark", 8), ("bright", 1)):
        (root / label).mkdir(parents=True)
        for index in range(10):
            pixels = noise()[..., 0].astype(np.uint16) * 16 // part
            pixels[0, 0] = ceiling // part
            Image.fromarray(pixels).save(root / label / f"{index}.png")


def test_twelve_bits_of_sixteen_are_scaled_alike_in_all_images(noise, tmp_path, import_into):
    _save_twelve_bits(tmp_path / "set", noise, 4095)
    info, output_dir = import_into(tmp_path / "set")
    assert info.white_level == 4095
    assert any("scaled by 255/4095" in note for note in info.notes)
    assert not any("nearly black" in note for note in info.notes)
    brightest: dict[str, set[int]] = {"dark": set(), "bright": set()}
    for split in info.splits:
        table = open_split(output_dir, split)
        for pixels, [label] in zip(
            iterate_images(table, range(table.num_rows)), table["labels"].to_pylist(), strict=True
        ):
            brightest[info.classes[label]].add(int(pixels.max()))
    assert brightest == {"dark": {32}, "bright": {255}}


def test_twelve_bits_of_arrays_are_scaled_too(noise, tmp_path, import_into):
    images = np.stack([noise() for _ in range(30)]).astype(np.uint16) * 16
    np.savez(tmp_path / "set.npz", images=images, labels=np.arange(30) % 2)
    info, output_dir = import_into(tmp_path / "set.npz")
    assert info.white_level == 4095
    table = open_split(output_dir, "train")
    brightest = max(int(pixels.max()) for pixels in iterate_images(table, range(table.num_rows)))
    assert brightest == round(int(images.max()) * 255 / 4095)


def test_one_bright_image_keeps_the_full_range_and_the_others_are_named(
    noise, tmp_path, import_into
):
    _save_twelve_bits(tmp_path / "set", noise, 4095)
    Image.fromarray(np.full((9, 9), 65535, np.uint16)).save(tmp_path / "set/bright/white.png")
    info, _ = import_into(tmp_path / "set")
    assert info.white_level == 65535
    assert [note for note in info.notes if note.startswith("20 images use less than a sixteenth")]


def test_too_few_images_for_splits_name_what_was_left_out_only_where_something_was(
    tmp_path, save_images, import_into
):
    for name in ("a", "b"):
        save_images(tmp_path / "source" / name, 1)
    with pytest.raises(ValueError, match=r"none left for test and validation\. Add images"):
        import_into(tmp_path / "source")
    (tmp_path / "source/a/broken.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"validation; left out: [a-z ]+ \(1\)\. Add images"):
        import_into(tmp_path / "source")


def test_classes_without_an_image_that_can_be_read_are_named(tmp_path, save_images, import_into):
    for name in ("a", "b"):
        save_images(tmp_path / "source" / name, 12)
    for name in ("emu", "fox"):
        (tmp_path / "source" / name).mkdir()
        (tmp_path / "source" / name / "broken.png").write_bytes(b"no image")
    info, _ = import_into(tmp_path / "source")
    (note,) = (each for each in info.notes if each.startswith("Classes without an image"))
    assert note == (
        "Classes without an image that could be read: 2 (emu, fox); "
        "files left out in all: not an image (2)."
    )


def test_the_same_seed_makes_the_same_splits(tmp_path, save_images, import_into):
    for name in ("a", "b"):
        save_images(tmp_path / "source" / name, 30)
    prints = [import_into(tmp_path / "source", seed=seed)[0].fingerprint for seed in (0, 0, 1)]
    assert prints[0] == prints[1] != prints[2]


def test_near_duplicates_are_found_once_in_the_order_of_the_dataset(tmp_path, import_into):
    random = np.random.default_rng(3)
    for index in range(60):
        folder = tmp_path / "source" / "ab"[index % 2]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(20, 220, (8, 8), np.uint8).repeat(2, 0).repeat(2, 1)
        Image.fromarray(pixels).save(folder / f"{index}.png")
        if index % 5 == 0:
            Image.fromarray(pixels + 10).save(folder / f"{index}-brighter.png")
    info, output_dir = import_into(tmp_path / "source")
    groups = np.load(output_dir / NEAR_DUPLICATES_FILE)
    tables = [open_split(output_dir, split) for split in info.splits]
    paths = [path for table in tables for path in table["path"].to_pylist()]
    for row, path in enumerate(paths):
        same = np.flatnonzero(groups == groups[row])
        assert groups[row] == same[0]
        name = path.removesuffix(".png").removesuffix("-brighter")
        both = {f"{name}.png", f"{name}-brighter.png"} & set(paths)
        assert {paths[each] for each in same} == both


def test_copies_of_a_flat_image_stay_in_one_split(tmp_path, save_images, import_into):
    root = tmp_path / "set"
    for name in CLASSES:
        save_images(root / name, 20)
        for index in range(6):
            Image.new("RGB", (12, 10)).save(root / name / f"black {index}.png")
    info, dataset_dir = import_into(str(root))
    tables = {split: open_split(dataset_dir, split) for split in info.splits}
    digests = {split: set(table["sha256"].to_pylist()) for split, table in tables.items()}
    assert not digests["train"] & (digests["test"] | digests["validation"])
    assert not digests["test"] & digests["validation"]


def test_large_arrays_are_imported_in_constant_memory(tmp_path, import_into, monkeypatch):
    monkeypatch.setattr(staging, "_CHUNK_BYTES", 2**20)
    rows = np.random.default_rng(0).integers(0, 256, (64, 1024), np.uint8)
    images = np.broadcast_to(rows[:, None], (64, 1024, 1024))
    np.savez(tmp_path / "large.npz", images=images, labels=np.arange(64) % 2)
    tracemalloc.start()
    try:
        info, _ = import_into(tmp_path / "large.npz")
        held = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sum(info.splits.values()) == 64
    # Of 64 MiB: two images a thread that wait, and some copies of those in work.
    assert held < 2**20 * (16 + 12 * (os.cpu_count() or 1))


def test_images_without_labels_change_nothing_about_those_with_labels(tmp_path, import_into):
    generator = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / "labelled" / name).mkdir(parents=True)
        for index in range(10):
            # Of a camera of twelve bits.
            pixels = generator.integers(0, 4096, (12, 12), np.uint16)
            Image.fromarray(pixels).save(tmp_path / "labelled" / name / f"{index}.png")
    (tmp_path / "more").mkdir()
    Image.fromarray(generator.integers(0, 65536, (12, 12), np.uint16)).save(tmp_path / "more/1.png")
    colours = generator.integers(0, 256, (12, 12, 3), np.uint8)
    Image.fromarray(colours).save(tmp_path / "more/2.png")
    plain, plain_dir = import_into(tmp_path / "labelled")
    info, output_dir = import_into(tmp_path / "labelled", unlabeled_uri=str(tmp_path / "more"))
    assert info.splits["unlabeled"] == 2
    assert (info.channels, info.white_level) == (plain.channels, plain.white_level)
    assert info.channels == 1
    for split in ("train", "validation", "test"):
        held = (open_split(each, split)["sha256"].to_pylist() for each in (plain_dir, output_dir))
        assert np.array_equal(*held)


def test_images_without_labels_that_are_held_out_are_named_before_anything_is_trained(
    tmp_path, save_images, import_into
):
    for split, count in (("train", 10), ("test", 4)):
        for name in ("a", "b"):
            save_images(tmp_path / "labelled" / split / name, count)
    save_images(tmp_path / "more", 5)
    info, _ = import_into(tmp_path / "labelled", unlabeled_uri=str(tmp_path / "more"))
    assert not [note for note in info.notes if "near duplicates of validation or test" in note]
    assert info.unlabeled_uri == str(tmp_path / "more")
    shutil.copytree(tmp_path / "labelled" / "test" / "a", tmp_path / "more" / "leak")
    info, _ = import_into(tmp_path / "labelled", unlabeled_uri=str(tmp_path / "more"))
    assert (
        "4 of 9 images without labels are near duplicates of validation or test images: no stage "
        "learns them."
    ) in info.notes


def test_a_folder_without_images_for_those_without_labels_is_named_at_once(
    tmp_path, save_images, import_into, capsys
):
    for name in ("a", "b"):
        save_images(tmp_path / "labelled" / name, 10)
    (tmp_path / "more").mkdir()
    info, _ = import_into(tmp_path / "labelled", unlabeled_uri=str(tmp_path / "more"))
    assert info.splits.get("unlabeled", 0) == 0
    # Such a line is shown beside the progress of a run.
    lines = capsys.readouterr().out.splitlines()
    assert "note `unlabeled_uri` holds no image that can be used: none is learned." in lines


def _save_splits(folder: Path, picture: Callable[[], Image.Image]) -> list[Image.Image]:
    """Returns the validation and test images of a set that it writes."""
    held_out = []
    for split, count in (("train", 8), ("val", 4), ("test", 4)):
        for label in ("a", "b"):
            (folder / split / label).mkdir(parents=True)
            for index in range(count):
                image = picture()
                image.save(folder / split / label / f"{index}.png")
                held_out += [image] if split != "train" else []
    return held_out


def test_copies_of_held_out_images_are_known_among_those_without_labels(
    tmp_path, noise, import_into
):
    def photograph() -> Image.Image:
        return Image.fromarray(noise(4, 4)).resize((96, 64), Image.Resampling.BICUBIC)

    held_out = _save_splits(tmp_path / "set", photograph)
    (tmp_path / "more").mkdir()
    for index, image in enumerate(held_out):
        # Another size, other bytes, a name that says nothing.
        small = image.resize((72, 48), Image.Resampling.BICUBIC)
        small.save(tmp_path / "more" / f"{index}.jpg", quality=85)
    for index in range(10):
        photograph().save(tmp_path / "more" / f"new {index}.png")
    info, output_dir = import_into(tmp_path / "set", unlabeled_uri=str(tmp_path / "more"))
    groups = np.load(output_dir / NEAR_DUPLICATES_FILE)
    is_copy = held_out_copies(groups, info.splits, np.zeros(0, int))
    names = open_split(output_dir, "unlabeled")["path"].to_pylist()
    assert {Path(name).name: bool(copy) for name, copy in zip(names, is_copy, strict=True)} == {
        **{f"{index}.jpg": True for index in range(16)},
        **{f"new {index}.png": False for index in range(10)},
    }


def test_flat_copies_of_held_out_images_are_known_too(tmp_path, import_into):
    random = np.random.default_rng(5)

    def texture() -> Image.Image:
        # Fabric: its 8 x 8 thumbnail is even, though its pixels are not.
        return Image.fromarray(random.normal(128, 20, (224, 224)).clip(0, 255).astype(np.uint8))

    (tmp_path / "more").mkdir()
    for index, image in enumerate(_save_splits(tmp_path / "set", texture)):
        image.save(tmp_path / "more" / f"{index}.png")
    for index in range(10):
        texture().save(tmp_path / "more" / f"new {index}.png")
    info, output_dir = import_into(tmp_path / "set", unlabeled_uri=str(tmp_path / "more"))
    groups = np.load(output_dir / NEAR_DUPLICATES_FILE)
    is_copy = held_out_copies(groups, info.splits, np.zeros(0, int))
    names = open_split(output_dir, "unlabeled")["path"].to_pylist()
    is_new = [Path(name).name.startswith("new") for name in names]
    assert is_new.count(True) == 10
    assert is_copy.tolist() == [not new for new in is_new]
