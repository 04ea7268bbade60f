"""A table with a row for each box: CSV and its kin, JSON, Parquet.

`path,xmin,ymin,xmax,ymax,label`, or left, top, width and height, or one column `bbox` of these, as
pixels or as shares of the image. A row without a box is an image of background. Between semicolons
or tabs `0,5` is 0.5.
"""

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from kfp_vision.components.data_import.classes import (
    class_names,
    compare_names,
    label_text,
    sort_classes,
)
from kfp_vision.components.data_import.objects.annotations import AnnotatedImage, Annotation
from kfp_vision.components.data_import.objects.corners import suspect_corners
from kfp_vision.components.data_import.objects.listing import ObjectSource, list_objects
from kfp_vision.components.data_import.readers.annotation_files import unlisted_note
from kfp_vision.components.data_import.readers.columns import (
    LABEL_COLUMNS,
    find_path,
    find_split,
    ranked,
)
from kfp_vision.components.data_import.readers.file_index import FileIndex
from kfp_vision.components.data_import.readers.find_tables import (
    leads_to_files,
    open_table,
    table_names,
)
from kfp_vision.components.data_import.readers.table_labels import as_list
from kfp_vision.components.data_import.readers.table_paths import Row, resolve_paths
from kfp_vision.components.data_import.readers.table_splits import (
    choose_tables,
    split_of_table,
    splits_of_folders,
)
from kfp_vision.components.data_import.readers.tables import Table, TableError
from kfp_vision.components.data_import.samples import SPLIT_NAMES, Listing
from kfp_vision.components.shared.runtime.storage import Folder

__all__ = ["find_box_tables", "holds_boxes", "read_box_tables"]

_LEFT = ("xmin", "x1", "left", "bboxxmin", "bboxx1", "boxxmin", "bboxleft")
_TOP = ("ymin", "y1", "top", "bboxymin", "bboxy1", "boxymin", "bboxtop")
_RIGHT = ("xmax", "x2", "right", "bboxxmax", "bboxx2", "boxxmax", "bboxright")
_BOTTOM = ("ymax", "y2", "bottom", "bboxymax", "bboxy2", "boxymax", "bboxbottom")
_X, _Y = (*_LEFT, "x", "bboxx", "boxx"), (*_TOP, "y", "bboxy", "boxy")
_WIDTH = ("w", "bboxw", "boxw", "bboxwidth", "boxwidth", "width")
_HEIGHT = ("h", "bboxh", "boxh", "bboxheight", "boxheight", "height")
_BOX = ("bbox", "bboxes", "box", "boundingbox")
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+")
# Of an image, beside corners.
_SIZES = (("width", "imagewidth", "imgwidth"), ("height", "imageheight", "imgheight"))
# Beside class names their numbers are not used.
_CLASSES = (
    *(*LABEL_COLUMNS, "labels", "classes", "categories", "cls"),
    *("classid", "labelid", "categoryid", "clsid", "classindex", "classidx"),
)
_ONE_CLASS = "object"
# Above it are pixels: right and bottom are below even where corners are taken for sizes.
_LARGEST_SHARE = 2.0


@dataclasses.dataclass(frozen=True)
class _Columns:
    """What the columns of a table of boxes mean.

    Attributes:
        path: Of paths.
        box: Four columns, or one with all four numbers.
        has_corners: Whether the last two numbers are right and bottom, not width and height.
        label: Empty for objects of one class.
        split: Empty for none.
        size: Height and width of the image; empty for none.
    """

    path: str
    box: tuple[str, ...]
    has_corners: bool
    label: str
    split: str
    size: tuple[str, ...]

    @property
    def used(self) -> list[str]:
        return [each for each in (self.path, *self.box, self.label, self.split, *self.size) if each]


def find_box_tables(folder: Folder, index: FileIndex) -> list[str]:
    """Returns the tables beside the images, in `data/` or in split folders, that hold boxes."""
    for names in table_names(folder):
        if found := [name for name in names if holds_boxes(folder, name, index)]:
            return found
    return []


def holds_boxes(folder: Folder, name: str, index: FileIndex) -> bool:
    """Returns whether a file is a table of boxes."""
    try:
        return _understand(open_table(folder, name), index) is not None
    except TableError:
        return False


def read_box_tables(folder: Folder, name: str = "") -> Listing:
    """Lists the images that one table of boxes, or one for each split, names.

    Raises:
        ValueError: There is no such table, a row cannot be read, or paths lead nowhere.
    """
    index = FileIndex(folder)
    names = [name] if name else find_box_tables(folder, index)
    if not names:
        raise ValueError(
            "A table of boxes must have columns of paths, of the box (xmin, ymin, xmax, ymax) and "
            f"of its class. Received: none in {folder.uri!r}."
        )
    notes: list[str] = []
    if name:
        splits = {name: "train" if split_of_table(name) == "train" else None}
    else:
        splits, notes = choose_tables(names)
    rows: list[_BoxRow] = []
    understood: dict[str, _Columns] = {}
    for table_name, split in splits.items():
        table = open_table(folder, table_name)
        columns = _understand(table, index)
        if columns is None:
            raise ValueError(
                "A table of boxes must have columns of paths that exist, of the box (xmin, ymin, "
                f"xmax, ymax) and of its class. Received: {table_name} with the columns "
                f"{table.shown_columns}."
            )
        notes += _describe(table, columns)
        understood[table_name] = columns
        rows += _read(table, columns, split, index, notes)
    named = class_names({row.label for row in rows if row.box})
    classes = sort_classes(named.values())
    position = {label: classes.index(name) for label, name in named.items()}
    finite = [x for row in rows if row.box for x in row.box if math.isfinite(x)]
    is_relative = (
        bool(finite) and max(finite) <= _LARGEST_SHARE and any(not x.is_integer() for x in finite)
    )
    notes += ["Boxes are shares of their image."] if is_relative else []
    images: dict[tuple[str, str | None], AnnotatedImage] = {}
    for row in rows:
        image = images.setdefault(
            (row.path, row.split),
            AnnotatedImage(
                row.path, row.split, size=None if is_relative else row.size, is_relative=is_relative
            ),
        )
        if row.box:
            image.annotations.append(Annotation(position.get(row.label, -1), row.box))
    _refuse_corners(folder, understood, images.values())
    used = {index.listed(path) for path, _ in images}
    notes += [*compare_names(classes), *unlisted_note(index.images, index.apart | used)]
    return list_objects(folder, ObjectSource([*images.values()], classes, notes))


@dataclasses.dataclass(frozen=True, slots=True)
class _BoxRow:
    path: str
    split: str | None
    label: str
    box: tuple[float, float, float, float] | None
    size: tuple[float, float] | None


def _understand(table: Table, index: FileIndex) -> _Columns | None:
    """Returns what the columns mean; None for a table without boxes or without images."""
    if not table.has_header:
        return _without_header(table)
    found = _find_box(table)
    if found is None:
        return None
    box, has_corners = found
    rest = [name for name in table.columns if name not in box]
    try:
        path = find_path(
            table, rest, lambda column: leads_to_files(table, column, index), lambda _: True
        )
    except ValueError:
        return None
    rest.remove(path)
    split = find_split(table, rest)
    label = next((name for name in ranked(rest, _CLASSES) if name != split), "")
    sizes = [next(iter(ranked(rest, names)), "") for names in _SIZES]
    size = tuple(sizes[::-1]) if all(sizes) else ()
    return _Columns(path, box, has_corners, label, split, size)


def _find_box(table: Table) -> tuple[tuple[str, ...], bool] | None:
    for names, has_corners in (
        ((_LEFT, _TOP, _RIGHT, _BOTTOM), True),
        ((_X, _Y, _WIDTH, _HEIGHT), False),
    ):
        columns = [next(iter(ranked(table.columns, each)), "") for each in names]
        if all(columns):
            return tuple(columns), has_corners
    for name in ranked(table.columns, _BOX):
        cells = [row.get(name) for row in table.head]
        if any(_numbers(cell) is not None for cell in cells):
            return (name,), False
    return None


def _without_header(table: Table) -> _Columns | None:
    """Path, four numbers and a class, as RetinaNet's tables are; a row of background is empty."""
    if len(table.columns) != 6:
        return None
    path, *box, label = table.columns
    texts = [[label_text(row.get(name)) for name in box] for row in table.head]
    has_numbers = any(all(each) for each in texts) and all(
        not cell or math.isfinite(_number(cell, table)) for each in texts for cell in each
    )
    return _Columns(path, tuple(box), True, label, "", ()) if has_numbers else None


def _read(
    table: Table, columns: _Columns, split: str | None, index: FileIndex, notes: list[str]
) -> list[_BoxRow]:
    rows, boxes, sizes = [], [], []
    for number, row in table.rows(columns.used):
        where = f"{table.name} row {number}"
        path = label_text(row.get(columns.path))
        if not path:
            raise TableError(f"A row must name an image. Received: {where} without a path.")
        label = label_text(row.get(columns.label)) if columns.label else _ONE_CLASS
        rows.append(Row(number, path, (label,), _row_split(row, columns, where) or split))
        boxes.append(_box(row, columns, table, where))
        size = tuple(_number(row.get(name), table) for name in columns.size)
        sizes.append((size[0], size[1]) if size and min(size) > 0 else None)
    resolved = resolve_paths(table.name, rows, index)
    if not resolved.found:
        raise ValueError(
            "Paths in a table of boxes must lead to files below its folder. Received: "
            f"{table.name}, whose {len(rows)} paths lead to none, for instance "
            f"{rows[0].path!r}{resolved.hint}."
        )
    splits, split_notes = splits_of_folders(table.name, rows, resolved)
    splits = splits or [row.split for row in rows]
    notes += [*resolved.notes, *split_notes]
    return [
        _BoxRow(path, split, row.labels[0], box, size)
        for row, path, split, box, size in zip(
            rows, resolved.paths, splits, boxes, sizes, strict=True
        )
    ]


def _refuse_corners(
    folder: Folder, tables: Mapping[str, _Columns], images: Iterable[AnnotatedImage]
) -> None:
    """Refuses columns called after sizes that hold corners."""
    if any(columns.has_corners for columns in tables.values()):
        return
    if suspicion := suspect_corners(folder, images):
        names = dict.fromkeys(name for columns in tables.values() for name in columns.box)
        raise ValueError(
            f"The columns {', '.join(names)} of a table of boxes must hold left, top, width and "
            f"height. Received: {', '.join(tables)}, where {suspicion}. Write them in columns "
            "called xmin, ymin, xmax, ymax."
        )


def _row_split(row: Mapping[str, Any], columns: _Columns, where: str) -> str | None:
    stated = label_text(row.get(columns.split)).lower() if columns.split else ""
    if stated and stated not in SPLIT_NAMES:
        raise ValueError(
            f"`split` must be one of {sorted(SPLIT_NAMES)}. Received: {stated!r} in {where}"
        )
    return SPLIT_NAMES.get(stated)


def _box(
    row: Mapping[str, Any], columns: _Columns, table: Table, where: str
) -> tuple[float, float, float, float] | None:
    """Returns left, top, right and bottom; None where all cells are empty."""
    cells = [row.get(name) for name in columns.box]
    if not any(map(label_text, cells)):
        return None
    numbers = _numbers(cells[0]) if len(cells) == 1 else [_number(cell, table) for cell in cells]
    if numbers is None:
        raise TableError(
            f"A box must be four numbers. Received: {label_text(cells[0])[:80]!r} in {where}."
        )
    left, top, third, fourth = numbers
    return (
        (left, top, third, fourth)
        if columns.has_corners
        else (left, top, left + third, top + fourth)
    )


def _numbers(cell: Any) -> list[float] | None:
    """Returns the four numbers of a cell such as `[834.0, 222.0, 56.0, 36.0]`."""
    values = as_list(cell, "") if isinstance(cell, str) else cell
    if isinstance(values, str):
        values = re.split(r"[\s,;]+", values.strip("()[] "))
    if not isinstance(values, list | tuple) or len(values) != 4:
        return None
    numbers = [*map(_number, values)]
    return None if all(map(math.isnan, numbers)) else numbers


def _number(cell: Any, table: Table | None = None) -> float:
    """Returns a number; NaN for what is none.

    Args:
        cell: Of a table, or one of several numbers in it.
        table: Says what a comma is; None where it separates numbers.
    """
    text = label_text(cell)
    if table is not None and _has_comma(text, table):
        text = text.replace(",", ".")
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan


def _has_comma(text: str, table: Table) -> bool:
    return table.decimal_comma and _DECIMAL_COMMA.fullmatch(text) is not None


def _describe(table: Table, columns: _Columns) -> list[str]:
    """Returns what was understood, and the columns that are not used."""
    kind = "left, top, right, bottom" if columns.has_corners else "left, top, width, height"
    label = f"class from column {columns.label!r}" if columns.label else "all of one class"
    notes = [
        f"{table.name}: images from column {columns.path!r}, boxes ({kind}) from "
        f"{', '.join(columns.box)}, {label}."
    ]
    numbers = [label_text(row.get(name)) for row in table.head for name in columns.box]
    if commas := [text for text in numbers if len(columns.box) > 1 and _has_comma(text, table)]:
        notes.append(f"{table.name}: {commas[0]!r} is read as a number with a decimal comma.")
    unused = [name for name in table.columns if name and name not in columns.used]
    if unused:
        advice = "" if columns.label else " If one holds the classes, rename it to `label`."
        notes.append(f"{table.name}: columns not used: {', '.join(unused[:20])}.{advice}")
    return notes
