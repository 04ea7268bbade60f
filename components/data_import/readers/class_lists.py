"""Files that name the classes of masks: one name a line, or a table with colours or numbers."""

import csv
import dataclasses
import io
from collections.abc import Collection, Mapping

__all__ = ["ClassList", "find_class_list", "read_class_list"]

_NAMES = ("classes.txt", "classes.csv", "class_dict.csv", "labelmap.txt", "labels.txt")
# A value more is what says that nothing is known.
_MOST = 255


@dataclasses.dataclass(frozen=True)
class ClassList:
    """The classes of a source.

    Attributes:
        names: In the order of their labels.
        positions: Value of a pixel -> label.
        colours: Red, green and blue of a pixel -> label; none where masks hold values. 255 is a
            colour that stands for nothing known.
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

    Known are a name a line; a CSV with a header of `name` and, of each class, `id` or `r`, `g`,
    `b`; and `name:r,g,b::` a line. Lines may end in `\r\n`.

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
        classes = _with_colours([(name, _colour(each.split(","), source)) for name, each in rows])
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
    rows = [
        {(name or "").strip().lower(): (value or "").strip() for name, value in row.items()}
        for row in csv.DictReader(io.StringIO("\n".join(lines)))
    ]
    columns = set(rows[0]) if rows else set()
    if "name" not in columns or not ({"id"} <= columns or {"r", "g", "b"} <= columns):
        raise ValueError(
            f"{source} must have the columns `name` and `id`, or `name`, `r`, `g` and `b`. "
            f"Received: {sorted(columns)}"
        )
    if "id" in columns:
        numbers = [_number(row["id"], source) for row in rows]
        names = tuple(row["name"] for row in rows)
        return ClassList(names, {number: label for label, number in enumerate(numbers)})
    return _with_colours(
        [(row["name"], _colour([row[each] for each in "rgb"], source)) for row in rows]
    )


def _colour(parts: list[str], source: str) -> tuple[int, int, int]:
    red, green, blue = (_number(part, source) for part in parts)
    return red, green, blue


def _number(text: str, source: str) -> int:
    if not text.strip().isdecimal() or int(text) > _MOST:
        raise ValueError(
            f"The numbers of {source} must be whole ones from 0 to {_MOST}. Received: {text!r}"
        )
    return int(text)


def _with_colours(rows: list[tuple[str, tuple[int, int, int]]]) -> ClassList:
    """Returns coloured classes, without those whose name says that nothing is known."""
    unknown = {"void", "unlabelled", "unlabeled", "ignore", "ignored"}
    names = tuple(name for name, _ in rows if name.lower() not in unknown)
    labels = {name: label for label, name in enumerate(names)}
    colours = {colour: labels.get(name, _MOST) for name, colour in rows}
    return ClassList(names, {label: label for label in range(len(names))}, colours)
