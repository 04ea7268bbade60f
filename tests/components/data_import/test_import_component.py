"""The op as KFP calls it."""

from pathlib import Path

from kfp import dsl

from kfp_vision.components.data_import.component import import_dataset
from kfp_vision.components.shared.artifacts.dataset_info import SPLITS, DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json


def _outputs(root):
    parts = {name: dsl.Dataset(uri=str(root / name)) for name in SPLITS}
    return {"dataset_info": dsl.Artifact(uri=str(root / "dataset_info")), **parts}


def test_the_op_writes_the_artifacts_and_their_metadata(tmp_path, save_images):
    for name in ("cat", "dog"):
        save_images(tmp_path / "source" / name)
    outputs = _outputs(tmp_path / "deep")
    import_dataset.python_func(**outputs, dataset_uri=str(tmp_path / "source"))
    info = read_json(DatasetInfo, tmp_path / "deep" / "dataset_info" / "dataset.json")
    for name in SPLITS:
        files = [file.name for file in Path(outputs[name].path).iterdir()]
        assert files == [f"{name}.arrow"] * (name in info.splits)
    assert not list(Path(outputs["dataset_info"].path).glob("*.arrow"))
    assert outputs["dataset_info"].metadata == {
        "fingerprint": info.fingerprint,
        "task": "binary",
        **info.splits,
    }


def test_the_op_follows_links_on_demand(tmp_path, save_images):
    save_images(tmp_path / "source" / "cat")
    save_images(tmp_path / "elsewhere")
    (tmp_path / "source" / "dog").symlink_to(tmp_path / "elsewhere")
    import_dataset.python_func(
        **_outputs(tmp_path), dataset_uri=str(tmp_path / "source"), follow_links=True
    )
    assert read_json(DatasetInfo, tmp_path / "dataset_info" / "dataset.json").classes == [
        "cat",
        "dog",
    ]
