"""Finds and loads a published model, described by its `model.json`."""

import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from kfp_vision.components.shared.artifacts.model_card import ModelCard
from kfp_vision.components.shared.runtime.storage import Folder, download, open_folder
from kfp_vision.components.shared.tasks import Outputs
from kfp_vision.pipelines.local.processes import use_tensorflow

__all__ = ["Infer", "find_model", "load_runtime"]

# Pixels [B, H, W, K], uint8 -> predictions of the task, an array or {name: array}.
Infer = Callable[[np.ndarray], Outputs]

_MODELS = ("model/model.keras", "model/model.onnx", "model.keras", "model.onnx")


def find_model(uri: str) -> tuple[Folder, str, ModelCard]:
    """Returns a folder, the path of the model in it, and what `model.json` beside it says.

    Args:
        uri: A run's output, its `model` folder, or a file in that; local, gs:// or s3://.

    Raises:
        ValueError: There is no model that can be loaded and is as good as that of the run.
    """
    folder, name = open_folder(uri)
    names = [name] if name else _MODELS
    lonely, failed = "", ""
    for each in names:
        if not (each.endswith(tuple(_RUNTIMES)) and folder.exists(each)):
            continue
        if not folder.exists(_beside(each, "model.json")):
            lonely = lonely or each
            continue
        card = _read_card(folder, each)
        reason = card.failed.get(PurePosixPath(each).name)
        if reason is None:
            return folder, each, card
        failed = f"{each} in {folder.uri}, which failed: {reason}"
    if failed:
        raise ValueError(
            "The file of a model must have passed the check of its export, as model.keras has in "
            f"the output of a run. Received: {failed}"
        )
    if lonely:
        raise ValueError(
            "Beside a model there must be the `model.json` of its run, which says what its outputs "
            f"mean. Received: {lonely} in {folder.uri} without it. Copy it from the run's output."
        )
    if not name and folder.exists("report.json"):
        report = json.loads(folder.read("report.json"))
        if report["status"] == "rejected":
            raise ValueError(
                f"The run must have left a model. Received: {uri}, whose model is rejected: "
                f"{report.get('reason', '')}"
            )
    raise ValueError(
        "The model must be the output folder of a run, its `model` folder, or a .keras or .onnx "
        f"file in that. Received: {uri}"
    )


def _beside(path: str, name: str) -> str:
    return "/".join([*path.split("/")[:-1], name])


def _read_card(folder: Folder, model: str) -> ModelCard:
    path = _beside(model, "model.json")
    try:
        return ModelCard(**json.loads(folder.read(path)))
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"model.json must be the one of the run. Received: {folder.uri}/{path} ({error})"
        ) from error


def load_runtime(folder: Folder, name: str, card: ModelCard) -> Infer:
    """Returns the function that a model computes.

    Args:
        folder: Of `find_model`.
        name: The path in it.
        card: The same.
    """
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(folder.root, name)
        if not folder.is_local:
            path = Path(scratch, Path(name).name)
            download(f"{folder.uri}/{name}", path)
        with _silenced():
            infer = _RUNTIMES[path.suffix](path)
            # The first call is the one that starts a runtime.
            infer(np.zeros((1, *card.image_size, card.channels), np.uint8))
    return infer


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Drops what the C++ code of runtimes writes to standard error at any log level."""
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:  # noqa: PTH123
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _keras(file: Path) -> Infer:
    use_tensorflow()
    import keras

    from kfp_vision.components.shared.training.inference import compile_inference

    return compile_inference(keras.saving.load_model(file, compile=False, safe_mode=True))


def _onnx(file: Path) -> Infer:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file))
    name = session.get_inputs()[0].name
    names = [each.name for each in session.get_outputs()]

    def infer(images: np.ndarray) -> Outputs:
        said = session.run(None, {name: images.astype(np.float32)})
        return dict(zip(names, said, strict=True)) if len(said) > 1 else said[0]

    return infer


_RUNTIMES = {".keras": _keras, ".onnx": _onnx}
