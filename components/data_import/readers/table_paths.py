"""From the paths that a table writes to the files that are there.

A path is taken as it is written, or with `/`, without the root, in another case. Where most paths
lead nowhere in that way, one spelling for all of the table is looked for: below a folder, without
leading folders, with a suffix. It must be the only one, and it is told. Names of files that are
spread over folders are found where each name is there once.
"""

import collections
import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath

from kfp_vision.components.data_import.readers.file_index import FileIndex, bare_key, path_key
from kfp_vision.components.data_import.samples import SPLIT_NAMES
from kfp_vision.components.data_import.split_names import split_of

__all__ = ["Resolved", "Row", "resolve_paths"]

# Rows from which spellings are derived.
_LOOKED_AT = 100
# Images of the same name that are looked at for a row, and spellings that are tried.
_CANDIDATES = 20


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """What a table says of one image.

    Attributes:
        number: Counted from 1.
        path: As it is written; empty for an embedded image.
        labels: As they are written.
        split: One of `SPLITS`, or None.
    """

    number: int
    path: str
    labels: tuple[str, ...]
    split: str | None


@dataclasses.dataclass(frozen=True)
class Resolved:
    """Where the paths of a table lead.

    Attributes:
        paths: Of each row; as it is written where it leads nowhere.
        is_found: Whether the path of each row leads to a file.
        notes: What had to be read in another way than written.
        hint: The best spelling that leads too few to files, for messages.
    """

    paths: list[str]
    is_found: list[bool]
    notes: list[str]
    hint: str

    @property
    def found(self) -> int:
        """Number of paths that lead to a file."""
        return sum(self.is_found)


@dataclasses.dataclass(frozen=True)
class _Spelling:
    """How a path is to be read: without its first `drop` folders, below `below`, with a suffix.

    `below` may hold `{label}` and `{split}`, which stand for those of the row.
    """

    drop: int
    below: str
    suffix: str  # "": as written; "added" or "exchanged".

    def describe(self, found: Iterable[str]) -> str:
        """Returns it in words, for the files that it leads to."""
        parts = [f"without the first {self.drop} folders"] if self.drop else []
        parts += [f"below {self.below}/"] if self.below else []
        if self.suffix:
            parts.append("with " + " or ".join(sorted({PurePosixPath(p).suffix for p in found})))
        return " ".join(parts)

    def find(self, path: str, row: Row, index: FileIndex) -> str | None:
        *folders, name = path.split("/")
        if len(folders) < self.drop:
            return None
        rest = "/".join([*folders[self.drop :], name])
        label = row.labels[0] if len(row.labels) == 1 else ""
        words = [word for word, split in SPLIT_NAMES.items() if split == row.split] or [""]
        for word in words if "{split}" in self.below else words[:1]:
            below = self.below.replace("{label}", label).replace("{split}", word)
            target = f"{below}/{rest}" if below else rest
            if self.suffix == "exchanged":
                target = re.sub(r"\.[^./]*$", "", target)
            found = index.find_without_suffix(target) if self.suffix else index.find(target)
            if found:
                return found
        return None


def resolve_paths(table: str, rows: Sequence[Row], index: FileIndex) -> Resolved:
    """Returns where the paths of a table lead.

    Args:
        table: The path of the table, to which its paths may be relative.
        rows: In their order.
        index: Of the data root.

    Raises:
        ValueError: Several spellings lead most paths to different files.
    """
    base = table.rpartition("/")[0]
    plain = [index.tidy(row.path) for row in rows]
    paths = [
        (index.find(f"{base}/{path}") if base else None)
        or index.find(path)
        or index.find_behind_links(path)
        for path in plain
    ]
    notes = _tidy_notes(table, rows, paths, base)
    missing = [number for number, path in enumerate(paths) if path is None]
    hint = ""
    if 2 * len(missing) > len(rows):
        by_name = _find_names(plain, missing, index)
        spelling, found = _best_spelling(table, rows, plain, missing, index, len(by_name))
        if spelling:
            words = f"exist {spelling.describe(found.values())}"
        elif by_name:
            found = by_name
            folders = {path.rpartition("/")[0] for path in found.values()}
            words = f"are names of files that are there once, in {len(folders)} folders"
        if found:
            hint = f"; {len(found)} of {len(rows)} paths {words}"
        if 2 * len(found) > len(missing):
            for number, path in found.items():
                paths[number] = path
            number = min(found)
            notes.append(
                f"{len(found)} of {len(rows)} paths in {table} {words}: "
                f"{rows[number].path!r} is {found[number]}."
            )
    is_found = [path is not None for path in paths]
    written = [path or row.path for path, row in zip(paths, rows, strict=True)]
    return Resolved(written, is_found, notes, hint)


def _tidy_notes(
    table: str, rows: Sequence[Row], paths: Sequence[str | None], base: str
) -> list[str]:
    changed = [
        (row.path, path)
        for row, path in zip(rows, paths, strict=True)
        if path is not None
        and path not in (row.path, row.path.removeprefix("./"), f"{base}/{row.path}")
    ]
    if not changed:
        return []
    written, path = changed[0]
    return [f"{len(changed)} of {len(rows)} paths in {table} are read like {written!r} as {path}."]


def _find_names(plain: Sequence[str], missing: Sequence[int], index: FileIndex) -> dict[int, str]:
    """Returns the images of the names without a folder that only one image has.

    The name may lack the suffix, as ids do.
    """
    found = {}
    for number in missing:
        name = path_key(plain[number])
        images = {
            path for key in (name, bare_key(name)) for path in index.by_file_name.get(key, [])
        }
        same = [path for path in images if name in _keys_of_name(path)] if "/" not in name else []
        if len(same) == 1:
            found[number] = same[0]
    return found


def _keys_of_name(path: str) -> tuple[str, str]:
    name = path.rpartition("/")[2]
    return path_key(name), bare_key(name)


def _best_spelling(
    table: str,
    rows: Sequence[Row],
    plain: Sequence[str],
    missing: Sequence[int],
    index: FileIndex,
    least: int,
) -> tuple[_Spelling | None, dict[int, str]]:
    """Returns the spelling that leads most of the missing paths to files, at least `least`."""
    tried = []
    for spelling in _spellings(rows, plain, missing, index):
        found = {
            number: path
            for number in missing
            if (path := spelling.find(plain[number], rows[number], index))
        }
        if found and len(found) >= least and _is_one_to_one(found, plain):
            rank = (len(found), spelling.suffix != "exchanged", spelling.below.count("{"))
            tried.append((rank, spelling, found))
    if not tried:
        return None, {}
    best = max(rank for rank, _, _ in tried)
    equal = [(spelling, found) for rank, spelling, found in tried if rank == best]
    if any(found != equal[0][1] for _, found in equal):
        ways = "; ".join(
            f"{len(found)} of {len(rows)} exist {spelling.describe(found.values())}"
            for spelling, found in equal[:5]
        )
        number = missing[0]
        raise ValueError(
            f"Paths in a manifest must lead to one file each. Received: {table} row "
            f"{rows[number].number}, {rows[number].path!r}: {ways}. "
            "Write the folder into the column of paths."
        )
    # Of all that lead to these files, the one that is the easiest to understand.
    same = [spelling for _, spelling, found in tried if found == equal[0][1]]
    return min(same, key=lambda spelling: spelling.below.count("{")), equal[0][1]


def _is_one_to_one(found: Mapping[int, str], plain: Sequence[str]) -> bool:
    """Returns whether no two different paths become one file."""
    origin: dict[str, str] = {}
    return all(origin.setdefault(path, plain[n]) == plain[n] for n, path in found.items())


def _spellings(
    rows: Sequence[Row], plain: Sequence[str], missing: Sequence[int], index: FileIndex
) -> Iterable[_Spelling]:
    """Returns the spellings that lead some rows to files, the most frequent first."""
    counts: collections.Counter[_Spelling] = collections.Counter()
    step = max(1, len(missing) // _LOOKED_AT)
    for number in missing[::step]:
        *folders, name = plain[number].split("/")
        names = dict.fromkeys((bare_key(name), path_key(name)))
        images = [path for key in names for path in index.by_file_name.get(key, [])]
        for image in images[:_CANDIDATES]:
            counts.update(_derive(folders, name, image, rows[number]))
    return [spelling for spelling, _ in counts.most_common(_CANDIDATES)]


def _derive(folders: list[str], name: str, image: str, row: Row) -> Iterable[_Spelling]:
    *image_folders, image_name = image.split("/")
    suffix = ""
    if path_key(name) != path_key(image_name):
        suffix = "added" if path_key(name) == bare_key(image_name) else "exchanged"
    common = 0
    while common < min(len(folders), len(image_folders)) and path_key(
        folders[-1 - common]
    ) == path_key(image_folders[-1 - common]):
        common += 1
    below = image_folders[: len(image_folders) - common]
    named = [_named_after_row(folder, row) for folder in below]
    drop = len(folders) - common
    return {_Spelling(drop, "/".join(parts), suffix) for parts in (below, named)}


def _named_after_row(folder: str, row: Row) -> str:
    if len(row.labels) == 1 and path_key(folder) == path_key(row.labels[0]):
        return "{label}"
    if row.split is None or split_of(folder) != row.split:
        return folder
    words = [word for word in re.split(r"([^a-z0-9]+)", folder.lower()) if word]
    return "".join("{split}" if SPLIT_NAMES.get(w) == row.split else w for w in words)
