"""Predictions of a published model for image files, read as the import reads them."""

import csv
import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from kfp_vision.components.shared.datasets.decoding import UnreadableImageError, decode_file
from kfp_vision.components.shared.datasets.loader import fit_image

__all__ = ["ModelCard", "predict_images", "write_table"]

_BATCH = 64
# As in predictions.parquet.
_PREFIX = "p_"
_SUFFIXES = {".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}


@dataclasses.dataclass(frozen=True)
class ModelCard:
    """`model.json` beside a published model.

    Attributes:
        task: A key of `shared.tasks.TASKS`.
        classes: Class names; the position is the output.
        image_size: `[height, width]` in pixels.
        channels: 1 or 3.
        white_level: The value of 16-bit pixels that becomes 255.
        input, output: What goes in and comes out, for people.
    """

    task: str
    classes: list[str]
    image_size: list[int]
    channels: int
    input: str
    output: str
    white_level: int = 2**16 - 1


def predict_images(model: Path, images: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """Yields `path`, `predicted`, `confidence`, `error` and one probability per class.

    An image that cannot be read has an `error` and nothing else.

    Args:
        model: A run's output folder, or one of the `.keras` and `.onnx` files that it holds.
        images: Files, and folders that are searched for image files.

    Raises:
        ValueError: There is no model, or no image.
    """
    file = model / "model" / "model.keras" if model.is_dir() else model
    card_file = file.with_name("model.json")
    if file.suffix not in _RUNTIMES or not file.is_file() or not card_file.is_file():
        raise ValueError(
            "The model must be the output folder of a run, or a .keras or .onnx file in its "
            f"`model` folder. Received: {model}"
        )
    card = ModelCard(**json.loads(card_file.read_text(encoding="utf-8")))
    paths = [path for given in images for path in _image_files(given)]
    if not paths:
        raise ValueError(f"There must be an image to predict. Received: {list(map(str, images))}")
    infer = _RUNTIMES[file.suffix](file)
    for start in range(0, len(paths), _BATCH):
        yield from _predict_batch(infer, card, paths[start : start + _BATCH])


def _image_files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    return sorted(each for each in path.rglob("*") if each.suffix.lower() in _SUFFIXES)


def _predict_batch(
    infer: Callable[[np.ndarray], np.ndarray], card: ModelCard, paths: Sequence[Path]
) -> Iterator[dict[str, Any]]:
    height, width = card.image_size
    pixels: dict[Path, np.ndarray] = {}
    errors: dict[Path, str] = {}
    for path in paths:
        try:
            decoded = decode_file(path.read_bytes(), card.white_level)
            pixels[path] = fit_image(decoded.pixels, height, width, card.channels)
        except (UnreadableImageError, OSError) as error:
            errors[path] = str(error)
    outputs = infer(np.stack([*pixels.values()]).astype(np.float32)) if pixels else np.empty(0)
    probabilities = dict(zip(pixels, outputs, strict=True))
    for path in paths:
        described = (
            _describe(card, probabilities[path])
            if path in probabilities
            else dict.fromkeys(
                ("predicted", "confidence", *(_PREFIX + name for name in card.classes)), ""
            )
        )
        yield {"path": str(path), **described, "error": errors.get(path, "")}


def _describe(card: ModelCard, probabilities: np.ndarray) -> dict[str, Any]:
    """Returns what is predicted: the likeliest class, or all from 0.5 for multi-label."""
    chosen = np.array([probabilities.argmax()])
    if card.task == "multilabel":
        chosen = np.flatnonzero(probabilities >= 0.5)
    return {
        "predicted": "|".join(card.classes[index] for index in chosen),
        "confidence": round(float(probabilities[chosen].min()), 6) if len(chosen) else "",
        **{
            f"{_PREFIX}{name}": round(float(value), 6)
            for name, value in zip(card.classes, probabilities, strict=True)
        },
    }


def _keras(file: Path) -> Callable[[np.ndarray], np.ndarray]:
    import keras

    model = keras.saving.load_model(file, compile=False, safe_mode=True)
    return lambda images: np.asarray(model(images, training=False))


def _onnx(file: Path) -> Callable[[np.ndarray], np.ndarray]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file))
    name = session.get_inputs()[0].name
    return lambda images: session.run(None, {name: images})[0]


_RUNTIMES = {".keras": _keras, ".onnx": _onnx}


def write_table(rows: Iterable[dict[str, Any]], as_json: bool, stream: IO[str]) -> None:
    """Writes rows as JSON lines, or as CSV with a header."""
    writer: csv.DictWriter[str] | None = None
    for row in rows:
        if as_json:
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")
            continue
        if writer is None:
            writer = csv.DictWriter(stream, list(row), restval="")
            writer.writeheader()
        writer.writerow(row)
