"""CSV, JSONL and Parquet tables of `path`, `label` or `labels`, and optionally `split`.

One table, or one for each split (`train.csv`, `val.csv`, `test.csv`); paths are relative to it.
"""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

import pyarrow.parquet as pq

from kfp_vision.components.data_import.classes import check_are_classes
from kfp_vision.components.data_import.paths import reject_path
from kfp_vision.components.data_import.samples import (
    SPLIT_NAMES,
    Listing,
    Rejection,
    Sample,
    require_classes,
)
from kfp_vision.components.shared.storage import Folder

__all__ = ["MANIFEST_SUFFIXES", "find_manifests", "read_manifest"]

MANIFEST_SUFFIXES = (".csv", ".jsonl", ".parquet")
_SEPARATOR = "|"  # Between the labels of one image.
_HEADERLESS = ["path", "label"]
_RULE = (
    "A manifest must have a column `path` and a column `label` or `labels`; a CSV file without a "
    "header has paths of existing files in its first column and labels in its second."
)


def find_manifests(folder: Folder) -> list[str]:
    """Returns the tables beside the images that are manifests, sorted."""
    _, files = folder.list_entries()
    tables = [name for name in files if name.lower().endswith(MANIFEST_SUFFIXES)]
    return [name for name in tables if _columns(folder, name)[0]]


def read_manifest(folder: Folder, name: str = "") -> Listing:
    """Lists the images that one manifest, or one for each split, names.

    A path that is listed with two different labels is left out: nobody here knows which is right.

    Raises:
        ValueError: A manifest lacks columns, there are several that are not called after different
            splits, or the labels are not classes.
    """
    names = [name] if name else find_manifests(folder)
    splits = [SPLIT_NAMES.get(PurePosixPath(entry).stem.lower()) for entry in names]
    if not names:
        raise ValueError(f"{_RULE} Received: no such table in {folder.uri!r}")
    if len(names) > 1 and (None in splits or len(set(splits)) < len(splits)):
        raise ValueError(
            "Several manifests must be called after different splits (train, val, test). "
            f"Received: {names}. Give the URI of the one to use."
        )
    notes, rows = [], []
    for entry, split in zip(names, splits, strict=True):
        columns, has_header = _columns(folder, entry)
        if not columns:
            raise ValueError(f"{_RULE} Received: {folder.uri}/{entry}")
        if not has_header:
            notes.append(f"{entry} has no header: paths in the first column, labels in the second.")
        for number, row in enumerate(_rows(folder, entry, has_header), start=1):
            where = f"{entry} row {number}"
            rows.append(_sample(folder, row, where, split if len(names) > 1 else None))
    labels_of: dict[str, tuple[str, ...]] = {}
    conflicts = {
        row.path
        for row in rows
        if isinstance(row, Sample) and labels_of.setdefault(row.path, row.labels) != row.labels
    }
    classes = {label for labels in labels_of.values() for label in labels}
    require_classes(classes, folder.uri)
    check_are_classes(classes)

    def samples() -> Iterator[Sample | Rejection]:
        seen = set()
        for row in rows:
            if isinstance(row, Rejection):
                yield row
            elif row.path in conflicts:
                message = f"The path is listed with different labels, one of them {row.labels}."
                yield Rejection(row.path, "conflicting_labels", message)
            elif (row.path, row.split) in seen:
                yield Rejection(row.path, "duplicate_row", "The path is listed before.")
            else:
                seen.add((row.path, row.split))
                yield reject_path(folder, row.path) or row

    return Listing(samples(), len(rows), notes)


def _columns(folder: Folder, name: str) -> tuple[list[str], bool]:
    """Returns the columns of a manifest and whether it names them; no columns if it is none."""
    with folder.open(name) as file:
        if name.lower().endswith(".parquet"):
            columns = list(pq.ParquetFile(file).schema_arrow.names)
        else:
            line = _text(file.readline(), name).strip()
            if name.lower().endswith(".jsonl"):
                columns = list(_json_row(line, f"{name} row 1")) if line else []
            else:
                columns = _cells(line)
    if "path" in columns and {"label", "labels"} & set(columns):
        return columns, True
    is_headerless = name.lower().endswith(".csv") and len(columns) > 1 and columns[0]
    if is_headerless and not reject_path(folder, columns[0]) and folder.exists(columns[0]):
        return _HEADERLESS, False
    return [], False


def _rows(folder: Folder, name: str, has_header: bool) -> Iterator[Mapping[str, Any]]:
    if name.lower().endswith(".parquet"):
        with folder.open(name) as file:
            for batch in pq.ParquetFile(file).iter_batches():
                yield from batch.to_pylist()
        return
    text = io.StringIO(_text(folder.read(name), name), newline="")
    if name.lower().endswith(".jsonl"):
        for number, line in enumerate(text, start=1):
            if line.strip():
                yield _json_row(line, f"{name} row {number}")
    elif has_header:
        yield from csv.DictReader(text, skipinitialspace=True)
    else:
        for line in text:
            if line.strip():
                yield dict(zip(_HEADERLESS, _cells(line), strict=False))


def _cells(line: str) -> list[str]:
    """Returns the cells of a CSV line; without a comma they are separated by white space."""
    if "," not in line:
        return line.split()
    return next(csv.reader([line], skipinitialspace=True))


def _text(content: bytes, name: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"A manifest must be UTF-8 text. Received: {name} ({error})") from error


def _json_row(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"Each line must be a JSON object. Received: {where} ({error})") from error
    if not isinstance(row, dict):
        raise ValueError(f"Each line must be a JSON object. Received: {where}, {line.strip()!r}")
    return row


def _sample(
    folder: Folder, row: Mapping[str, Any], where: str, split: str | None
) -> Sample | Rejection:
    path = str(row.get("path") or "").strip().removeprefix("./")
    if not path:
        return Rejection(where, "no_path", "The row has no path.")
    stated = str(row.get("split") or "").strip().lower()
    if stated and stated not in SPLIT_NAMES:
        raise ValueError(
            f"`split` must be one of {sorted(SPLIT_NAMES)}. Received: {stated!r} in {where}"
        )
    split = SPLIT_NAMES.get(stated, split)
    if split == "unlabeled":
        return Sample(path, (), split, folder)
    if "labels" in row:
        value = row["labels"]
        names = value if isinstance(value, list) else str(value or "").split(_SEPARATOR)
        stripped = {str(label).strip() for label in names} - {""}
        return Sample(path, tuple(sorted(stripped)), split, folder)
    label = "" if row.get("label") is None else str(row["label"]).strip()
    if not label:
        return Rejection(path, "no_label", "The row has no label.")
    return Sample(path, (label,), split, folder)
