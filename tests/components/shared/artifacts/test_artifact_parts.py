"""A dataset as artifacts, and what a task sees of it."""

from kfp import dsl

from kfp_vision.components.shared.artifacts.artifact_parts import join_parts, move_files
from kfp_vision.components.shared.artifacts.dataset_info import SPLITS


def test_a_task_sees_the_splits_that_it_names_and_no_other(digits_dir, divided):
    whole = {file.name: file.read_bytes() for file in digits_dir.iterdir()}
    parts = divided(digits_dir, *SPLITS)
    with join_parts(*parts.values()) as folder:
        assert {file.name: file.read_bytes() for file in folder.iterdir()} == whole
    with join_parts(parts["dataset_info"], parts["validation"]) as folder:
        seen = {file.name for file in folder.iterdir()}
    assert seen == {name for name in whole if not name.endswith(".arrow")} | {"validation.arrow"}
    assert not folder.exists()


def test_an_artifact_without_files_may_be_lost_on_the_way(tmp_path):
    (tmp_path / "source").mkdir()
    empty, lost = (dsl.Artifact(uri=str(tmp_path / name)) for name in ("empty", "lost"))
    move_files(tmp_path / "source", empty, "unlabeled.arrow")
    assert (tmp_path / "empty").is_dir()
    with join_parts(empty, lost) as folder:
        assert not list(folder.iterdir())
