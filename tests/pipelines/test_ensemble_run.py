"""A run whose model is the network and its teachers together, from the images to predictions."""

import csv
import io
import json
from pathlib import Path

import pytest

from kfp_vision.components.evaluation.formats import FORMATS

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("workers", [1, 2])
def test_an_ensemble_is_deployed_in_every_format(
    digits_folder: Path, small_model: str, kfp_vision, tmp_path: Path, workers: int
) -> None:
    answer = kfp_vision(
        *("run", "--dataset-uri", digits_folder, "--output", tmp_path / "out"),
        *("--architecture", small_model, "--epochs", 4, "--no-search-augmentation"),
        *("--no-learn-batch-size", "--teachers", 2, "--deploy", "ensemble", "--preset", "best"),
        *("--teacher-workers", workers),
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    report = json.loads((tmp_path / "out/report.json").read_text())
    teachers, model = report["teachers"], report["model"]
    assert teachers["is_deployed"]
    stages = json.loads((tmp_path / "out/run.json").read_text())["stages"]
    shares = [each for each in stages if each["name"].startswith("train-members")]
    assert len(shares) == (workers if workers > 1 else 0)
    assert [each["kind"] for each in teachers["members"]] == ["model", "pretrained", "seed"]
    assert model["architecture"].startswith("ensemble of ")
    assert model["parameters"] == teachers["parameters"]
    exports = {each["format"]: each for each in report["exports"]}
    assert exports.keys() == FORMATS.keys()
    assert all(each["latency_ms"] > 0 for each in exports.values())
    # Eight bits may be too few for a network: that is said, and costs this format alone.
    assert all(exports[name]["passed"] for name in FORMATS if FORMATS[name].is_exact)
    assert exports["tflite_int8"]["passed"] or exports["tflite_int8"]["reason"]
    # The files hold all networks that count: float32 weights, and one byte each in int8.
    for name, size in (("keras", 4), ("onnx", 4), ("tflite_int8", 1)):
        assert exports[name]["size_bytes"] > 0.9 * size * model["parameters"]
    recipe = json.loads((tmp_path / "out/recipe.json").read_text())
    assert recipe["sections"]["data"]["deploy"]["value"] == "ensemble"
    card = json.loads((tmp_path / "out/model/model.json").read_text())
    predicted = kfp_vision("predict", tmp_path / "out", digits_folder)
    assert predicted.returncode == 0, predicted.stderr
    rows = list(csv.DictReader(io.StringIO(predicted.stdout)))
    assert {row["predicted"] for row in rows} == set(card["classes"])
    right = [Path(row["path"]).parent.name == row["predicted"] for row in rows]
    assert sum(right) > 0.9 * len(right)
