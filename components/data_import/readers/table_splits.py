"""Which tables of a source are used together, and the split of each."""

from collections.abc import Sequence

from kfp_vision.components.data_import.readers.find_tables import (
    missing_shards,
    table_stem,
)
from kfp_vision.components.data_import.readers.table_paths import Resolved, Row
from kfp_vision.components.data_import.split_names import name_splits, split_of

__all__ = ["choose_tables", "split_of_table", "splits_of_folders"]


def choose_tables(names: Sequence[str]) -> tuple[dict[str, str | None], list[str]]:
    """Returns name of a table to use -> its split, and notes.

    One table may be called anything; several must be called after different splits. Shards of a
    table are one.

    Raises:
        ValueError: Several tables are not called after different splits, or a shard is missing.
    """
    missing = missing_shards(names)
    if missing:
        raise ValueError(f"All shards of a table must be there. Received: {names}, not {missing}.")
    groups: dict[tuple[str, ...], list[str]] = {}
    for name in names:
        folder, _, file_name = name.rpartition("/")
        suffix = file_name.rpartition(".")[2].lower()
        groups.setdefault((folder, table_stem(file_name), suffix), []).append(name)
    splits = {key: split_of_table(members[0]) for key, members in groups.items()}
    if len(groups) == 1:
        return {name: split for key, split in splits.items() for name in groups[key]}, []
    named = [split for split in splits.values() if split]
    if "train" not in named or len(set(named)) < len(named):
        raise ValueError(
            "Several manifests must be called after different splits (train, val, test). "
            f"Received: {names}. Give the URI of the one to use."
        )
    unused = [name for key, split in splits.items() if not split for name in groups[key]]
    notes = [f"{name} is not used: it is not called after a split." for name in unused]
    return {name: splits[key] for key in groups if splits[key] for name in groups[key]}, notes


def split_of_table(name: str) -> str | None:
    """Returns the split of train.csv, train_labels.csv and train/metadata.csv."""
    folder, _, file_name = name.rpartition("/")
    top = folder.rpartition("/")[2]
    return split_of(table_stem(file_name)) or name_splits([top]).get(top)


def splits_of_folders(
    table: str, rows: Sequence[Row], resolved: Resolved
) -> tuple[list[str | None] | None, list[str]]:
    """Returns the split of each row from its top folder, None where these are no splits; and notes.

    The rows that lead to a file decide; the others, which are left out, may have no split.

    Args:
        table: Its name, for notes.
        rows: As they are written; where one states its split, folders do not count.
        resolved: Where their paths lead.
    """
    if any(row.split for row in rows):
        return None, []
    tops = [path.partition("/")[0] if "/" in path else "" for path in resolved.paths]
    named = name_splits(set(tops))
    splits = [named.get(top) for top in tops]
    found = [split for split, is_found in zip(splits, resolved.is_found, strict=True) if is_found]
    if "train" not in found or len({*splits} - {None}) < 2:
        return None, []
    if None not in found:
        return splits, [f"{table}: splits from the folders of the paths."]
    other = next(
        path
        for path, split, is_found in zip(resolved.paths, splits, resolved.is_found, strict=True)
        if is_found and not split
    )
    names = ", ".join(sorted(named))
    note = (
        f"{table}: the folders of the paths, {names}, are not taken as splits: "
        f"{found.count(None)} of {len(found)} images are in none of them, {other!r} for instance."
    )
    return None, [note]
