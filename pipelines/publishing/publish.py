"""The last tasks: what a user wants to keep is copied to one folder or bucket, then judged.

The output shows one run: what an earlier one has published and this one does not is removed. Only
names of `_names()` are touched, and only where `artifacts.json` says that a run was published here.
"""

import contextlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json, write_json
from kfp_vision.components.shared.artifacts.training_result import TrainingSummary
from kfp_vision.components.shared.runtime.disk import explain_full_disk
from kfp_vision.components.shared.runtime.storage import (
    StorageError,
    is_remote,
    local_path,
    move,
    open_folder,
    remove,
    upload,
)
from kfp_vision.pipelines.serving.published_model import ModelCard

__all__ = [
    "ARTIFACTS_FILE",
    "MODEL_FILE",
    "PREVIOUS",
    "REJECTED",
    "publish_results",
    "rejection",
    "set_results_aside",
]

ARTIFACTS_FILE = "artifacts.json"
MODEL_FILE = "model/model.json"
# Starts the last line of a run whose model is rejected.
REJECTED = "rejected: "
# Folder in the output for the results of an earlier run, when a later one has failed.
PREVIOUS = "previous"
# Published path -> artifact and path inside it.
_RESULTS = {
    "report.html": ("report", "report.html"),
    "report.json": ("report", "report.json"),
    "recipe.json": ("model", "recipe.json"),
    "predictions.parquet": ("evaluation", "predictions.parquet"),
}
_MODELS = (
    *("model.keras", "model.onnx", "model.tflite", "model_int8.tflite"),
    *("saved_model/saved_model.pb", "saved_model/fingerprint.pb"),
    *("saved_model/variables/variables.index",),
    *("saved_model/variables/variables.data-00000-of-00001",),
)


def publish_results(
    artifacts: Mapping[str, Path], uris: Mapping[str, str], output_uri: str
) -> None:
    """Copies what a run has made; nothing that an earlier one has published stays beside it.

    A format that could not be written or read back is left out; one that missed its tolerance is
    marked as failed in the report. A model that the evaluation rejects has no formats. Beside the
    results go `artifacts.json`, where every artifact lies, and `model/model.json`, what one has to
    know to use the model without this package.

    Args:
        artifacts: Artifact name -> its folder.
        uris: Artifact name -> its URI.
        output_uri: Local folder, gs:// or s3://.
    """
    output_uri = output_uri.rstrip("/")
    # On a bucket only temporary files need a disk.
    folders = () if is_remote(output_uri) else (local_path(output_uri, "output_uri"),)
    with explain_full_disk(*folders):
        _publish(artifacts, uris, output_uri)


def _publish(artifacts: Mapping[str, Path], uris: Mapping[str, str], output_uri: str) -> None:
    stale = [*_published(output_uri), *_published(output_uri, f"{PREVIOUS}/")]
    for name in stale:
        remove(f"{output_uri}/{name}")
    _prune(output_uri, stale)
    exports = json.loads((artifacts["exports"] / "exports.json").read_text(encoding="utf-8"))
    usable = [entry["path"] for entry in exports["exports"] if entry["metrics"]]
    files = {name: artifacts[held] / path for name, (held, path) in _RESULTS.items()}
    files |= {f"model/{path}": artifacts["exports"] / path for path in usable}
    contents: dict[str, object] = {ARTIFACTS_FILE: dict(uris)}
    if usable:
        contents[MODEL_FILE] = _model_card(artifacts)
    with tempfile.TemporaryDirectory() as scratch:
        for name, content in contents.items():
            file = Path(scratch, Path(name).name)
            write_json(content, file)
            files[name] = file
        # `artifacts.json` first: from then on the others can be told from a user's own files.
        for name in sorted(files, key=lambda name: name != ARTIFACTS_FILE):
            upload(files[name], f"{output_uri}/{name}")


def rejection(report_dir: Path) -> str:
    """Returns why the model is rejected, in one line; empty when it is not."""
    report = json.loads((report_dir / "report.json").read_text(encoding="utf-8"))
    return report["reason"] if report["status"] == "rejected" else ""


def set_results_aside(output_uri: str) -> str:
    """Moves what an earlier run has published to `previous`: it is not of the run that failed.

    Returns:
        Where the results are now; empty when there were none.
    """
    output_uri = output_uri.rstrip("/")
    found = _published(output_uri)
    if not found:
        return ""
    for name in _published(output_uri, f"{PREVIOUS}/"):
        remove(f"{output_uri}/{name}")
    for name in found:
        move(f"{output_uri}/{name}", f"{output_uri}/{PREVIOUS}/{name}")
    _prune(output_uri, found)
    return f"{output_uri}/{PREVIOUS}"


def _model_card(artifacts: Mapping[str, Path]) -> ModelCard:
    dataset = read_json(DatasetInfo, artifacts["dataset"] / "dataset.json")
    training = read_json(TrainingSummary, artifacts["model"] / "training.json")
    return ModelCard(
        task=dataset.task,
        classes=dataset.classes,
        image_size=training.image_size,
        channels=dataset.channels,
        white_level=dataset.white_level,
    )


def _names() -> Iterator[str]:
    """Yields every name that a run may publish; the one that tells of the others is the last."""
    yield from _RESULTS
    yield MODEL_FILE
    yield from (f"model/{path}" for path in _MODELS)
    yield ARTIFACTS_FILE


def _published(output_uri: str, prefix: str = "") -> list[str]:
    """Returns the paths, below a prefix of the output, of what a run has published."""
    try:
        folder, _ = open_folder(output_uri)
    except StorageError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return []
        raise
    if not folder.exists(prefix + ARTIFACTS_FILE):
        return []
    return [prefix + name for name in _names() if folder.exists(prefix + name)]


def _prune(output_uri: str, removed: Sequence[str]) -> None:
    """Removes folders that are empty now; buckets have none."""
    if is_remote(output_uri):
        return
    root = local_path(output_uri, "output_uri")
    parents = {parent for name in removed for parent in PurePosixPath(name).parents}
    for parent in sorted(parents - {PurePosixPath()}, key=lambda path: -len(path.parts)):
        with contextlib.suppress(OSError):
            (root / parent).rmdir()
