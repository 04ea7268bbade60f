"""Tables in text: cells separated by commas, tabs, semicolons, bars or white space."""

import csv
import io
import itertools
import re
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from kfp_vision.components.data_import.readers.tables import (
    HEAD_ROWS,
    Rows,
    Table,
    TableError,
    names_an_image,
    number_columns,
)
from kfp_vision.components.data_import.readers.text import TextFile

__all__ = ["find_separator", "open_delimited"]

# In the order of preference; white space only where a line has none of them.
_SEPARATORS = (",", "\t", ";", "|")
# Of spreadsheets where the comma is the decimal one.
_OF_SPREADSHEETS = (";", "\t")
# Python's own limit of 131,072 characters a cell stops at a long list or comment.
_MAX_CELL = 2**31 - 1


def open_delimited(file: TextFile) -> Table:
    """Opens a CSV or TSV file, with or without a header.

    Raises:
        TableError: It is empty.
    """
    csv.field_size_limit(_MAX_CELL)
    separator = find_separator(file.head)
    head = list(itertools.islice(_lines(file.head, separator), HEAD_ROWS + 1))
    has_header = bool(head) and not any(map(names_an_image, head[0]))
    first = head[1:] if has_header else head[:HEAD_ROWS]
    if not first:
        raise TableError(f"A table must have rows. Received: {file.name}, which has none.")
    columns = [cell.strip() for cell in head[0]] if has_header else number_columns(len(head[0]))
    if len(columns) > 1 and all(len(cells) == 1 for cells in first):
        raise TableError(
            f"Header and rows must have the same separator. Received: {file.name} with the columns "
            f"{columns[:20]}, and the one cell {first[0][0][:99]!r} in row 1."
        )

    def rows(_: Collection[str]) -> Rows:
        lines = _checked_lines(file, separator)
        for number, cells in enumerate(lines, start=0 if has_header else 1):
            if number:
                _check_length(cells, columns, separator, f"{file.name} row {number}")
                yield number, _record(columns, cells)

    sample = [_record(columns, cells) for cells in first]
    decimal_comma = separator in _OF_SPREADSHEETS
    return Table(file.name, columns, has_header, sample, rows, decimal_comma=decimal_comma)


def find_separator(text: str) -> str:
    """Returns what the first line is separated by, and the lines after it in the same number."""
    found = []
    for separator in _SEPARATORS:
        counts = [len(cells) for cells in itertools.islice(_lines(text, separator), 50)]
        if counts and counts[0] > 1:
            found.append((len(set(counts)) > 1, _SEPARATORS.index(separator), separator))
    return min(found)[-1] if found else " "


def _reader(text: str, separator: str, *, strict: bool) -> Any:
    r"""Returns a reader of lines that \n, \r\n or \r ends."""
    lines = io.StringIO(text, newline="")
    return csv.reader(lines, delimiter=separator, skipinitialspace=True, strict=strict)


def _lines(text: str, separator: str) -> Iterator[list[str]]:
    """Yields the cells of each line that is not blank."""
    reader = _reader(text, separator, strict=False)
    return (cells for cells in reader if any(cell.strip() for cell in cells))


def _checked_lines(file: TextFile, separator: str) -> Iterator[list[str]]:
    """Yields the same of all of a file, and refuses quotes that would swallow lines."""
    # Blanks between a quote and what separates cells are no part of the cell.
    text = re.sub(rf'" +(?=[{re.escape(separator)}\r\n]|$)', '"', file.read())
    reader, line = _reader(text, separator, strict=True), 0
    try:
        for cells in reader:
            line = reader.line_num
            if any(cell.strip() for cell in cells):
                yield cells
    except csv.Error as error:
        raise TableError(
            f"A cell in quotes must end with a quote. Received: {file.name}, line {line + 1}: "
            f"{error}. Double the quotes within cells."
        ) from error


def _record(columns: Sequence[str], cells: Sequence[str]) -> dict[str, str | None]:
    return dict(itertools.zip_longest(columns, cells[: len(columns)]))


def _check_length(cells: Sequence[str], columns: list[str], separator: str, where: str) -> None:
    """Refuses a row with more cells than columns: an unquoted separator has cut one in two."""
    if any(cell.strip() for cell in cells[len(columns) :]):
        raise TableError(
            f"A row must not have more cells than there are columns. Received: {where} with the "
            f"{len(cells)} cells {list(cells)} for the {len(columns)} columns {columns}. Put cells "
            f"that hold a {separator!r} in double quotes; join several labels by `|`."
        )
