"""The rows of a manifest: path, labels and split of each, as they are written."""

from collections.abc import Mapping

from kfp_vision.components.data_import.classes import label_text
from kfp_vision.components.data_import.readers.find_tables import Manifest
from kfp_vision.components.data_import.readers.table_labels import (
    as_list,
    check_no_flags,
    find_separator,
    flagged_columns,
    read_cell,
    split_cell,
)
from kfp_vision.components.data_import.readers.table_paths import Row

__all__ = ["NO_LABEL", "holds_lists", "read_rows"]

# Of a row whose cell of labels is empty; () is a row that says that it is of no class.
NO_LABEL = ("",)


def read_rows(manifest: Manifest, split: str | None) -> tuple[list[Row], list[str]]:
    """Returns the rows of a manifest, and notes.

    Args:
        manifest: A table whose columns are understood.
        split: Of the rows that do not tell theirs.

    Raises:
        ValueError: A cell cannot be read; the message names file and row.
    """
    table, columns = manifest.table, manifest.columns
    cells: list[str | tuple[str, ...]] = []
    numbers, paths, splits = [], [], []
    check_no_flags(table, columns)
    for number, row in table.rows(columns.used):
        where = f"{table.name} row {number}"
        numbers.append(number)
        paths.append(label_text(row.get(columns.path)) if columns.path else "")
        if len(columns.labels) > 1:
            flagged = flagged_columns(row, columns.labels, where)
            cells.append(NO_LABEL if flagged is None else flagged)
        else:
            value, [column] = row.get(columns.labels[0]), columns.labels
            cells.append(read_cell(value, table.class_names.get(column, []), where))
        stated = _split(row.get(columns.split), columns.split_of, where) if columns.split else None
        splits.append(stated or split)
    texts = {cell for cell in cells if isinstance(cell, str)}
    separator = find_separator(texts, columns, table)
    labels_of = {text: split_cell(text, separator) or NO_LABEL for text in texts}
    labels = [labels_of[cell] if isinstance(cell, str) else cell for cell in cells]
    notes = list(columns.notes)
    if separator and not (separator == "|" and columns.has_many):
        notes.append(f"{table.name}: {separator!r} separates the labels of one image.")
    rows = [Row(*row) for row in zip(numbers, paths, labels, splits, strict=True)]
    return rows, notes


def holds_lists(manifest: Manifest) -> bool:
    """Returns whether labels are lists: there an empty list says that an image is of no class."""
    [column, *_] = manifest.columns.labels
    cells = [row.get(column) for row in manifest.table.head]
    return any(isinstance(as_list(cell, manifest.table.name), list | tuple) for cell in cells)


def _split(value: object, split_of: Mapping[str, str], where: str) -> str | None:
    stated = label_text(value).lower()
    if stated == "nan":  # As text too, where a program has joined tables.
        return None
    if stated and stated not in split_of:
        raise ValueError(
            f"`split` must be one of {sorted(split_of)}. Received: {stated!r} in {where}"
        )
    return split_of.get(stated)
