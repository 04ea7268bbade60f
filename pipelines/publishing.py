"""The last task: copies what a user wants to keep from the artifacts to one folder or bucket."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

from kfp_vision.components.shared.artifacts import DatasetInfo, TrainingSummary, read_json
from kfp_vision.components.shared.storage import upload

__all__ = ["ARTIFACTS_FILE", "MODEL_FILE", "publish_results"]

ARTIFACTS_FILE = "artifacts.json"
MODEL_FILE = "model/model.json"
# Published path -> artifact and path inside it.
_RESULTS = {
    "report.html": ("report", "report.html"),
    "report.json": ("report", "report.json"),
    "recipe.json": ("model", "recipe.json"),
    "predictions.parquet": ("evaluation", "predictions.parquet"),
    "model/model.keras": ("exports", "model.keras"),
    "model/saved_model": ("exports", "saved_model"),
    "model/model.onnx": ("exports", "model.onnx"),
    "model/model.tflite": ("exports", "model.tflite"),
    "model/model_int8.tflite": ("exports", "model_int8.tflite"),
}


def publish_results(
    artifacts: Mapping[str, Path], uris: Mapping[str, str], output_uri: str
) -> None:
    """Copies the results of a run over what an earlier one has left there.

    Beside them go `artifacts.json`, where every artifact lies, and `model/model.json`, what one has
    to know to use the model without this package.

    Args:
        artifacts: Artifact name -> its folder.
        uris: Artifact name -> its URI.
        output_uri: Local folder, gs:// or s3://.
    """
    dataset = read_json(DatasetInfo, artifacts["dataset"] / "dataset.json")
    training = read_json(TrainingSummary, artifacts["model"] / "training.json")
    model = {
        "task": dataset.task,
        "classes": dataset.classes,
        "image_size": training.image_size,
        "channels": dataset.channels,
        "white_level": dataset.white_level,
        "input": "float32 pixels 0..255, [batch, height, width, channels]",
        "output": "calibrated probabilities, [batch, classes]",
    }
    for name, (artifact, path) in _RESULTS.items():
        upload(artifacts[artifact] / path, f"{output_uri}/{name}")
    with tempfile.TemporaryDirectory() as folder:
        for name, content in ((ARTIFACTS_FILE, dict(uris)), (MODEL_FILE, model)):
            file = Path(folder, Path(name).name)
            file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
            upload(file, f"{output_uri}/{name}")
