"""Class folders with names that look the same, or that are not UTF-8."""

import unicodedata
from collections.abc import Callable, Iterable, Mapping

from kfp_vision.components.data_import.paths import reject_name

__all__ = ["compare_class_names"]


def compare_class_names(classes: Mapping[str, tuple[str | None, str]]) -> list[str]:
    """Returns a note on class names that differ by case only.

    Args:
        classes: Class folder -> split and class.

    Raises:
        ValueError: A name is not UTF-8, or two differ by blanks at an end or their Unicode form
            only, or by case and are in different splits: `train/Cat` and `test/cat`.
    """
    for path, (_, name) in classes.items():
        if rejection := reject_name(name):
            raise ValueError(
                "Names of class folders must be UTF-8. Received: "
                f"{rejection.path!r} below {path.rpartition('/')[0]!r}. Rename it; `convmv` does "
                "for many."
            )
    names = {name for _, name in classes.values()}
    for same in _groups(names, lambda name: unicodedata.normalize("NFC", name).strip()):
        raise ValueError(
            "Class names must differ by more than blanks at an end or their Unicode form. "
            f"Received: {_shown(same)}. Rename the folders."
        )
    notes = []
    for same in _groups(names, lambda name: unicodedata.normalize("NFC", name).casefold()):
        splits = [split for split, name in classes.values() if name in same]
        if len(set(splits)) == len(splits) > 1:
            raise ValueError(
                "A class must have the same name in all splits. Received: "
                f"{_shown(same)}, each in splits of its own. Rename the folders."
            )
        notes.append(f"Classes that differ by case only are taken as different: {_shown(same)}.")
    return notes


def _groups(names: Iterable[str], key: Callable[[str], str]) -> list[list[str]]:
    """Returns the names that have a key in common with another one."""
    groups: dict[str, list[str]] = {}
    for name in sorted(names):
        groups.setdefault(key(name), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def _shown(names: list[str]) -> str:
    # Escaped, where two names would look alike.
    return ", ".join(map(ascii, names))
