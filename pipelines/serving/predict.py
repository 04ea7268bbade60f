"""Predictions of a published model for image files, found and decoded as in the import."""

import csv
import dataclasses
import functools
import itertools
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np
import pyarrow as pa
from PIL import Image

from kfp_vision.components.shared.artifacts.model_card import ModelCard
from kfp_vision.components.shared.datasets.decoding import (
    Decoded,
    UnreadableImageError,
    decode_file,
)
from kfp_vision.components.shared.datasets.image_files import (
    escape_name,
    file_kind,
    list_image_files,
)
from kfp_vision.components.shared.datasets.loader import fit_image, images_per_batch
from kfp_vision.components.shared.runtime.storage import Folder, StorageError, open_folder
from kfp_vision.components.shared.tasks import TASKS
from kfp_vision.pipelines.serving.box_answers import box_columns, box_files, describe_boxes
from kfp_vision.pipelines.serving.coco_file import CocoFile
from kfp_vision.pipelines.serving.keypoint_answers import describe_keypoints, keypoint_files
from kfp_vision.pipelines.serving.mask_answers import describe_mask, mask_columns, mask_files
from kfp_vision.pipelines.serving.published_model import (
    Infer,
    find_model,
    load_runtime,
    read_card,
)
from kfp_vision.pipelines.serving.segment_answers import describe_segments, segment_files

__all__ = ["Model", "Prediction", "write_table"]

# Rows come while later images are not read yet; images to draw into are large.
_MOST_AT_ONCE, _MOST_DRAWN = 64, 8
# Of a picture, in pixels.
_PICTURE_SIDE = 2000
# In a folder of predictions: what is written, and that it was written here.
_WRITTEN, _MARK = ("masks", "keypoints", "pictures", "coco.json"), ".predictions"
# As in predictions.parquet.
_PREFIX = "p_"
# Codes of `decode_file` for files that are no images.
_NO_IMAGE = ("not_an_image", "empty_file")


@dataclasses.dataclass(frozen=True)
class Prediction:
    """One row of the table.

    Attributes:
        row: `path`, columns of the task, and `error`; of an image that cannot be read everything
            between `path` and `error` is empty.
        failed: Whether an image could not be read. A file of a folder that neither is an image nor
            has the suffix of one does not fail.
        name: Path of the image in the only folder that was named; where several images or folders
            were, as in the row.
        files: Relative path -> content of what the task writes beside the row, where it is asked.
        size: (height, width) of the image, in pixels; 0 of one that cannot be read.
        note: What makes the row doubtful; empty for nothing.
    """

    row: dict[str, Any]
    failed: bool
    name: str
    files: dict[str, bytes] = dataclasses.field(default_factory=dict)
    size: tuple[int, int] = (0, 0)
    note: str = ""


@dataclasses.dataclass(frozen=True)
class _File:
    """An image file: the name to show, and where to read it."""

    shown: str
    folder: Folder | None
    path: str
    name: str
    error: str = ""
    is_named: bool = True


@dataclasses.dataclass(frozen=True)
class _Image:
    """A decoded image: pixels as the model takes them, and what is said of it.

    Attributes:
        pixels: uint8 [H, W, K] at the size of the model.
        size: (height, width) of the image.
        photo: uint8 [h, w, 1 or 3] to draw into; None where nothing is drawn.
        note: As of `Prediction`.
    """

    pixels: np.ndarray
    size: tuple[int, int]
    photo: np.ndarray | None
    note: str


class Model:
    """A published model; it is loaded at the first prediction.

    Attributes:
        card: The classes, what goes in and what comes out.
    """

    def __init__(self, uri: str | os.PathLike[str]) -> None:
        """Finds the model.

        Args:
            uri: A run's output, its `model` folder, or a `.keras` or `.onnx` file in that; local,
                gs:// or s3://.

        Raises:
            ValueError: There is no model, or no `model.json` beside it.
        """
        self._folder, self._name = find_model(os.fspath(uri))
        self.card: ModelCard = read_card(self._folder, self._name)

    def predict(
        self, images: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]
    ) -> pa.Table:
        """Returns a row for every image, in the order of `images` and sorted in folders.

        Args:
            images: A file or folder, or several; local, gs:// or s3://.

        Returns:
            The columns `path`, `predicted`, `confidence`, `p_CLASS` for each class (of masks
            `share_CLASS`, the share of its pixels; of objects `objects`, JSON with class, score,
            box and keypoints of each) and `error`; of an image that cannot be read all but `path`
            and `error` are null.

        Raises:
            ValueError: There is no image.
        """
        named = [images] if isinstance(images, str | os.PathLike) else images
        rows = [each.row for each in self.stream([os.fspath(each) for each in named])]
        kinds = {"path": str, **_answers(self.card).columns(self.card), "error": str}
        types = {str: pa.string(), float: pa.float64()}
        schema = pa.schema([(name, types[kind]) for name, kind in kinds.items()])
        columns = {name: [row[name] for row in rows] for name in schema.names}
        nulls = {n: [None if v == "" else v for v in values] for n, values in columns.items()}
        return pa.table(nulls, schema)

    def stream(self, images: Sequence[str], with_files: bool = False) -> Iterator[Prediction]:
        """Yields what `predict` returns, while later images are not read yet.

        Args:
            images: Files and folders.
            with_files: Whether masks and pictures are made, too.

        Raises:
            ValueError: There is no image, or no file to make for whole images.
        """
        if with_files and _answers(self.card).make_files is None:
            raise ValueError(
                "Files are written for masks and objects alone; a class of the whole image is in "
                "the table. "
                f"Received: a {self.card.task} model. Leave `--output` out."
            )
        files = itertools.chain.from_iterable(_files(each, len(images) == 1) for each in images)
        first = next(files, None)
        if first is None:
            raise ValueError(f"There must be an image to predict. Received: {', '.join(images)}")
        files = itertools.chain([first], files)
        most = _MOST_DRAWN if with_files else _MOST_AT_ONCE
        at_once = min(most, images_per_batch(*self.card.image_size))
        while batch := list(itertools.islice(files, at_once)):
            yield from _predict_batch(self._infer, self.card, batch, with_files)

    def coco_file(self) -> CocoFile | None:
        """Returns an empty file for the objects of a model that finds some; else None."""
        return CocoFile(self.card) if "objects" in _answers(self.card).columns(self.card) else None

    @functools.cached_property
    def _infer(self) -> Infer:
        return load_runtime(self._folder, self._name, self.card)


def _files(uri: str, is_only: bool) -> Iterator[_File]:
    """Yields the files of a file or folder; one with an error when there is none.

    Args:
        uri: Of the file or folder.
        is_only: Whether nothing else was named: paths in it are then names enough.
    """
    shown = escape_name(uri)
    try:
        folder, name = open_folder(uri)
        paths = [] if name else list_image_files(folder)
    except (StorageError, ValueError) as error:
        yield _File(shown, None, "", shown, str(error))
        return
    if name:
        yield _File(shown, folder, name, name if is_only else shown)
    for path in paths:
        is_named = file_kind(path) == "image"
        whole = f"{shown.rstrip('/')}/{escape_name(path)}"
        yield _File(whole, folder, path, path if is_only else whole, is_named=is_named)


@dataclasses.dataclass(frozen=True)
class _Answers:
    """What a task says of an image, given the output of the model for it.

    Attributes:
        columns: Those between `path` and `error`, and their types.
        describe: (card, output, (height, width) of the image) -> the columns.
        make_files: (card, photo, (height, width), output) -> files; None where there are none.
    """

    columns: Callable[[ModelCard], dict[str, type]]
    describe: Callable[[ModelCard, Any, tuple[int, int]], dict[str, Any]]
    make_files: Callable[[ModelCard, np.ndarray, tuple[int, int], Any], dict[str, bytes]] | None


def _label_columns(card: ModelCard) -> dict[str, type]:
    probabilities: dict[str, type] = {_PREFIX + name: float for name in card.classes}
    return {"predicted": str, "confidence": float, **probabilities}


def _predict_batch(
    infer: Infer, card: ModelCard, files: Sequence[_File], with_files: bool
) -> Iterator[Prediction]:
    answers = _answers(card)
    images: list[_Image] = []
    errors: list[tuple[str, str]] = []
    for file in files:
        code, message = "missing_file", file.error
        if file.folder is not None:
            try:
                decoded = decode_file(file.folder.read(file.path), card.white_level)
                images.append(_fitted(decoded, card, with_files))
                code, message = "", ""
            except UnreadableImageError as error:
                code, message = error.code, str(error)
            except IsADirectoryError:
                message = "The link leads to a folder, which is not followed: name that folder."
            except OSError as error:
                message = str(error)
        errors.append((code, message))
    outputs = infer(np.stack([each.pixels for each in images])) if images else ()
    said = zip(images, _each_image(outputs), strict=True)
    empty = dict.fromkeys(answers.columns(card), "")
    for file, (code, message) in zip(files, errors, strict=True):
        if code:
            row = {"path": file.shown, **empty, "error": message}
            yield Prediction(row, file.is_named or code not in _NO_IMAGE, file.name)
            continue
        image, output = next(said)
        row = {"path": file.shown, **answers.describe(card, output, image.size), "error": ""}
        made = {}
        if image.photo is not None and answers.make_files is not None:
            made = answers.make_files(card, image.photo, image.size, output)
        written = {name.replace("*", output_stem(file.path)): held for name, held in made.items()}
        yield Prediction(row, False, file.name, written, image.size, image.note)


def _fitted(decoded: Decoded, card: ModelCard, is_drawn: bool) -> _Image:
    pixels = decoded.pixels
    photo = None
    if is_drawn:
        small = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
        small.thumbnail((_PICTURE_SIDE, _PICTURE_SIDE))
        photo = np.asarray(small).reshape(small.height, small.width, -1)
    note = ""
    if decoded.peak > card.white_level:
        note = (
            f"has 16-bit values up to {decoded.peak}; the model takes those from "
            f"{card.white_level} on for white"
        )
    elif "bright_part_unused" in decoded.changes:
        note = f"has 16-bit values up to {decoded.peak} of {card.white_level}: it is nearly black"
    height, width = card.image_size
    fitted = fit_image(pixels, height, width, card.channels)
    return _Image(fitted, pixels.shape[:2], photo, note)


def output_stem(path: str) -> str:
    """Returns a path without its suffix, which does not lead out of the folder it is put into."""
    parts = [part for part in path.split("/") if part not in ("", ".", "..")]
    return str(PurePosixPath(*parts).with_suffix("")) if parts else "image"


def _describe(card: ModelCard, probabilities: np.ndarray) -> dict[str, Any]:
    """Returns what is predicted: the likeliest class, or all from 0.5 for multi-label."""
    chosen = np.array([probabilities.argmax()])
    if not TASKS[card.task].one_class:
        chosen = np.flatnonzero(probabilities >= 0.5)
    return {
        "predicted": "|".join(card.classes[index] for index in chosen),
        "confidence": round(float(probabilities[chosen].min()), 6) if len(chosen) else "",
        **{
            f"{_PREFIX}{name}": round(float(value), 6)
            for name, value in zip(card.classes, probabilities, strict=True)
        },
    }


def _each_image(outputs: Any) -> Sequence[Any]:
    """Returns what a model says of each image, from its outputs for all of them."""
    if not isinstance(outputs, dict):
        return outputs  # type: ignore[no-any-return]
    rows = zip(*outputs.values(), strict=True)
    return [dict(zip(outputs, row, strict=True)) for row in rows]


_LABELS = _Answers(_label_columns, lambda card, output, _: _describe(card, output), None)
_ANSWERS = {
    "semantic_segmentation": _Answers(
        mask_columns, lambda card, output, _: describe_mask(card, output), mask_files
    ),
    "detection": _Answers(box_columns, describe_boxes, box_files),
    "instance_segmentation": _Answers(box_columns, describe_segments, segment_files),
    "keypoints": _Answers(box_columns, describe_keypoints, keypoint_files),
}


def _answers(card: ModelCard) -> _Answers:
    return _ANSWERS.get(card.task, _LABELS)


def _free_name(name: str, taken: set[str]) -> str:
    """Returns a name that is not taken, and takes it: a.png, or a-2.png where a.jpg came before."""
    stem, _, suffix = name.rpartition(".")
    names = itertools.chain([name], (f"{stem}-{number}.{suffix}" for number in itertools.count(2)))
    free = next(each for each in names if each not in taken)
    taken.add(free)
    return free


def write_table(
    predictions: Iterable[Prediction],
    as_json: bool,
    stream: IO[str],
    output: Path | None = None,
    coco: CocoFile | None = None,
) -> bool:
    """Writes one row per prediction, as JSON lines or as CSV with a header, and their files.

    Args:
        predictions: Of images.
        as_json: Whether it is JSON lines.
        stream: Gets the rows.
        output: Folder of the files, whose names stand in the column `files`; None where there are
            none.
        coco: Gets the objects of all images and is written into the folder; None for none.

    Returns:
        Whether there was a prediction, and none failed.

    Raises:
        ValueError: The folder has files of others where those of predictions belong.
    """
    if output is not None:
        _claim(output)
    writer: csv.DictWriter[str] | None = None
    predicted = failed = 0
    written: set[str] = set()
    for each in predictions:
        failed += each.failed
        predicted += not each.row["error"]
        row = each.row
        if output is not None:
            names = "|".join(_write_files(each.files, output, written))
            row = {**row, "files": names}
        if coco is not None and row.get("objects"):
            coco.add(each.name, each.size, json.loads(row["objects"]))
        if each.note:
            print(f"kfp-vision: {row['path']} {each.note}", file=sys.stderr)
        if as_json:
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")
            continue
        if writer is None:
            writer = csv.DictWriter(stream, list(row))
            writer.writeheader()
        writer.writerow(row)
    if output is not None and coco is not None:
        coco.write(output / "coco.json")
    return predicted > 0 and not failed


def _claim(output: Path) -> None:
    """Makes a folder one of predictions, unless it has files of others in their place."""
    taken = [name for name in _WRITTEN if (output / name).exists()]
    if taken and not (output / _MARK).exists():
        raise ValueError(
            f"The folder of predictions must not have {', '.join(_WRITTEN)} of others, which would "
            f"be replaced. Received: {output} with {', '.join(taken)}. Name another one."
        )
    output.mkdir(parents=True, exist_ok=True)
    (output / _MARK).touch()


def _write_files(files: Mapping[str, bytes], output: Path, written: set[str]) -> list[str]:
    """Writes files into a folder and returns their names in it."""
    names = [_free_name(name, written) for name in files]
    for name, content in zip(names, files.values(), strict=True):
        path = output / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return names
