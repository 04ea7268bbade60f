"""Predictions of a published model for image files, found and decoded as in the import."""

import dataclasses
import functools
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any

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
from kfp_vision.pipelines.serving.answers import answers_of
from kfp_vision.pipelines.serving.coco_file import CocoFile
from kfp_vision.pipelines.serving.published_model import (
    Infer,
    find_model,
    load_runtime,
)

__all__ = ["Model", "Prediction"]

# Rows come while later images are not read yet; images to draw into are large.
_MOST_AT_ONCE, _MOST_DRAWN = 64, 8
# Of a picture, in pixels.
_PICTURE_SIDE = 2000
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
            ValueError: There is no model that passed its check, or no `model.json` beside it.
        """
        self.card: ModelCard
        self._folder, self._name, self.card = find_model(os.fspath(uri))

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
        kinds = {"path": str, **answers_of(self.card).columns(self.card), "error": str}
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
        if with_files and answers_of(self.card).make_files is None:
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
        return (
            CocoFile(self.card) if "objects" in answers_of(self.card).columns(self.card) else None
        )

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


def _predict_batch(
    infer: Infer, card: ModelCard, files: Sequence[_File], with_files: bool
) -> Iterator[Prediction]:
    answers = answers_of(card)
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


def _each_image(outputs: Any) -> Sequence[Any]:
    """Returns what a model says of each image, from its outputs for all of them."""
    if not isinstance(outputs, dict):
        return outputs  # type: ignore[no-any-return]
    rows = zip(*outputs.values(), strict=True)
    return [dict(zip(outputs, row, strict=True)) for row in rows]
