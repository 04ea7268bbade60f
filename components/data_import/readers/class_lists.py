"""Files that name the classes of masks: one name a line, or a table with colours or numbers."""

import collections
import csv
import dataclasses
import io
from collections.abc import Collection, Iterable, Mapping, Sequence

from kfp_vision.components.data_import.readers.delimited import find_separator

__all__ = ["ClassList", "find_class_list", "read_class_list"]

_NAMES = ("classes.txt", "classes.csv", "class_dict.csv", "labelmap.txt", "labels.txt")
# A value more is what says that nothing is known.
_MOST = 255
# Names of what is not known.
_UNKNOWN = frozenset({"void", "unlabelled", "unlabeled", "ignore", "ignored"})


@dataclasses.dataclass(frozen=True)
class ClassList:
    """The classes of a source.

    Attributes:
        names: In the order of their labels.
        positions: Value of a pixel -> label.
        colours: Red, green and blue of a pixel -> label; none where masks hold values.

    The label 255 stands for nothing known.
    """

    names: tuple[str, ...]
    positions: Mapping[int, int]
    colours: Mapping[tuple[int, int, int], int] = dataclasses.field(default_factory=dict)


def find_class_list(files: Collection[str]) -> str | None:
    """Returns the file at the root that names the classes; None for none."""
    found = {path.lower(): path for path in files if "/" not in path}
    return next((found[name] for name in _NAMES if name in found), None)


def read_class_list(text: str, source: str) -> ClassList:
    r"""Returns the classes of a file.

    Known are a name a line; a table as of `open_delimited` with the columns `name` and, of each
    class, `id` or `r`, `g`, `b`; and `name:r,g,b::` a line. Lines may end in `\r\n`.

    Args:
        text: Of the file.
        source: Its name.

    Raises:
        ValueError: It names no class, one twice, or too many.
    """
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    if source.lower().endswith(".csv"):
        classes = _read_table(lines, source)
    elif lines and all(_is_coloured(line) for line in lines):
        rows = [line.split(":")[:2] for line in lines]
        colours = [(name, _colour(each.split(","), source)) for name, each in rows]
        classes = _with_colours(colours, source)
    else:
        classes = ClassList(tuple(lines), {label: label for label in range(len(lines))})
    names = classes.names
    if not names or len(set(names)) < len(names) or len(names) > _MOST:
        raise ValueError(
            f"{source} must name each class once, at most {_MOST} of them. Received: "
            f"{len(names)} names, {len(set(names))} of them different."
        )
    return classes


def _is_coloured(line: str) -> bool:
    parts = line.split(":")
    return len(parts) >= 2 and len(parts[1].split(",")) == 3


def _read_table(lines: list[str], source: str) -> ClassList:
    text = "\n".join(lines)
    cells = [*csv.DictReader(io.StringIO(text), restkey="", delimiter=find_separator(text))]
    # A separator at the end of a line is one cell more than the header has.
    for row in cells:
        more = row.pop("", None) or []
        if any(cell.strip() for cell in more):
            raise ValueError(
                f"A row of {source} must have the cells of its header: {', '.join(row)}. Received: "
                f"{', '.join([*row.values(), *more])}"
            )
    rows = [
        {name.strip().lower(): (value or "").strip() for name, value in each.items()}
        for each in cells
    ]
    columns = set(rows[0]) if rows else set()
    if "name" not in columns or not ({"id"} <= columns or {"r", "g", "b"} <= columns):
        raise ValueError(
            f"{source} must have the columns `name` and `id`, or `name`, `r`, `g` and `b`. "
            f"Received: {sorted(columns)}"
        )
    if "id" not in columns:
        return _with_colours(
            [(row["name"], _colour([row[each] for each in "rgb"], source)) for row in rows], source
        )
    numbered = [(row["name"], _number(row["id"], source)) for row in rows]
    _check_once([number for _, number in numbered], source)
    names, labels = _known(name for name, _ in numbered)
    return ClassList(names, {number: labels.get(name, _MOST) for name, number in numbered})


def _colour(parts: list[str], source: str) -> tuple[int, int, int]:
    red, green, blue = (_number(part, source) for part in parts)
    return red, green, blue


def _number(text: str, source: str) -> int:
    if not text.strip().isdecimal() or int(text) > _MOST:
        raise ValueError(
            f"The numbers of {source} must be whole ones from 0 to {_MOST}. Received: {text!r}"
        )
    return int(text)


def _check_once(values: Sequence[object], source: str) -> None:
    twice = [value for value, count in collections.Counter(values).items() if count > 1]
    if twice:
        raise ValueError(
            f"{source} must give each class a number or colour of its own. Received more than "
            f"once: {twice[:5]}"
        )


def _known(names: Iterable[str]) -> tuple[tuple[str, ...], dict[str, int]]:
    """Returns the names but those that say that nothing is known, and their labels."""
    known = tuple(name for name in names if name.lower() not in _UNKNOWN)
    return known, {name: label for label, name in enumerate(known)}


def _with_colours(rows: list[tuple[str, tuple[int, int, int]]], source: str) -> ClassList:
    """Returns coloured classes."""
    _check_once([colour for _, colour in rows], source)
    names, labels = _known(name for name, _ in rows)
    colours = {colour: labels.get(name, _MOST) for name, colour in rows}
    return ClassList(names, {label: label for label in range(len(names))}, colours)
