"""What the columns of a table mean: paths or images, labels, splits.

`path`, `label` or `labels`, and `split` are taken at their word. Other names are taken where what
is in the column agrees, and what was understood is told; nothing is guessed beside class folders.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence

from kfp_vision.components.data_import.classes import label_text
from kfp_vision.components.data_import.readers.tables import Table, names_an_image
from kfp_vision.components.data_import.samples import SPLIT_NAMES

__all__ = [
    "FLAGS",
    "LABEL_COLUMNS",
    "Columns",
    "NoManifestError",
    "column_key",
    "find_columns",
    "find_path",
    "find_split",
    "ranked",
]

# In lower case, without what is neither letter nor digit; the first that leads to files is taken.
_PATHS = (
    *("path", "filepath", "filepaths", "imagepath", "imgpath", "imagefilepath", "paths"),
    *("filename", "filenames", "file", "files", "fname", "imagefile", "imagefilename"),
    *("imagename", "imgname", "image", "images", "img", "imageid", "imgid", "imageindex"),
    *("picture", "photo", "idcode", "id", "name", "uri", "url"),
)
# Of anything: beside class folders their cells must look like images.
_WEAK_PATHS = ("idcode", "id", "name", "uri", "url")
LABEL_COLUMNS = (
    *("label", "class", "category", "target", "classname", "labelname", "categoryname"),
    *("classlabel", "targetname", "groundtruth", "y", "species", "breed", "diagnosis"),
)
_LABELS = ("labels", "classes", "categories", "tags", "targets", "findinglabels")
_SPLIT = ("split", "subset", "dataset", "set", "partition", "phase", "usage", "fold")
# Columns of yes and no that are splits: one-hot columns beside them are classes, these are not.
_SPLIT_FLAG = re.compile(r"is(train|training|val|valid|validation|test|testing)(image)?")
_INDEX = re.compile(r"(unnamed:? ?\d+|index)?", re.IGNORECASE)
# What stands in one column a class.
FLAGS = {"0": False, "0.0": False, "false": False, "1": True, "1.0": True, "true": True}


class NoManifestError(ValueError):
    """A table says nothing of images and their classes.

    Attributes:
        lacks_label: It names images, and only the labels are missing.
    """

    def __init__(self, message: str, lacks_label: bool = False) -> None:
        super().__init__(message)
        self.lacks_label = lacks_label


@dataclasses.dataclass(frozen=True)
class Columns:
    """The columns of a manifest.

    Attributes:
        path: Of paths; empty where `image` holds the images.
        image: Of embedded images; empty where `path` names files.
        labels: One column, or one for each class.
        has_many: Whether the name of the column of labels speaks of several.
        split: Empty for none.
        notes: What was understood, one sentence each.
        split_of: What cells of `split` mean, in lower case -> one of `SPLITS`.
    """

    path: str
    image: str
    labels: tuple[str, ...]
    has_many: bool
    split: str
    notes: list[str]
    split_of: Mapping[str, str] = dataclasses.field(default_factory=lambda: SPLIT_NAMES)

    @property
    def used(self) -> list[str]:
        """The columns to read in every row."""
        return [name for name in (self.path, *self.labels, self.split) if name]


def find_columns(
    table: Table, found_files: Callable[[str], bool], may_guess: Callable[[str], bool]
) -> Columns:
    """Returns what the columns of a table mean.

    Args:
        table: With or without a header.
        found_files: Whether the first cells of a column lead to files.
        may_guess: Whether names of columns may be vague, given the column of paths or "".

    Raises:
        NoManifestError: There is no column of images, or none of labels.
        ValueError: There are several that may be meant.
    """
    plain = [name for name in table.columns if not _INDEX.fullmatch(name)]
    image = _find_image(table)
    path = "" if image else find_path(table, plain, found_files, may_guess)
    if not table.has_header and not image:
        return _columns_without_header(table, path)
    split = find_split(table, [name for name in plain if name != path])
    rest = [name for name in plain if name not in (path, split)]
    labels = _find_labels(table, rest, lambda: bool(image) or may_guess(path))
    for name in (path, *labels, split):
        if table.columns.count(name) > 1:
            raise ValueError(
                f"A column must have a name of its own. Received: {table.name} with two columns "
                f"{name!r} among {table.shown_columns}. Rename or remove one."
            )
    split_of = _split_of_flag(split) or SPLIT_NAMES
    notes = _describe(table.name, image or path, labels, split)
    if split_of is not SPLIT_NAMES:
        meanings = ", ".join(f"{cell} is {split_of[cell]}" for cell in ("true", "false"))
        notes.append(f"{table.name}: in column {split!r} {meanings}.")
    unused = [name for name in (*table.image_columns, *rest) if name not in (image, *labels)]
    if unused:
        notes.append(f"{table.name}: columns not used: {', '.join(unused[:20])}.")
    if not split and (named := ranked(unused, _SPLIT)):
        cells = sorted({label_text(row.get(named[0])) for row in table.head})[:5]
        notes.append(
            f"{table.name}: column {named[0]!r} with {cells} does not name splits. To use it, "
            "write train, val and test."
        )
    has_many = len(labels) == 1 and column_key(labels[0]) in _LABELS
    return Columns(path, image, labels, has_many, split, notes, split_of)


def column_key(name: str) -> str:
    """Returns the letters and digits of a name, in lower case."""
    return re.sub(r"[^0-9a-z]", "", name.lower())


def ranked(columns: Sequence[str], names: Sequence[str]) -> list[str]:
    """Returns the columns that are called by one of the names, in the order of these."""
    found = [column for column in columns if column_key(column) in names]
    return sorted(dict.fromkeys(found), key=lambda column: names.index(column_key(column)))


def _find_image(table: Table) -> str:
    images = table.image_columns
    named = [name for name in images if column_key(name) in ("image", "img", "images")]
    if len(images) > 1 and len(named) != 1:
        raise ValueError(
            "A table must have one column of images. Received: "
            f"{table.name} with {list(images)}. Name the one to use `image`."
        )
    return (*named, *images, "")[0]


def find_path(
    table: Table,
    columns: list[str],
    found_files: Callable[[str], bool],
    may_guess: Callable[[str], bool],
) -> str:
    """Returns the column of paths.

    Args:
        table: With or without a header.
        columns: Those that it may be.
        found_files: As of `find_columns`.
        may_guess: As of `find_columns`.

    Raises:
        NoManifestError: There is none.
    """
    if not table.has_header:
        columns = [name for name in columns if names_an_image(table.head[0].get(name))]
        if columns:
            return columns[0]
    named = ranked(columns, _PATHS)
    if named and column_key(named[0]) == "path":
        return named[0]
    weak = [name for name in columns if name not in named or column_key(name) in _WEAK_PATHS]
    strong = [name for name in named if name not in weak]
    for name in (*strong, *(name for name in weak if _names_images(table, name))):
        if found_files(name):
            return name
    for name in (*(name for name in named if name in weak), *weak):
        if _are_ids(table, name) and may_guess("") and found_files(name):
            return name
    raise NoManifestError(
        "A manifest must have a column `path` of files that exist, or a column of embedded images, "
        f"and a column `label`. Received: {table.name} with the columns {table.shown_columns}"
        + (f"; no file that {named[0]!r} names is there" if named else "")
    )


def _names_images(table: Table, column: str) -> bool:
    """Returns whether most cells of a column have the suffix of an image."""
    named = sum(names_an_image(row.get(column)) for row in table.head)
    return 2 * named > len(table.head)


def _are_ids(table: Table, column: str) -> bool:
    """Returns whether a column may tell images apart: no column of labels, no value twice."""
    texts = [label_text(row.get(column)) for row in table.head]
    return column_key(column) not in (*LABEL_COLUMNS, *_LABELS, *_SPLIT) and len(set(texts)) == len(
        texts
    )


def find_split(table: Table, columns: list[str]) -> str:
    """Returns the column of splits; empty without one."""
    named = ranked(columns, _SPLIT)
    if named and column_key(named[0]) == "split":
        return named[0]
    fitting = [name for name in named if _are_splits(table, name)]
    flags = [name for name in columns if _split_of_flag(name) and _are_flags(table, name)]
    # Of two flags a row may have both.
    return fitting[0] if fitting else flags[0] if len(flags) == 1 else ""


def _split_of_flag(column: str) -> dict[str, str]:
    """Returns what yes and no mean in `is_valid`, `is_test` or `is_train`; nothing for others."""
    flag = _SPLIT_FLAG.fullmatch(column_key(column))
    if not flag:
        return {}
    split = SPLIT_NAMES[flag[1]]
    other = "test" if split == "train" else "train"
    return {cell: split if is_set else other for cell, is_set in FLAGS.items()}


def _are_splits(table: Table, column: str) -> bool:
    found = {label_text(row.get(column)).lower() for row in table.head}
    return bool(found) and found <= SPLIT_NAMES.keys()


def _find_labels(
    table: Table, columns: list[str], may_guess: Callable[[], bool]
) -> tuple[str, ...]:
    keys = {column_key(name): name for name in columns}
    # Where both are there, `labels` is used, which may hold several.
    for exact in ("labels", "label"):
        if exact in keys:
            return (keys[exact],)
    named = ranked(columns, (*LABEL_COLUMNS, *_LABELS)) or [
        name for name in columns if name in table.class_names
    ]
    if len(named) > 1:
        raise ValueError(
            "A manifest must have one column of labels. Received: "
            f"{named} in {table.name}. Rename the one to use to `label`."
        )
    if named:
        return tuple(named)
    guess = may_guess()
    columns = [name for name in columns if not _SPLIT_FLAG.fullmatch(column_key(name))]
    flags = [name for name in columns if _are_flags(table, name)]
    is_clear = (len(columns) == 1 and _repeats(table, columns[0])) or 1 < len(flags) == len(columns)
    if is_clear and guess:
        return tuple(columns)
    reason = "no other column can only be that of the labels"
    if is_clear:
        reason = "beside class folders only columns of these names are taken"
    elif len(flags) > 1:
        others = [name for name in columns if name not in flags]
        reason = (
            f"columns of 0 and 1 are classes where no other is beside them, as {others[:5]} are"
        )
    raise NoManifestError(
        "A manifest must have a column `label` or `labels`, or one column of 0 and 1 for each "
        f"class. Received: {table.name} with the columns {table.shown_columns}; {reason}. Rename "
        "the column of classes to `label`.",
        lacks_label=guess,
    )


def _are_flags(table: Table, column: str) -> bool:
    found = {label_text(row.get(column)).lower() for row in table.head} - {""}
    return bool(found) and found <= FLAGS.keys()


def _repeats(table: Table, column: str) -> bool:
    """Returns whether a column has few different values, as classes do and captions do not."""
    texts = [label_text(row.get(column)) for row in table.head]
    return 2 * len(set(texts)) <= max(len(texts), 4)


def _columns_without_header(table: Table, path: str) -> Columns:
    """Paths first and labels second, or the other way round; splits third, where they are that."""
    others = [name for name in table.columns if name != path]
    if not others:
        message = f"A manifest must have labels. Received: {table.name} with paths only."
        raise NoManifestError(message, lacks_label=True)
    split = next((name for name in others if _are_splits(table, name)), "") if others[1:] else ""
    label = next(name for name in others if name != split)
    text = f"{table.name} has no header: {path} has the paths, {label} the labels"
    notes = [f"{text}, {split} the splits." if split else f"{text}."]
    if unused := [name for name in others if name not in (label, split)]:
        notes.append(f"{table.name}: not used: {', '.join(unused)}.")
    return Columns(path, "", (label,), False, split, notes)


def _describe(table: str, path: str, labels: tuple[str, ...], split: str) -> list[str]:
    if path == "path" and labels in (("label",), ("labels",)) and split in ("split", ""):
        return []
    kind = f"column {labels[0]!r}" if len(labels) == 1 else f"{len(labels)} columns, one a class"
    text = f"{table}: images from column {path!r}, labels from {kind}"
    return [f"{text}, splits from column {split!r}." if split else f"{text}."]
