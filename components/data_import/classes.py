"""Class names, the task they make, and label columns that are not classes."""

import math
from collections.abc import Collection, Iterable

__all__ = ["check_are_classes", "detect_task", "sort_classes"]

# Grades of defects, stars and the like come in a dozen values; a measurement in one per image.
_MAX_FRACTIONAL_CLASSES = 20


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
