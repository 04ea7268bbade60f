"""A table in a file: what its columns are called, its first rows, and a way to read all rows.

CSV and its kin are read in `delimited.py`, JSON in `json_tables.py`, Parquet in `parquet.py`.
"""

import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from kfp_vision.components.shared.datasets.image_files import file_kind

__all__ = ["HEAD_ROWS", "Rows", "Table", "TableError", "names_an_image", "number_columns"]

# Rows from which the meaning of the columns is understood.
HEAD_ROWS = 200
_SHOWN = 20

# Number of the row, counted from 1 without a header, and its cells by column.
Rows = Iterator[tuple[int, Mapping[str, Any]]]


class TableError(ValueError):
    """A file cannot be read as a table, or not to its end; the message names file and row."""


@dataclasses.dataclass(frozen=True)
class Table:
    """A table that is not read yet.

    Attributes:
        name: The file's path in the data root.
        columns: As they are called; `column 1`, `column 2`, ... without a header.
        has_header: Whether the file names the columns.
        head: The first rows, at most `HEAD_ROWS`, without embedded images.
        rows: Reads the given columns of all rows.
        class_names: Column -> names of its classes, where the file gives them for its numbers.
        image_columns: Columns that hold image files instead of their paths.
        images: Reads one of these: (bytes, path) of each row, one of them None.
        image_paths: Reads its paths alone, also those of images that are in the table.
        decimal_comma: Whether a comma in a number is a decimal one, because it separates no cells.
    """

    name: str
    columns: list[str]
    has_header: bool
    head: Sequence[Mapping[str, Any]]
    rows: Callable[[Collection[str]], Rows]
    class_names: Mapping[str, list[str]] = dataclasses.field(default_factory=dict)
    image_columns: tuple[str, ...] = ()
    images: Callable[[str], Iterator[tuple[bytes | None, str | None]]] | None = None
    image_paths: Callable[[str], set[str]] | None = None
    decimal_comma: bool = False

    @property
    def shown_columns(self) -> list[str]:
        """The first columns, for messages."""
        more = len(self.columns) - _SHOWN
        return [*self.columns[:_SHOWN], *([f"... and {more} more"] if more > 0 else [])]


def number_columns(count: int) -> list[str]:
    """Returns names for the columns of a table without a header."""
    return [f"column {number}" for number in range(1, count + 1)]


def names_an_image(cell: object) -> bool:
    """Returns whether a cell is the path of an image: then its row is no header."""
    return isinstance(cell, str) and file_kind(cell.strip().rpartition("/")[2]) == "image"
