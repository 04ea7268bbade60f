"""A whole run whose data, model file and output are in a bucket, and where its keys are not."""

from pathlib import Path

import pytest
from storage_servers import KEYS

import kfp_vision
from kfp_vision.components.shared.runtime.storage import open_folder, upload

_SECRET = KEYS["AWS_SECRET_ACCESS_KEY"]


@pytest.mark.slow
def test_a_run_reads_and_publishes_in_a_bucket(
    bucket, digits_folder, small_model, tmp_path, monkeypatch, kfp_vision_here
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    upload(digits_folder, f"{bucket}/digits")
    upload(Path(small_model), f"{bucket}/small.keras")
    arguments = ["--dataset-uri", f"{bucket}/digits", "--architecture", f"{bucket}/small.keras"]
    options = ["--epochs", "2", "--no-search-augmentation", "--no-learn-batch-size"]
    answer = kfp_vision_here("run", *arguments, *options, "--output", f"{bucket}/out")
    run = kfp_vision.load(f"{bucket}/out")
    assert run.status in ("passed", "rejected"), answer.stderr
    assert run.report["metrics"]["test"]
    folder, _ = open_folder(f"{bucket}/out")
    assert {"report.html", "recipe.json", "run.json"} <= set(folder.list_files())
    if run.status == "passed":
        assert run.model.predict(f"{bucket}/digits/digit 0").num_rows == 178
    assert _SECRET not in answer.stdout + answer.stderr
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(left) > 20
    assert not [path for path in left if _SECRET.encode() in path.read_bytes()]
    assert not [path for path in folder.list_files() if _SECRET.encode() in folder.read(path)]
