"""Where checkpoints go: a path, file:// or a bucket; one that is not there is named at once."""

from pathlib import Path

import pytest

from kfp_vision.components.data_import.component import import_dataset
from kfp_vision.components.shared.runtime.storage import StorageError, kept_folder
from kfp_vision.components.shared.training.checkpoints import checkpoint_folder


@pytest.mark.parametrize("prefix", ["", "file://"])
def test_a_local_one_is_a_folder(prefix: str, tmp_path: Path) -> None:
    with checkpoint_folder(f"{prefix}{tmp_path}/checkpoints") as folder:
        assert folder == tmp_path / "checkpoints"


def test_without_one_the_folder_ends_with_the_task() -> None:
    with checkpoint_folder("") as first, checkpoint_folder("") as second:
        assert first != second
        assert first.is_dir()
    assert not first.exists()


def test_one_in_a_bucket_is_the_same_on_every_machine(bucket: str) -> None:
    with checkpoint_folder(bucket) as first:
        kept_folder(first / "run").mkdir()
        (first / "run/state.npz").write_bytes(b"state")
    assert not first.exists()
    with checkpoint_folder(bucket) as second:
        assert (kept_folder(second / "run") / "state.npz").read_bytes() == b"state"


def test_a_bucket_that_is_not_there_is_named_by_the_first_task(s3: str) -> None:
    outputs = ("dataset_info", "train", "validation", "test", "unlabeled")
    with pytest.raises(StorageError, match="Cannot reach 's3://absent/checkpoints'"):
        import_dataset.python_func(
            **dict.fromkeys(outputs),
            dataset_uri="/nothing/here",
            checkpoint_uri="s3://absent/checkpoints",
        )
