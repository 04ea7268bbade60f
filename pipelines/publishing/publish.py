"""The last tasks: results are copied to the output folder or bucket, then the model is checked.

The output shows one run: what an earlier one has published and this one does not is removed. Only
names of `_names()` are touched, and only where `artifacts.json` says that a run was published here.
In a bucket the results of one run replace those of another all at once.
"""

import contextlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from kfp_vision.components.shared.artifacts.json_files import write_json
from kfp_vision.components.shared.report.records import read_stages
from kfp_vision.components.shared.runtime.disk import explain_full_disk
from kfp_vision.components.shared.runtime.storage import (
    MANIFEST_FILE,
    StorageError,
    is_remote,
    local_path,
    move,
    open_folder,
    publish,
    remove,
)

__all__ = [
    "ARTIFACTS_FILE",
    "MODEL_FILES",
    "PREVIOUS",
    "REJECTED",
    "RUN_ID",
    "foreign_results",
    "publish_results",
    "rejection",
    "replace_results",
    "result_files",
    "set_results_aside",
]

ARTIFACTS_FILE = "artifacts.json"
# Its key of the run that has published: another one may write to the same output later.
RUN_ID = "run_id"
# What describes the model.
MODEL_FILES = ("model/model.json", "model/README.md")
# Starts the last line of a run whose model is rejected.
REJECTED = "rejected: "
# Folder in the output for the results of an earlier run, when a later one has failed.
PREVIOUS = "previous"
_RESULTS = ("report.html", "report.json", "recipe.json", "predictions.parquet")
_MODELS = (
    *("model.keras", "model.onnx", "model.tflite", "model_int8.tflite"),
    *("saved_model/saved_model.pb", "saved_model/fingerprint.pb"),
    *("saved_model/variables/variables.index",),
    *("saved_model/variables/variables.data-00000-of-00001",),
)


def publish_results(
    evaluation_dir: Path,
    exports_dir: Path,
    report_dir: Path,
    output_uri: str,
    report_uri: str,
    run_id: str,
) -> None:
    """Copies the results of a run, in place of those of an earlier one.

    A format that could not be written or read back is left out; one that missed its tolerance is
    marked as failed in the report. A model that the evaluation rejects has no formats. Beside the
    results go `artifacts.json`, which run this is and where the artifact of each stage lies, and
    `model/model.json` and `model/README.md`, what one has to know to use the model elsewhere.

    Args:
        evaluation_dir: The `evaluation` artifact.
        exports_dir: The `exports` artifact, which says where those of all stages lie.
        report_dir: The `report` artifact.
        output_uri: Local folder, gs:// or s3://.
        report_uri: Where the `report` artifact lies.
        run_id: Of the run, as KFP numbers it.
    """
    output_uri = output_uri.rstrip("/")
    # On a bucket only temporary files need a disk.
    folders = () if is_remote(output_uri) else (local_path(output_uri, "output_uri"),)
    with explain_full_disk(*folders):
        files = result_files(evaluation_dir, exports_dir, report_dir)
        uris = {record.artifact: record.uri for record in read_stages(exports_dir)}
        _publish(files, {RUN_ID: run_id, **uris, "report": report_uri}, output_uri)


def _publish(files: dict[str, Path], artifacts: Mapping[str, str], output_uri: str) -> None:
    stale = _published(output_uri, f"{PREVIOUS}/")
    if not is_remote(output_uri):
        stale += _published(output_uri)
    for name in stale:
        remove(f"{output_uri}/{name}")
    _prune(output_uri, stale)
    with tempfile.TemporaryDirectory() as scratch:
        files[ARTIFACTS_FILE] = Path(scratch, ARTIFACTS_FILE)
        write_json(artifacts, files[ARTIFACTS_FILE])
        # `artifacts.json` first: from then on the others can be told from a user's own files.
        publish({ARTIFACTS_FILE: files.pop(ARTIFACTS_FILE), **files}, output_uri)


def result_files(evaluation_dir: Path, exports_dir: Path, report_dir: Path) -> dict[str, Path]:
    """Returns path below the output -> file or folder, of all results but `artifacts.json`.

    Args:
        evaluation_dir: The `evaluation` artifact.
        exports_dir: The `exports` artifact.
        report_dir: The `report` artifact.
    """
    exports = json.loads((exports_dir / "exports.json").read_text(encoding="utf-8"))
    usable = [entry["path"] for entry in exports["exports"] if entry["metrics"]]
    folders = (report_dir, report_dir, exports_dir, evaluation_dir)
    files = {name: folder / name for name, folder in zip(_RESULTS, folders, strict=True)}
    files |= {f"model/{path}": exports_dir / path for path in usable}
    if usable:
        files |= {name: exports_dir / Path(name).name for name in MODEL_FILES}
    return files


def rejection(report_dir: Path) -> str:
    """Returns why the model is rejected, in one line; empty when it is not."""
    report = json.loads((report_dir / "report.json").read_text(encoding="utf-8"))
    return report["reason"] if report["status"] == "rejected" else ""


def set_results_aside(output_uri: str) -> str:
    """Moves the published results of an earlier run to `previous`, when a run has failed.

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


def replace_results(source: Path, output: Path) -> list[Path]:
    """Moves results into a folder of the same disk, and returns where they are.

    What an earlier run has published in the folder goes; files of the user stay, and nothing is
    moved that no run publishes: others may write to a bucket, too.
    """
    stale = _published(str(output))
    for name in stale:
        (output / name).unlink()
    _prune(str(output), stale)
    found = []
    for name in sorted(each for each in _names() if (source / each).is_file()):
        target = output / name
        target.parent.mkdir(parents=True, exist_ok=True)
        found.append((source / name).replace(target))
    return found


def foreign_results(output: Path) -> list[str]:
    """Returns the files in a folder that a run would replace, and no run has published."""
    if (output / ARTIFACTS_FILE).exists():
        return []
    return [name for name in _names() if (output / name).exists()]


def _names() -> Iterator[str]:
    """Yields every name that a run may publish; `artifacts.json`, which marks an output, last."""
    yield from _RESULTS
    yield from MODEL_FILES
    yield from (f"model/{path}" for path in _MODELS)
    yield MANIFEST_FILE
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
    """Removes folders that are empty now; buckets have no folders."""
    if is_remote(output_uri):
        return
    root = local_path(output_uri, "output_uri")
    parents = {parent for name in removed for parent in PurePosixPath(name).parents}
    for parent in sorted(parents - {PurePosixPath()}, key=lambda path: -len(path.parts)):
        with contextlib.suppress(OSError):
            (root / parent).rmdir()
