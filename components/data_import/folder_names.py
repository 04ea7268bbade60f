"""Class folders with names that look the same, or that are not UTF-8."""

import unicodedata
from collections.abc import Mapping

from kfp_vision.components.data_import.classes import compare_names, group_names
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
    notes = compare_names(names)
    for same in group_names(names, lambda name: unicodedata.normalize("NFC", name).casefold()):
        splits = [split for split, name in classes.values() if name in same]
        if len(set(splits)) == len(splits) > 1:
            raise ValueError(
                "A class must have the same name in all splits. Received: "
                f"{', '.join(map(ascii, same))}, each in splits of its own. Rename the folders."
            )
    return notes
