"""The last task: copies what a user wants to keep from the artifacts to one folder or bucket."""

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import fsspec
from kfp import dsl

from kfp_vision.components.shared.artifacts import DatasetInfo, TrainingSummary, read_json
from kfp_vision.components.shared.container_images import component

__all__ = ["ARTIFACTS_FILE", "MODEL_FILE", "publish", "publish_results"]

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
    """Copies the results of a run; a local file that exists is replaced in one step.

    Beside them go `artifacts.json`, where every artifact lies, and `model/model.json`, what one has
    to know to use the model without this package.

    Args:
        artifacts: Artifact name -> its folder.
        uris: Artifact name -> its URI.
        output_uri: Local folder or a URI that fsspec can write to.
    """
    dataset = read_json(DatasetInfo, artifacts["dataset"] / "dataset.json")
    training = read_json(TrainingSummary, artifacts["model"] / "training.json")
    model = {
        "task": dataset.task,
        "classes": dataset.classes,
        "image_size": training.image_size,
        "channels": dataset.channels,
        "input": "float32 pixels 0..255, [batch, height, width, channels]",
        "output": "calibrated probabilities, [batch, classes]",
    }
    with tempfile.TemporaryDirectory() as folder:
        written = {ARTIFACTS_FILE: dict(uris), MODEL_FILE: model}
        sources = {name: artifacts[artifact] / path for name, (artifact, path) in _RESULTS.items()}
        for name, content in written.items():
            sources[name] = Path(folder) / Path(name).name
            sources[name].write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        filesystem, root = fsspec.url_to_fs(output_uri)
        for name, source in sources.items():
            if "file" in filesystem.protocol:
                _replace(source, Path(root) / name)
            else:
                filesystem.put(str(source), f"{root}/{name}", recursive=source.is_dir())


def _replace(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    if source.is_dir():
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(source, partial)
        # A folder cannot be replaced in one step.
        shutil.rmtree(target, ignore_errors=True)
    else:
        shutil.copyfile(source, partial)
    partial.replace(target)


@component
def publish(
    dataset: dsl.Input[dsl.Dataset],
    profile: dsl.Input[dsl.Artifact],
    model: dsl.Input[dsl.Model],
    evaluation: dsl.Input[dsl.Artifact],
    exports: dsl.Input[dsl.Artifact],
    report: dsl.Input[dsl.Artifact],
    output_uri: str,
):
    """Copies the results of a run to where the user wants them."""
    from pathlib import Path

    from kfp_vision.pipelines.publishing import publish_results

    artifacts = {
        "dataset": dataset,
        "profile": profile,
        "model": model,
        "evaluation": evaluation,
        "exports": exports,
        "report": report,
    }
    publish_results(
        {name: Path(artifact.path) for name, artifact in artifacts.items()},
        {name: artifact.uri for name, artifact in artifacts.items()},
        output_uri,
    )
