"""Tables in JSON: a record a line, a list of records, or one object of path -> label."""

import io
import itertools
import json
from collections.abc import Callable, Collection, Iterable, Iterator
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

__all__ = ["open_json", "open_json_lines"]

_RULE = (
    'A JSON table must have records like {"path": "1.png", "label": "cat"}, one a line or a list'
)
# Annotations of other tasks are objects of hundreds of megabytes, which are not read to see that.
_MAX_OBJECT = 64 * 2**20


def open_json_lines(file: TextFile) -> Table:
    """Opens a JSON Lines file: an object, or a list of cells, a line.

    Raises:
        TableError: It is empty, or one of its first lines is no record.
    """
    return _table(file.name, _parse(file.head, file.name), lambda: _parse(file.read(), file.name))


def open_json(file: TextFile) -> Table:
    """Opens a JSON file: a list of records, one object of path -> label, or JSON Lines.

    Raises:
        TableError: It is none of them.
    """
    first_line = file.head.strip().partition("\n")[0]
    if first_line.startswith("{") and _is_json(first_line) and not _is_json(file.head):
        return open_json_lines(file)
    if first_line.startswith("{") and file.size > _MAX_OBJECT:
        raise TableError(f"{_RULE}. Received: {file.name}, one object of {file.size} bytes")
    try:
        content = json.loads(file.read())
    except json.JSONDecodeError as error:
        raise TableError(f"{_RULE}. Received: {file.name}, which is broken: {error}") from error
    if isinstance(content, dict):
        if not content or not all(map(names_an_image, content)):
            keys = list(content)[:5]
            raise TableError(f"{_RULE}. Received: {file.name}, an object with the keys {keys}")
        content = [{"path": path, "label": label} for path, label in content.items()]
    if not isinstance(content, list):
        raise TableError(f"{_RULE}. Received: {file.name} with {str(content)[:99]}")
    return _table(file.name, content, lambda: content)


def _table(name: str, head: Iterable[Any], read: Callable[[], Iterable[Any]]) -> Table:
    first = list(itertools.islice(head, HEAD_ROWS))
    is_object = bool(first) and isinstance(first[0], dict)
    if is_object:
        columns = list(dict.fromkeys(key for row in first if isinstance(row, dict) for key in row))
    else:
        columns = number_columns(max((len(r) for r in first if isinstance(r, list)), default=0))

    def records(rows: Iterable[Any]) -> Rows:
        for number, row in enumerate(rows, start=1):
            if isinstance(row, dict) and is_object:
                yield number, row
            elif isinstance(row, list) and not is_object:
                yield number, dict(zip(columns, row, strict=False))
            else:
                raise TableError(f"{_RULE}. Received: {name} row {number}: {str(row)[:99]}")

    def rows(_: Collection[str]) -> Rows:
        return records(read())

    if not first:
        raise TableError(f"A table must have rows. Received: {name}, which has none.")
    return Table(name, columns, is_object, [row for _, row in records(first)], rows)


def _parse(text: str, name: str) -> Iterator[Any]:
    lines = (line for line in io.StringIO(text, newline="") if line.strip())
    for number, line in enumerate(lines, start=1):
        try:
            yield json.loads(line)
        except json.JSONDecodeError as error:
            raise TableError(
                f"Each line must be a JSON object. Received: {name} row {number}: "
                f"{line.strip()[:99]} ({error})"
            ) from error


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except json.JSONDecodeError:
        return False
    return True
