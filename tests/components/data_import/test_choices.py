"""What no image can make right is refused when the source is listed, not after the import."""

from pathlib import Path

import annotated_sets as sets
import pytest

from kfp_vision.components.data_import.importer import ImportConfig, import_dataset
from kfp_vision.components.data_import.source_version import list_source_files
from kfp_vision.components.shared.recipe.document import Recipe, Setting, write_recipe


def _folders(root: Path, *names: str) -> None:
    for name in names:
        (root / name).mkdir(parents=True)
        (root / name / "0.png").write_bytes(b"not decoded here")


def _films(root: Path) -> None:
    _folders(root, "cat", "dog")
    (root / "films").mkdir()
    (root / "films/a.mp4").write_bytes(b"not decoded here")


def _table(root: Path, *labels: str) -> None:
    rows = [f"{number}.png,{label}" for number, label in enumerate(labels)]
    for number in range(len(labels)):
        root.mkdir(exist_ok=True)
        (root / f"{number}.png").write_bytes(b"not decoded here")
    (root / "labels.csv").write_text("\n".join(["path,labels", *rows]))


def _list(root: Path, task: str, positive_class: str, metric: str = "") -> None:
    recipe = root.parent / "recipe.json"
    if metric:
        setting = Setting(metric, "by hand", source="user")
        write_recipe(Recipe({"data": {"primary_metric": setting}}), recipe)
    list_source_files(
        str(root), "auto", "", False, str(recipe) if metric else "", "resnet20", "", 0, task,
        positive_class,
    )  # fmt: skip


SOURCES = {
    "two folders": lambda root: _folders(root, "cat", "dog"),
    "three folders": lambda root: _folders(root, "cat", "dog", "emu"),
    "a folder without images": _films,
    "a table": lambda root: _table(root, "cat", "dog", "emu", "cat"),
    "a table of several": lambda root: _table(root, "cat|dog", "dog", "emu", "cat"),
    "boxes": sets.write_coco,
}


@pytest.mark.parametrize(
    ("source", "task", "positive_class", "metric", "words"),
    [
        ("two folders", "multiclass", "", "", "`task` must fit the labels"),
        ("two folders", "detection", "", "", "`task` must fit the labels"),
        ("three folders", "binary", "", "", "the 3 classes .* make it 'multiclass'"),
        ("a table", "binary", "", "", "make it 'multiclass'"),
        ("a table of several", "multiclass", "", "", "make it 'multilabel'"),
        ("boxes", "binary", "", "", "what the annotations are for"),
        ("two folders", "auto", "Cat", "", r"one of the classes \['cat', 'dog'\]. Received: 'Cat'"),
        ("a folder without images", "auto", "Cat", "", "must be one of the classes"),
        ("three folders", "auto", "cat", "", "must not be set for a multiclass task"),
        ("a table of several", "auto", "cat", "", "must not be set for a multilabel task"),
        ("boxes", "auto", "cat", "", "must not be set for a detection task"),
        ("two folders", "auto", "", "map", r"primary_metric.*binary task. Received: 'map'"),
        ("two folders", "multilabel", "", "auroc", "multilabel task. Received: 'auroc'"),
        ("boxes", "auto", "", "auroc", "detection task. Received: 'auroc'"),
    ],
)
def test_a_wrong_choice_is_refused_by_the_listing(
    source, task, positive_class, metric, words, tmp_path
):
    SOURCES[source](tmp_path / "set")
    with pytest.raises(ValueError, match=words):
        _list(tmp_path / "set", task, positive_class, metric)


@pytest.mark.parametrize(
    ("source", "task", "positive_class", "metric"),
    [
        ("two folders", "binary", "dog", "auroc"),
        ("two folders", "multilabel", "", "micro_f1"),
        # Of these classes one may be lost.
        ("a folder without images", "binary", "cat", "auroc"),
        ("a folder without images", "multiclass", "", "auroc"),
        ("three folders", "multiclass", "", "accuracy"),
        ("a table of several", "multilabel", "", "macro_f1"),
        ("boxes", "detection", "", "map50"),
    ],
)
def test_what_may_be_right_goes_on(source, task, positive_class, metric, tmp_path):
    SOURCES[source](tmp_path / "set")
    _list(tmp_path / "set", task, positive_class, metric)


def test_the_import_refuses_a_task_before_it_decodes(tmp_path, monkeypatch):
    _folders(tmp_path / "set", "cat", "dog", "emu")
    monkeypatch.setattr(
        "kfp_vision.components.data_import.importer.stage", lambda *_: pytest.fail("decoded")
    )
    with pytest.raises(ValueError, match="make it 'multiclass'"):
        import_dataset(str(tmp_path / "set"), tmp_path / "out", ImportConfig(task="binary"))
