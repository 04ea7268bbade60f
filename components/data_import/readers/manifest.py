"""Tables of images and labels: CSV and its kin, JSON, Parquet; with paths or with the images.

One table, or one for each split (`train.csv`, `val.csv`, `test.csv`), each whole or in shards.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence

from kfp_vision.components.data_import.classes import (
    check_are_classes,
    class_names,
    compare_names,
    note_no_class,
    note_no_label_words,
    reject_label,
)
from kfp_vision.components.data_import.paths import reject_path
from kfp_vision.components.data_import.readers.file_index import FileIndex
from kfp_vision.components.data_import.readers.find_tables import (
    MANIFEST_SUFFIXES,
    Found,
    Manifest,
    find_tables,
    open_manifest,
)
from kfp_vision.components.data_import.readers.table_paths import Row, resolve_paths
from kfp_vision.components.data_import.readers.table_rows import NO_LABEL, holds_lists, read_rows
from kfp_vision.components.data_import.readers.table_splits import (
    choose_tables,
    split_of_table,
    splits_of_folders,
)
from kfp_vision.components.data_import.readers.unlisted import check_unlisted
from kfp_vision.components.data_import.samples import Listing, Rejection, Sample, require_classes
from kfp_vision.components.shared.datasets.image_files import escape_name
from kfp_vision.components.shared.runtime.storage import Folder

__all__ = ["read_manifest", "read_tables"]


@dataclasses.dataclass
class _Part:
    """One table.

    Attributes:
        manifest: The table and its columns.
        rows: As they are written.
        splits: Of each row.
        paths: Of each row, in the data root; empty for an embedded image.
        labels: Of each row, None for a row without a label.
    """

    manifest: Manifest
    rows: list[Row]
    splits: list[str | None]
    paths: list[str] = dataclasses.field(default_factory=list)
    labels: list[tuple[str, ...] | None] = dataclasses.field(default_factory=list)

    def name_labels(self, names: Mapping[str, str], has_several: bool) -> None:
        """Fills `labels`: where images have several labels, an empty cell of them is of no class.

        Where labels are lists, the empty list says so, and None is no label.

        Args:
            names: Label as it is written -> class.
            has_several: Whether an image of the source has several labels.
        """
        named: dict[tuple[str, ...], tuple[str, ...] | None] = {}
        for labels in {row.labels for row in self.rows}:
            is_known = all(label in names for label in labels)
            named[labels] = tuple(sorted({names[x] for x in labels})) if is_known else None
        if has_several and self.manifest.columns.has_many and not holds_lists(self.manifest):
            named[NO_LABEL] = ()
        self.labels = [
            () if split == "unlabeled" else named[row.labels]
            for row, split in zip(self.rows, self.splits, strict=True)
        ]

    def find_files(self, index: FileIndex) -> list[str]:
        """Fills `paths`, and `splits` where the folders are splits; returns notes."""
        column, table = self.manifest.columns.path, self.manifest.table
        if not column:
            self.paths = [""] * len(self.rows)
            return []
        resolved = resolve_paths(table.name, self.rows, index)
        if not resolved.found:
            first = self.rows[0]
            some = escape_name(", ".join(index.images[:3]))
            there = (
                f"The folder has {len(index.images)} images, for instance {some}{resolved.hint}."
            )
            nothing = "There is no image below it: put the table into the folder of the images."
            cause = reject_path(index.folder, index.tidy(first.path))
            raise ValueError(
                f"Paths in a manifest must lead to files below its folder. Received: {table.name} "
                f"with the columns {table.shown_columns}: none of the {len(self.rows)} paths in "
                f"{column!r} exists, for instance row {first.number}, {first.path!r}. "
                f"{cause.message + ' ' if cause else ''}{there if some else nothing}"
            )
        self.paths = resolved.paths
        splits, notes = splits_of_folders(table.name, self.rows, resolved)
        self.splits = splits or self.splits
        return [*resolved.notes, *notes]

    def samples(self, folder: Folder) -> Iterator[Sample | Rejection]:
        """Yields the rows, in their order."""
        table, image_column = self.manifest.table, self.manifest.columns.image
        images = table.images(image_column) if image_column and table.images else None
        for row, path, labels, split in zip(
            self.rows, self.paths, self.labels, self.splits, strict=True
        ):
            content: Folder | bytes = folder
            if images is not None:
                embedded, linked = next(images)
                is_link = embedded is None and bool(linked)
                path = str(linked) if is_link else f"{table.name}/{row.number}"
                content = folder if is_link else embedded or b""
            if not path:
                yield Rejection(f"{table.name} row {row.number}", "no_path", "The row has no path.")
            elif labels is None:
                yield reject_label(path, row.labels[0])
            else:
                yield Sample(path, labels, split, content)


def read_manifest(folder: Folder, name: str = "") -> Listing:
    """Lists the images that one manifest, or one for each split, names.

    Args:
        folder: The data root.
        name: Of the table to use; empty to find it.

    Raises:
        ValueError: There is no manifest, or one of the reasons of `read_tables`.
    """
    index = FileIndex(folder)
    if not name:
        return read_tables(folder, find_tables(folder, index), index)
    # A user who names one table may call it anything: all of it is for training.
    split = split_of_table(name)
    notes = [
        f"{other} beside {name} is not used: give the URI of the folder to use both."
        for other in folder.list_entries()[1]
        if other.lower().endswith(MANIFEST_SUFFIXES) and split_of_table(other) not in (None, split)
    ]
    manifest = open_manifest(folder, name, index, is_named=True)
    tables = [(manifest, "train" if split == "train" else None)]
    return _list_images(folder, tables, index, notes if split else [], is_chosen=True)


def read_tables(folder: Folder, found: Found, index: FileIndex) -> Listing:
    """Lists the images of the tables that were found in a folder.

    A path that is listed with two different labels is left out: nobody here knows which is right.

    Raises:
        ValueError: Several tables are not called after different splits; the labels are not
            classes; paths lead nowhere, or most images are in no table.
    """
    if not found.manifests:
        reasons = " ".join([*found.lacking, *found.notes]) or "no table"
        raise ValueError(f"There must be a manifest in {folder.uri!r}. Received: {reasons}")
    splits, notes = choose_tables([manifest.table.name for manifest in found.manifests])
    used = [(m, splits[m.table.name]) for m in found.manifests if m.table.name in splits]
    return _list_images(folder, used, index, [*found.notes, *notes], is_chosen=False)


def _list_images(
    folder: Folder,
    tables: Sequence[tuple[Manifest, str | None]],
    index: FileIndex,
    notes: list[str],
    *,
    is_chosen: bool,
) -> Listing:
    parts = []
    for manifest, split in tables:
        rows, table_notes = read_rows(manifest, split)
        notes = [*notes, *table_notes]
        parts.append(_Part(manifest, rows, [row.split for row in rows]))
    label_sets = {row.labels for part in parts for row in part.rows}
    names = class_names({label for labels in label_sets for label in labels})
    columns = [(manifest.columns.labels, manifest.table.name) for manifest, _ in tables]
    hint = f"The labels were read from {columns[0][0][:5]} of {columns[0][1]}."
    require_classes(names.values(), folder.uri, hint)
    check_are_classes(set(names.values()))
    notes = [*notes, *compare_names(names.values()), *note_no_label_words(names.values())]
    has_several = any(len(labels) > 1 for labels in label_sets)
    for part in parts:
        part.name_labels(names, has_several)
        notes += part.find_files(index)
    named = {index.listed(path) for part in parts for path in part.paths if path}
    named |= index.apart
    # An image of a table may be a file beside it.
    named |= {
        index.listed(path)
        for part in parts
        if part.manifest.columns.image and part.manifest.table.image_paths
        for path in part.manifest.table.image_paths(part.manifest.columns.image)
    }
    embedded = sum(len(part.rows) for part in parts if part.manifest.columns.image)
    tables_read = [part.manifest.table.name for part in parts]
    notes += check_unlisted(index.images, named, embedded, tables_read, is_chosen=is_chosen)
    pairs = [pair for part in parts for pair in zip(part.labels, part.splits, strict=True)]
    notes += note_no_class(
        names for names, split in pairs if names is not None and split != "unlabeled"
    )
    conflicts = _conflicts(parts)

    def samples() -> Iterator[Sample | Rejection]:
        seen = set()
        for row in itertools.chain.from_iterable(part.samples(folder) for part in parts):
            if isinstance(row, Rejection) or row.content is not folder:
                yield row
            elif row.path in conflicts:
                message = f"The path is listed with different labels, one of them {row.labels}."
                yield Rejection(row.path, "conflicting_labels", message)
            elif (row.path, row.split) in seen:
                yield Rejection(row.path, "duplicate_row", "The path is listed before.")
            else:
                seen.add((row.path, row.split))
                yield reject_path(folder, row.path) or row

    return Listing(
        samples(),
        sum(len(part.rows) for part in parts),
        [*map(escape_name, notes)],
        frozenset(names.values()),
        frozenset(split for part in parts for split in part.splits if split),
        frozenset(names for names, split in pairs if names is not None and split != "unlabeled"),
    )


def _conflicts(parts: Sequence[_Part]) -> set[str]:
    """Returns the paths that are listed with different labels."""
    labels_of: dict[str, tuple[str, ...]] = {}
    return {
        path
        for part in parts
        for path, labels in zip(part.paths, part.labels, strict=True)
        if path and labels is not None and labels_of.setdefault(path, labels) != labels
    }
