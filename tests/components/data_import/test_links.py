"""Links are never lost: a linked class stops the import, and `follow_links` reads it."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from kfp_vision.components.shared.runtime.storage.file_trees import walk_folder


@pytest.fixture
def source(tmp_path: Path, save_images) -> Path:
    """Returns two class folders of 10 images, and `elsewhere` with 12 beside them."""
    for name in ("cat", "dog"):
        save_images(tmp_path / "source" / name)
    save_images(tmp_path / "elsewhere", 12)
    return tmp_path / "source"


def _link_class(source: Path) -> None:
    (source / "emu").symlink_to(source.parent / "elsewhere")


def _link_test(source: Path) -> None:
    (source / "train").mkdir()
    for name in ("cat", "dog"):
        (source / name).rename(source / "train" / name)
    (source.parent / "held out").mkdir()
    (source.parent / "elsewhere").rename(source.parent / "held out/cat")
    (source / "test").symlink_to(source.parent / "held out")


def _link_all(source: Path) -> None:
    for name in ("cat", "dog"):
        (source / name).rename(source.parent / name)
        (source / name).symlink_to(source.parent / name)


def _link_inside(source: Path) -> None:
    (source / "cat/kittens").mkdir()
    (source / "cat/0.png").rename(source / "cat/kittens/0.png")
    (source / "kitten").symlink_to(source / "cat/kittens")


# Structure -> words of the error, and images that are read when links are followed.
STOPPED = {
    "a class": (_link_class, r"'emu' -> .*elsewhere with 12 images", 32),
    "a split": (_link_test, r"'test' -> .*held out with 12 images", 32),
    "all classes": (_link_all, r"'cat' -> .*cat with 10 images; 'dog'", 20),
    "a class within": (_link_inside, r"'kitten' -> .*kittens with 1 images", 21),
}


@pytest.mark.parametrize("name", STOPPED)
def test_a_linked_class_or_split_stops_the_import(name, source, import_into):
    make, words, images = STOPPED[name]
    make(source)
    with pytest.raises(ValueError, match=f"{words}.*follow_links"):
        import_into(source)
    info, _ = import_into(source, follow_links=True)
    assert sum(info.splits.values()) == images
    assert info.rejected == {}


@pytest.mark.parametrize("follow_links", [False, True])
def test_a_class_linked_to_nothing_stops_the_import(follow_links, source, import_into):
    (source / "emu").symlink_to(source.parent / "unmounted")
    with pytest.raises(ValueError, match="'emu' -> .*unmounted, where no image is"):
        import_into(source, follow_links=follow_links)


def test_a_followed_split_is_the_split(source, import_into):
    _link_test(source)
    info, _ = import_into(source, follow_links=True)
    assert info.splits["test"] == 12
    assert info.split_origin["test"] == "given"


def _link_files(source: Path, names: list[str]) -> None:
    """Moves files into a cache elsewhere, as DVC does, and leaves links."""
    cache = source.parent / "cache"
    cache.mkdir(exist_ok=True)
    for index, name in enumerate(names):
        (source / name).rename(cache / f"{index:032x}")
        (source / name).symlink_to(cache / f"{index:032x}")


def test_few_linked_files_are_left_out_by_name(source, import_into):
    names = ["cat/0.png", "dog/1.png"]
    _link_files(source, names)
    info, output_dir = import_into(source)
    assert info.rejected == {"outside_root": 2}
    rows = pq.read_table(output_dir / "rejected.parquet").to_pylist()
    assert [row["path"] for row in rows] == names
    assert all("follow-links" in row["message"] for row in rows)
    followed, _ = import_into(source, follow_links=True)
    assert followed.rejected == {}
    assert sum(followed.splits.values()) == 20


def test_most_files_linked_stop_the_import(source, import_into):
    _link_files(source, [f"{name}/{index}.png" for name in ("cat", "dog") for index in range(6)])
    with pytest.raises(ValueError, match=r"12 outside of it, 8 in it.*cat/0\.png.*follow_links"):
        import_into(source)
    followed, _ = import_into(source, follow_links=True)
    assert sum(followed.splits.values()) == 20


@pytest.mark.parametrize(("follow_links", "images"), [(False, 20), (True, 20 + 12)])
def test_a_linked_folder_in_a_class_is_named_with_its_images(
    follow_links, images, source, import_into
):
    (source / "cat/more").symlink_to(source.parent / "elsewhere")
    info, _ = import_into(source, follow_links=follow_links)
    assert sum(info.splits.values()) == images
    named = [note for note in info.notes if "'cat/more' is a link" in note and "12 images" in note]
    assert bool(named) != follow_links


def test_a_linked_folder_with_most_images_stops_the_import(source, save_images, import_into):
    save_images(source.parent / "elsewhere", 30)
    (source / "cat/more").symlink_to(source.parent / "elsewhere")
    with pytest.raises(ValueError, match="30 outside of it, 20 in it"):
        import_into(source)


def test_most_rows_of_a_manifest_outside_stop_the_import(source, import_into):
    names = [f"{name}/{index}.png" for name in ("cat", "dog") for index in range(10)]
    _link_files(source, names[:9] + names[10:18])
    lines = [f"{name},{name.split('/')[0]}" for name in names]
    (source / "all.csv").write_text("\n".join(["path,label", *lines]))
    with pytest.raises(ValueError, match="17 outside of it, 3 in it.*follow_links"):
        import_into(source)
    followed, _ = import_into(source, follow_links=True)
    assert sum(followed.splits.values()) == 20


def test_a_row_through_a_link_to_itself_is_left_out(source, import_into):
    (source / "cat/self").symlink_to("self")
    lines = [f"{name}/{index}.png,{name}" for name in ("cat", "dog") for index in range(10)]
    (source / "all.csv").write_text("\n".join(["path,label", *lines, "cat/self/x.png,cat"]))
    assert import_into(source)[0].rejected == {"missing_file": 1}


def test_links_to_nothing_are_named(source, import_into):
    (source / "cat/x.png").symlink_to("../.git/annex/objects/x.png")
    for follow_links in (False, True):
        info, output_dir = import_into(source, follow_links=follow_links)
        assert info.rejected == {"missing_file": 1}
        [row] = pq.read_table(output_dir / "rejected.parquet").to_pylist()
        assert "leads to nothing" in row["message"]


def _cycle_to_root(source: Path) -> None:
    (source / "cat/loop").symlink_to(source)


def _cycle_above(source: Path) -> None:
    (source / "cat/up").symlink_to(source.parent)


def _cycle_of_two(source: Path) -> None:
    (source / "cat/dog").symlink_to(source / "dog")
    (source / "dog/cat").symlink_to(source / "cat")


def _cycle_to_itself(source: Path) -> None:
    (source / "cat/self.png").symlink_to(source / "cat/self.png")


@pytest.mark.parametrize(
    "make",
    [_cycle_to_root, _cycle_above, _cycle_of_two, _cycle_to_itself],
    ids=lambda f: f.__name__,
)
def test_cycles_end(make, source, import_into):
    make(source)
    info, _ = import_into(source, follow_links=True)
    assert info.classes == ["cat", "dog"]
    # Of the images above the source, `elsewhere` is read once, the source itself never again.
    assert 20 <= sum(info.splits.values()) <= 20 + 20 + 12
    assert sum(info.rejected.values()) >= 1
    assert not any("follow-links" in note for note in info.notes)


def test_unlabelled_images_may_be_linked(source, import_into):
    (source.parent / "more").mkdir()
    (source.parent / "more/linked").symlink_to(source.parent / "elsewhere")
    more = str(source.parent / "more")
    with pytest.raises(ValueError, match="12 outside of it, 0 in it.*'linked' of `unlabeled_uri`"):
        import_into(source, unlabeled_uri=more)
    info, _ = import_into(source, unlabeled_uri=more, follow_links=True)
    assert info.splits["unlabeled"] == 12


def test_the_source_itself_may_be_a_link(source, import_into):
    (source.parent / "latest").symlink_to(source)
    info, _ = import_into(source.parent / "latest")
    assert sum(info.splits.values()) == 20


def test_a_tree_knows_what_lies_in_it(tmp_path):
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/1").touch()
    (tmp_path / "a/2").symlink_to("1")
    (tmp_path / "c").symlink_to("a")
    tree = walk_folder(str(tmp_path), follow_links=False)
    assert (tree.files, tree.links) == (["a/1", "a/2"], ["a/2"])
    assert (tree.folders, tree.linked_folders) == (["a", "a/b"], ["c"])
    followed = walk_folder(str(tmp_path), follow_links=True)
    assert followed.files == ["a/1", "a/2", "c/1", "c/2"]
    assert followed.folders == ["a", "a/b", "c", "c/b"]
