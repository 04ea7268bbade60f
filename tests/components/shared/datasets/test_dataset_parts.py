"""A dataset as artifacts, and what a task sees of it."""

from kfp import dsl

from kfp_vision.components.shared.artifacts.dataset_info import SPLITS
from kfp_vision.components.shared.datasets.dataset_parts import divide_dataset, join_dataset
from kfp_vision.components.shared.datasets.store import open_split


def test_a_task_sees_the_splits_that_it_names_and_no_other(digits_dir, divided):
    whole = {file.name: file.read_bytes() for file in digits_dir.iterdir()}
    parts = divided(digits_dir, *SPLITS)
    with join_dataset(*parts.values()) as folder:
        joined = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert {name: joined[name] for name in whole} == whole
    with join_dataset(parts["dataset_info"], parts["validation"]) as folder:
        seen = {file.name for file in folder.iterdir()}
    assert seen == {name for name in whole if not name.endswith(".arrow")} | {"validation.arrow"}
    assert not folder.exists()


def test_a_split_that_a_dataset_lacks_is_a_file_without_rows(tmp_path):
    unlabeled = dsl.Dataset(uri=str(tmp_path / "unlabeled"))
    divide_dataset(tmp_path, {"unlabeled": unlabeled})
    assert open_split(tmp_path / "unlabeled", "unlabeled").num_rows == 0
