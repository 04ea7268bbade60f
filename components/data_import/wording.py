"""Names and numbers as they stand in sentences."""

import collections
from collections.abc import Collection, Iterable

from kfp_vision.components.data_import.samples import Source

__all__ = ["count_codes", "name_some", "of_source"]

_NAMED = 5


def count_codes(codes: Iterable[str]) -> str:
    """Returns how often each code is there, most frequent first: `mask size (2), empty (1)`."""
    counts = collections.Counter(codes).most_common()
    return ", ".join(f"{code.replace('_', ' ')} ({count:,})" for code, count in counts)


def name_some(names: Collection[str]) -> str:
    """Returns the number of names and the first of them: `7 (ant, bee, cat, dog, emu, ...)`."""
    more = ["..."] if len(names) > _NAMED else []
    return f"{len(names)} ({', '.join([*sorted(names)[:_NAMED], *more])})"


def of_source(source: Source) -> str:
    """Returns what stands behind a path: ` of `unlabeled_uri``; nothing for one of the dataset."""
    return "" if source == "dataset_uri" else f" of `{source}`"
