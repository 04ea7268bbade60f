"""From the cells of a table to the labels of its images, as they are written."""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from kfp_vision.components.data_import.classes import label_text
from kfp_vision.components.data_import.readers.columns import FLAGS, Columns
from kfp_vision.components.data_import.readers.tables import Table, TableError

__all__ = [
    "as_list",
    "check_no_flags",
    "find_separator",
    "flagged_columns",
    "read_cell",
    "split_cell",
]

_BAR = "|"


def check_no_flags(table: Table, columns: Columns) -> None:
    """Refuses lists of 0 and 1 that are as long as there are classes.

    As a list of the classes 0 and 1 each would say that the image has both.

    Raises:
        TableError: The first cells of labels are such lists.
    """
    cells = [row.get(columns.labels[0]) for row in table.head] if len(columns.labels) == 1 else []
    lists = [as_list(cell, table.name) for cell in cells if cell is not None]
    lengths = {len(each) if isinstance(each, list | tuple) else 0 for each in lists}
    if len(lengths) != 1 or max(lengths) < 2:
        return
    if all(item in (0, 1) for each in lists for item in each):
        raise TableError(
            f"A list of labels must hold the classes of an image. Received: {lists[0]} in column "
            f"{columns.labels[0]!r} of {table.name}, and nothing but lists of {max(lengths)} times "
            "0 or 1. Write the classes themselves, or one column of 0 and 1 for each class."
        )


def as_list(value: Any, where: str) -> Any:
    """Returns a cell, which becomes a list where its text is one."""
    if isinstance(value, str) and value.strip().startswith("[") and value.strip().endswith("]"):
        return _parse_list(value, where)
    return value


def read_cell(value: Any, class_names: Sequence[str], where: str) -> str | tuple[str, ...]:
    """Returns the text of a cell of labels, or the different texts of a list, sorted.

    Args:
        value: A cell of any table.
        class_names: What numbers stand for; empty where the table does not say.
        where: File and row, for messages.

    Raises:
        TableError: It is an object, or a number that stands for nothing.
    """
    value = as_list(value, where)
    if isinstance(value, list | tuple):
        texts = {_text(item, class_names, where) for item in value}
        # A list of None is an image without a label; an empty list is an image of no class.
        return tuple(sorted(texts - {""})) if texts != {""} else ""
    return _text(value, class_names, where)


def _text(value: Any, class_names: Sequence[str], where: str) -> str:
    if isinstance(value, dict | list | tuple):
        raise TableError(f"A label must be text or a number. Received: {where}: {str(value)[:99]}")
    text = label_text(value)
    if not class_names or not text or isinstance(value, str):
        return text
    number = int(value)
    if number != value or number >= len(class_names):
        raise TableError(
            f"A label must be one of the {len(class_names)} classes that the file names. "
            f"Received: {where}: {value}"
        )
    # Hugging Face writes -1 for the label of an image that has none.
    return class_names[number] if number >= 0 else ""


def _parse_list(text: str, where: str) -> list[Any]:
    """Returns the list that pandas writes as text: ['cat', 'dog']."""
    for candidate in (text, text.replace("'", '"')):
        try:
            return list(json.loads(candidate))
        except json.JSONDecodeError:
            continue
    raise TableError(
        f"A list of labels must be JSON. Received: {where}: {text[:99]}. Join the labels by `|`."
    )


def find_separator(texts: Collection[str], columns: Columns, table: Table) -> str:
    """Returns what separates the labels of one cell; empty where each cell is one label.

    A bar always does. In a column that speaks of several, a comma or semicolon does where the
    parts are combined in different ways; where they are not, the cell may be one name.

    Args:
        texts: The different cells of the column.
        columns: Of the table.
        table: For messages.

    Raises:
        ValueError: It cannot be told whether cells are one label or several.
    """
    if any(_BAR in text for text in texts):
        return _BAR
    for separator in (";", ",") if columns.has_many else ():
        several = sorted(text for text in texts if separator in text)
        if not several:
            continue
        cells_of: dict[str, set[str]] = {}
        for text in texts:
            for part in split_cell(text, separator):
                cells_of.setdefault(part, set()).add(text)
        if any(len(cells) > 1 for cells in cells_of.values()):
            return separator
        raise ValueError(_unclear(several[0], columns, table))
    words = {word for text in texts for word in text.split()}
    several = sorted(text for text in texts if len(text.split()) > 1)
    if columns.has_many and several and len(words) < len(texts):
        raise ValueError(_unclear(several[0], columns, table))
    return ""


def _unclear(text: str, columns: Columns, table: Table) -> str:
    return (
        f"It must be clear what separates labels. Received: {text!r} in column "
        f"{columns.labels[0]!r} of {table.name}. Join several labels by `|`; for one label with "
        "such a name call the column `label`."
    )


def split_cell(text: str, separator: str) -> tuple[str, ...]:
    """Returns the labels of a cell, sorted, each once."""
    parts = text.split(separator) if separator else [text]
    return tuple(sorted({part.strip() for part in parts} - {""}))


def flagged_columns(
    row: Mapping[str, Any], columns: Sequence[str], where: str
) -> tuple[str, ...] | None:
    """Returns the classes whose columns hold 1, None where a cell is empty.

    Raises:
        TableError: A cell is neither 0 nor 1.
    """
    texts = {name: label_text(row.get(name)).lower() for name in columns}
    wrong = [name for name, text in texts.items() if text and text not in FLAGS]
    if wrong:
        raise TableError(
            "Columns of one class each must hold 0 or 1. Received: "
            f"{texts[wrong[0]]!r} in column {wrong[0]!r} of {where}. Call the column of classes "
            "`label`, or remove what is no class."
        )
    if "" in texts.values():
        return None
    return tuple(name for name, text in texts.items() if FLAGS[text])
