"""Which files of a source are tables of its images, and why the others are not."""

import dataclasses
import re
from collections.abc import Callable, Sequence

from kfp_vision.components.data_import.readers.columns import (
    Columns,
    NoManifestError,
    find_columns,
)
from kfp_vision.components.data_import.readers.delimited import open_delimited
from kfp_vision.components.data_import.readers.file_index import FileIndex
from kfp_vision.components.data_import.readers.json_tables import open_json, open_json_lines
from kfp_vision.components.data_import.readers.parquet import open_parquet
from kfp_vision.components.data_import.readers.table_paths import Row, resolve_paths
from kfp_vision.components.data_import.readers.tables import Table, TableError
from kfp_vision.components.data_import.readers.text import TextFile
from kfp_vision.components.data_import.split_names import is_part, name_splits, split_of
from kfp_vision.components.shared.datasets.image_files import file_kind
from kfp_vision.components.shared.runtime.storage import Folder

__all__ = [
    "MANIFEST_SUFFIXES",
    "Found",
    "Manifest",
    "find_tables",
    "leads_to_files",
    "missing_shards",
    "open_manifest",
    "open_table",
    "table_names",
    "table_stem",
]

_TEXT_OPENERS: dict[str, Callable[[TextFile], Table]] = {
    ".csv": open_delimited,
    ".tsv": open_delimited,
    ".jsonl": open_json_lines,
    ".ndjson": open_json_lines,
    ".json": open_json,
}
_PACKED = ".gz"
MANIFEST_SUFFIXES = (
    *(f"{suffix}{packed}" for packed in ("", _PACKED) for suffix in _TEXT_OPENERS),
    ".parquet",
)
# More are annotations, one for each image: opening all to see that would take long.
_MAX_TABLES = 200
# Files whose reason is said.
_MOST_NOTES = 3
# train-00000-of-00004.parquet, as Hugging Face, TFDS and Spark divide tables.
# 0000.parquet and part-00000-0a1b.snappy.parquet, as Hugging Face converts and Spark writes them.
_PART = re.compile(r"(part[-_.])?\d+([-_.].*)?\.parquet", re.IGNORECASE)
_SHARD = re.compile(r"(.*?)[-_.]?(\d+)[-_]of[-_](\d+)(?:[-_.][0-9a-f]+)?\.\w+")


@dataclasses.dataclass(frozen=True)
class Manifest:
    """A table of images whose columns are understood."""

    table: Table
    columns: Columns


@dataclasses.dataclass(frozen=True)
class Found:
    """The tables of a source.

    Attributes:
        manifests: Those of images and labels.
        lacking: Why tables that name images give no labels.
        notes: Why tables are no manifests.
    """

    manifests: list[Manifest]
    lacking: list[str]
    notes: list[str]


def find_tables(folder: Folder, index: FileIndex) -> Found:
    """Returns the tables of a folder: beside the images, or in `data/` and the split folders.

    Raises:
        ValueError: A table of images may be meant in several ways.
    """
    notes: list[str] = []
    for names in table_names(folder):
        manifests, lacking = [], []
        for name in names:
            try:
                manifests.append(open_manifest(folder, name, index, is_named=False))
            except NoManifestError as error:
                if error.lacks_label:
                    lacking.append(str(error))
                notes.append(f"{name} is not used: {error}")
            except TableError as error:
                notes.append(f"{name} is not used: {error}")
        if manifests or lacking:
            return Found(manifests, lacking, _shorten(notes))
    return Found([], [], _shorten(notes))


def _shorten(notes: list[str]) -> list[str]:
    """Returns the first notes and how many there are beyond: a folder may hold one an image."""
    more = len(notes) - _MOST_NOTES
    return [*notes[:_MOST_NOTES], f"{more:,} more files are not used."] if more > 0 else notes


def open_manifest(folder: Folder, name: str, index: FileIndex, *, is_named: bool) -> Manifest:
    """Opens a table of images and understands its columns.

    Args:
        folder: The data root.
        name: The path of the table.
        index: Of the data root.
        is_named: Whether the user has named the table: then it cannot be something else.

    Raises:
        TableError: It is no table, or damaged.
        NoManifestError: It says nothing of images and their classes.
    """
    table, split = open_table(folder, name), split_of(table_stem(name))

    def may_guess(path: str) -> bool:
        if is_named or not (path or split is None):
            return True
        files = _first_files(table, path, index) if path else index.images
        return bool(files) and not _are_in_class_folders(files)

    def found_files(column: str) -> bool:
        return leads_to_files(table, column, index)

    return Manifest(table, find_columns(table, found_files, may_guess))


def open_table(folder: Folder, name: str) -> Table:
    """Opens a table of any kind.

    Raises:
        TableError: It is no table, or damaged.
    """
    unpacked = _unpacked(name).lower()
    if unpacked.endswith(".parquet"):
        return open_parquet(folder, name)
    suffix = next(suffix for suffix in _TEXT_OPENERS if unpacked.endswith(suffix))
    return _TEXT_OPENERS[suffix](TextFile(folder, name))


def leads_to_files(table: Table, column: str, index: FileIndex) -> bool:
    """Returns whether the first cells of a column lead to files."""
    try:
        return bool(_first_files(table, column, index))
    except ValueError:  # Files are found in several ways; the reader reports that.
        return True


def _first_files(table: Table, column: str, index: FileIndex) -> list[str]:
    """Returns the files that the first cells of a column lead to."""
    split = split_of(table_stem(table.name))
    cells = [(number, row.get(column)) for number, row in enumerate(table.head, 1)]
    texts = [(number, str(cell).strip()) for number, cell in cells if cell is not None]
    rows = [Row(number, text, (), split) for number, text in texts if text]
    return [path for path in resolve_paths(table.name, rows, index).paths if index.find(path)]


def table_stem(name: str) -> str:
    """Returns what a table is called after: `train` of data/train-00000-of-00004.parquet.

    Parts that are called after nothing but numbers have the empty name.
    """
    name = _unpacked(name.rpartition("/")[2])
    if _PART.fullmatch(name):
        return ""
    shard = _SHARD.fullmatch(name)
    return shard[1] if shard else name.rpartition(".")[0]


def _unpacked(name: str) -> str:
    """Returns the name of a file without the suffix of gzip."""
    return name[: -len(_PACKED)] if name.lower().endswith(_PACKED) else name


def missing_shards(names: Sequence[str]) -> list[str]:
    """Returns the shards that the names of others say there must be."""
    shards = [shard for name in names if (shard := _SHARD.fullmatch(name))]
    groups: dict[tuple[str, str], set[int]] = {}
    for shard in shards:
        groups.setdefault((shard[1], shard[3]), set()).add(int(shard[2]))
    return [
        f"{stem}-{number:05d}-of-{total}"
        for (stem, total), found in groups.items()
        for number in range(int(total))
        if number not in found
    ][:10]


def _are_in_class_folders(paths: list[str]) -> bool:
    """Returns whether images are in several folders that are neither splits nor numbered parts."""
    parts = [path.split("/")[:-1] for path in paths]
    names = {name for folders in parts for name in folders}
    no_class = {*name_splits(names), *filter(is_part, names)}
    return len({tuple(name for name in folders if name not in no_class) for folders in parts}) > 1


def table_names(folder: Folder) -> tuple[list[str], list[str]]:
    """Returns the tables beside the images, and those in `data/` and in split folders."""
    return _names_in(folder, ""), _names_below(folder)


def _names_in(folder: Folder, below: str) -> list[str]:
    prefix = f"{below}/" if below else ""
    files = folder.list_entries(below)[1]
    tables = [name for name in files if name.lower().endswith(MANIFEST_SUFFIXES)]
    visible = [name for name in tables if file_kind(name) != "hidden"]
    by_suffix = [
        [f"{prefix}{name}" for name in visible if name.lower().endswith(suffix)]
        for suffix in MANIFEST_SUFFIXES
    ]
    return [name for names in by_suffix if len(names) <= _MAX_TABLES for name in names]


def _names_below(folder: Folder) -> list[str]:
    """Returns the tables in `data/` and in split folders."""
    folders = folder.list_entries()[0]
    below = [*(["data"] if "data" in folders else []), *name_splits(folders)]
    return [name for each in below for name in _names_in(folder, each)]
