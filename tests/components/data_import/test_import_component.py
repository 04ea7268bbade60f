"""The op as KFP calls it."""

from kfp import dsl

from kfp_vision.components.data_import.component import import_dataset
from kfp_vision.components.shared.artifacts import DatasetInfo, read_json


def test_the_op_writes_the_artifact_and_its_metadata(tmp_path, save_images):
    for name in ("cat", "dog"):
        save_images(tmp_path / "source" / name)
    dataset = dsl.Dataset(uri=str(tmp_path / "deep" / "dataset"))
    import_dataset.python_func(dataset=dataset, dataset_uri=str(tmp_path / "source"))
    info = read_json(DatasetInfo, tmp_path / "deep" / "dataset" / "dataset.json")
    assert dataset.metadata == {"fingerprint": info.fingerprint, "task": "binary", **info.splits}
