"""What a label is, the classes that labels make, and label columns that are not classes.

One rule for every reader: only None, "" and NaN are no label. 0 and False are labels.
"""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable

from kfp_vision.components.data_import.samples import Rejection

__all__ = [
    "check_are_classes",
    "class_names",
    "compare_names",
    "detect_task",
    "group_names",
    "label_text",
    "note_no_class",
    "note_no_label_words",
    "reject_label",
    "sort_classes",
]

# Grades of defects, stars and the like come in a dozen values; a measurement in one per image.
_MAX_FRACTIONAL_CLASSES = 20
# As Python, pandas and spreadsheets write it; `Nan` is a word.
_NAN = ("nan", "NaN", "NAN")
# What people and programs write for no label, and what may be a class as well.
_NO_LABEL_WORDS = ("none", "null", "na", "n/a", "#n/a", "<na>", "-", "?")
_INTEGER = re.compile(r"[+-]?\d+(\.0*)?")


def label_text(value: object) -> str:
    """Returns a label as text, which is empty for None, NaN and white space."""
    if value is None or value != value:  # noqa: PLR0124 - only NaN differs from itself.
        return ""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace").strip()
    return str(value).strip()


def class_names(labels: Iterable[str]) -> dict[str, str]:
    """Returns label -> class name, for the labels that name a class.

    The text of NaN names none. Where all labels are integers, 1.0 is 1, and the only negative one
    among three or more marks images without a label, as -1 does in TFDS, Hugging Face and
    torchvision; of two, such as -1 and 1, both are classes.

    Args:
        labels: All labels of the source, from `label_text`: what one means depends on the others.
    """
    names = {label: label for label in labels if label and label not in _NAN}
    if not all(_INTEGER.fullmatch(label) for label in names):
        return names
    # Without a decimal point a label stays as it is written: 007 may be a code.
    names = {label: str(int(float(label))) if "." in label else label for label in names}
    negative = {int(name) for name in names.values() if int(name) < 0}
    if len(negative) == 1 and len({int(name) for name in names.values()}) > 2:
        names = {label: name for label, name in names.items() if int(name) >= 0}
    return names


def reject_label(path: str, label: str) -> Rejection:
    """Returns the rejection of an image whose label is not among `class_names`."""
    if label.startswith("-"):
        message = f"The label is {label}, which marks images without one. Name a class in words."
        return Rejection(path, "negative_label", message)
    reason = f", only {label!r}, which is no class" if label else ""
    return Rejection(path, "no_label", f"The image has no label{reason}.")


def compare_names(names: Iterable[str]) -> list[str]:
    """Returns notes on class names that differ by case only.

    Raises:
        ValueError: Two differ by blanks at an end or their Unicode form only.
    """
    names = set(names)
    for same in group_names(names, lambda name: unicodedata.normalize("NFC", name).strip()):
        raise ValueError(
            "Class names must differ by more than blanks at an end or their Unicode form. "
            f"Received: {_shown(same)}. Rename one."
        )
    return [
        f"Classes that differ by case only are taken as different: {_shown(same)}."
        for same in group_names(names, lambda name: unicodedata.normalize("NFC", name).casefold())
    ]


def group_names(names: Iterable[str], key: Callable[[str], str]) -> list[list[str]]:
    """Returns the names that have a key in common with another one."""
    groups: dict[str, list[str]] = {}
    for name in sorted(names):
        groups.setdefault(key(name), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def _shown(names: list[str]) -> str:
    # Escaped, where two names would look alike.
    return ", ".join(map(ascii, names))


def note_no_label_words(names: Iterable[str]) -> list[str]:
    """Returns a note on classes whose names may say that there is no label."""
    words = sorted(name for name in set(names) if name.lower() in _NO_LABEL_WORDS)
    if not words:
        return []
    stated = f"{_shown(words)} {'is a class' if len(words) == 1 else 'are classes'}"
    return [f"{stated}. Leave the label empty where it is meant that there is none."]


def note_no_class(labels: Iterable[tuple[str, ...]]) -> list[str]:
    """Returns a note on images that are of no class, and not without a label, in a multilabel task.

    Args:
        labels: Of each image.
    """
    counts = Counter(map(len, labels))
    if not counts[0]:
        return []
    alone = "" if max(counts) > 1 else ", which makes the task multilabel"
    return [f"{counts[0]} images are listed as images of no class{alone}."]


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def sort_classes(names: Iterable[str]) -> list[str]:
    """Returns the names in the order that gives labels: by value when all are numbers."""
    found = sorted(set(names))
    numbers = {name: _number(name) for name in found}
    if all(number is not None for number in numbers.values()):
        return sorted(found, key=lambda name: (numbers[name] or 0.0, name))
    return found


def check_are_classes(names: Collection[str]) -> None:
    """Refuses labels that are measurements.

    Raises:
        ValueError: The labels are many different numbers with decimals.
    """
    numbers = [_number(name) for name in names]
    fractional = any(number is not None and not number.is_integer() for number in numbers)
    if fractional and None not in numbers and len(numbers) > _MAX_FRACTIONAL_CLASSES:
        raise ValueError(
            "Labels must be classes. Received: a column of "
            f"{len(numbers)} different numbers with decimals, {sorted(names)[:3]} ... "
            "Name the column of classes `label`, or bin the numbers first."
        )


def detect_task(label_sets: Collection[tuple[str, ...]], task: str) -> str:
    """Returns the task that the labels make, checked against the one that was asked for.

    Args:
        label_sets: The distinct label tuples of the labelled images.
        task: A key of `shared.tasks.TASKS`, or `auto`.

    Raises:
        ValueError: The labels do not fit `task`.
    """
    num_classes = len({name for names in label_sets for name in names})
    if any(len(names) != 1 for names in label_sets):
        detected = "multilabel"
    else:
        detected = "binary" if num_classes == 2 else "multiclass"
    if task not in ("auto", detected, "multilabel"):
        raise ValueError(
            f"`task` must fit the labels. Received: task={task!r}, but the {num_classes} classes "
            f"and at most {max(map(len, label_sets))} labels an image make it {detected!r}. "
            "Leave `task` at auto or correct the labels."
        )
    return detected if task == "auto" else task
