"""Datasets in buckets, over HTTP to servers on this machine that speak the real protocols."""

import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kfp_vision.components.data_import.source_version import dataset_version
from kfp_vision.components.shared.runtime.identity import listing_digest
from kfp_vision.components.shared.runtime.storage import StorageError, download, open_folder, upload
from kfp_vision.components.shared.runtime.storage.buckets import RETRIES, open_bucket


def test_class_folders_import_alike_from_a_bucket(bucket, tmp_path, save_images, import_into):
    for folder in ("train/a cat", "train/dög", "test/a cat", "test/dög"):
        save_images(tmp_path / "source" / folder, 6)
    upload(tmp_path / "source", f"{bucket}/deep/data")
    local, _ = import_into(tmp_path / "source")
    remote, _ = import_into(f"{bucket}/deep/data/")
    assert remote.fingerprint == local.fingerprint
    assert remote.splits == local.splits


def test_names_of_any_kind_are_read_from_a_bucket(bucket, tmp_path, save_images, import_into):
    for folder in ("50% [x]", "#2"):
        save_images(tmp_path / "source" / folder, 6)
    for name in ("a [1]*.png", "%20.png", "#.png", "a:b.png", ".DS_Store", "Thumbs.db"):
        shutil.copy(tmp_path / "source/#2/0.png", tmp_path / "source/#2" / name)
    upload(tmp_path / "source", f"{bucket}/data")
    local, _ = import_into(tmp_path / "source")
    remote, _ = import_into(f"{bucket}/data")
    assert remote.fingerprint == local.fingerprint
    assert remote.rejected == local.rejected == {"hidden": 2}


def test_an_empty_folder_of_a_bucket_is_an_empty_class(
    s3, seaweedfs, tmp_path, save_images, import_into
):
    for folder in ("cat", "dog"):
        save_images(tmp_path / "source" / folder, 6)
    upload(tmp_path / "source", f"{s3}/data")
    prefix = s3.removeprefix("s3://bucket/")
    seaweedfs.client().put_object(Bucket="bucket", Key=f"{prefix}/data/emu/", Body=b"")
    info, _ = import_into(f"{s3}/data")
    assert info.rejected == {"empty_class": 1}


def test_a_manifest_and_its_lost_rows_in_a_bucket(bucket, tmp_path, save_images, import_into):
    names = save_images(tmp_path / "source" / "images", 20)
    rows = [f"images/{name},{index % 2}" for index, name in enumerate(names)]
    rows += ["images/gone.png,1", "../other/0.png,1"]
    (tmp_path / "source" / "all.csv").write_text("path,label\n" + "\n".join(rows))
    upload(tmp_path / "source", f"{bucket}/data")
    info, _ = import_into(f"{bucket}/data/all.csv")
    assert info.rejected == {"missing_file": 1, "outside_root": 1}
    assert sum(info.splits.values()) == 20


@pytest.mark.parametrize("where", ["disk", "s3"])
def test_empty_parts_of_a_path_lead_nowhere(where, tmp_path, save_images, import_into, request):
    names = save_images(tmp_path / "up" / "images", 20)
    rows = [f"images//{name},{index % 2}" for index, name in enumerate(names)]
    (tmp_path / "up" / "all.csv").write_text("\n".join(["path,label", *rows, "images//gone.png,1"]))
    root = str(tmp_path / "root") if where == "disk" else request.getfixturevalue(where)
    upload(tmp_path / "up", root)
    before = dataset_version(root, "auto", follow_links=False)
    info, _ = import_into(root)
    assert info.rejected == {"missing_file": 1}
    assert any("20 of 21 paths in all.csv are read like 'images//" in note for note in info.notes)
    upload(tmp_path / "up/images" / names[1], f"{root}/images/{names[0]}")
    assert dataset_version(root, "auto", follow_links=False) != before


def test_tables_strays_and_images_without_rows_in_a_bucket(
    bucket, tmp_path, save_images, import_into
):
    root = tmp_path / "source"
    save_images(root / "train_images", 40)
    rows = [f"{index},{index % 2}" for index in range(30)]
    (root / "train.csv").write_text("\n".join(["id,class", *rows]))
    (root / "x.parquet").write_bytes(b"PAR1" + b"\xff" * 40 + b"\x08\0\0\0PAR1")
    (root / "notes.csv").write_bytes(b"name,not\xe9\n1,a\n")
    upload(root, f"{bucket}/data")
    info, _ = import_into(f"{bucket}/data")
    assert sum(info.splits.values()) == 30
    notes = " ".join(info.notes)
    assert "10 images are not in the manifest" in notes
    assert "x.parquet is not used" in notes
    assert "notes.csv is not used" in notes
    assert "30 of 30 paths in train.csv exist below train_images/ with .png" in notes
    with pytest.raises(ValueError, match=r"x\.parquet"):
        import_into(f"{bucket}/data/x.parquet")


def test_absolute_uris_and_embedded_images_in_a_bucket(bucket, tmp_path, save_images, import_into):
    root = tmp_path / "source"
    names = save_images(root / "images", 20)
    rows = [f"{bucket}/paths/images/{name},{i % 2}" for i, name in enumerate(names)]
    (root / "all.csv").write_text("\n".join(["path,label", *rows]))
    upload(root, f"{bucket}/paths")
    files = [(root / "images" / name).read_bytes() for name in names]
    table = pa.table({"image": files, "label": [index % 2 for index in range(20)]})
    (tmp_path / "shards/data").mkdir(parents=True)
    pq.write_table(table, tmp_path / "shards/data/train-00000-of-00001.parquet")
    upload(tmp_path / "shards", f"{bucket}/shards")
    by_path, _ = import_into(f"{bucket}/paths")
    embedded, _ = import_into(f"{bucket}/shards")
    assert by_path.fingerprint == embedded.fingerprint
    assert (by_path.rejected, embedded.rejected) == ({}, {})


def test_what_is_uploaded_comes_back(bucket, tmp_path):
    (tmp_path / "up/deep").mkdir(parents=True)
    (tmp_path / "up/a.txt").write_text("a")
    (tmp_path / "up/deep/ü b.txt").write_text("b")
    upload(tmp_path / "up", f"{bucket}/tree")
    download(f"{bucket}/tree", tmp_path / "down")
    assert (tmp_path / "down/a.txt").read_text() == "a"
    assert (tmp_path / "down/deep/ü b.txt").read_text() == "b"
    download(f"{bucket}/tree/a.txt", tmp_path / "one.txt")
    assert (tmp_path / "one.txt").read_text() == "a"


@pytest.mark.parametrize("changed", ["a.txt", "deep/ü b.txt", "later/new.txt"])
def test_a_changed_object_of_the_same_size_is_another_version(bucket, tmp_path, changed):
    names = ["a.txt", "deep/ü b.txt", "later/new.txt"]
    for name in names[:2]:
        (tmp_path / "up" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "up" / name).write_text("a")
    upload(tmp_path / "up", f"{bucket}/tree")

    def digest():
        folder, _ = open_folder(f"{bucket}/tree")
        return listing_digest(folder, names)

    before = digest()
    assert digest() == before
    (tmp_path / "b.txt").write_text("b")
    upload(tmp_path / "b.txt", f"{bucket}/tree/{changed}")
    assert digest() != before


def test_a_bucket_that_is_not_there(bucket):
    with pytest.raises(StorageError, match=r"Cannot reach '.*absent.*Check the bucket's name"):
        open_folder(bucket.replace("bucket", "absent") + "/data")


@pytest.mark.parametrize(
    ("bucket", "variable"),
    [("s3", "AWS_ENDPOINT_URL"), ("gs", "STORAGE_EMULATOR_HOST")],
    indirect=["bucket"],
)
def test_a_server_that_is_not_there(bucket, variable, monkeypatch, free_port):
    monkeypatch.setenv(variable, f"http://127.0.0.1:{free_port()}")
    monkeypatch.setitem(RETRIES, "max_retries", 2)
    open_bucket.cache_clear()
    with pytest.raises(StorageError, match=r"Cannot reach .*Check the bucket's name"):
        open_folder(bucket)
