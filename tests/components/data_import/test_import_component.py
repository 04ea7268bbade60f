"""The op as KFP calls it."""

import pytest
from kfp import dsl

from kfp_vision.components.data_import.component import import_dataset
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json


def test_the_op_writes_the_artifact_and_its_metadata(tmp_path, save_images):
    for name in ("cat", "dog"):
        save_images(tmp_path / "source" / name)
    dataset = dsl.Dataset(uri=str(tmp_path / "deep" / "dataset"))
    import_dataset.python_func(dataset=dataset, dataset_uri=str(tmp_path / "source"))
    info = read_json(DatasetInfo, tmp_path / "deep" / "dataset" / "dataset.json")
    assert dataset.metadata == {"fingerprint": info.fingerprint, "task": "binary", **info.splits}


def test_the_op_follows_links_on_demand(tmp_path, save_images):
    save_images(tmp_path / "source" / "cat")
    save_images(tmp_path / "elsewhere")
    (tmp_path / "source" / "dog").symlink_to(tmp_path / "elsewhere")
    dataset = dsl.Dataset(uri=str(tmp_path / "dataset"))
    import_dataset.python_func(
        dataset=dataset, dataset_uri=str(tmp_path / "source"), follow_links=True
    )
    assert read_json(DatasetInfo, tmp_path / "dataset" / "dataset.json").classes == ["cat", "dog"]


def test_the_op_refuses_checkpoints_in_a_bucket_before_it_reads(tmp_path):
    dataset = dsl.Dataset(uri=str(tmp_path / "dataset"))
    with pytest.raises(ValueError, match="`checkpoint_uri` must be on this machine"):
        import_dataset.python_func(
            dataset=dataset, dataset_uri="/nothing/here", checkpoint_uri="s3://bucket/checkpoints"
        )
