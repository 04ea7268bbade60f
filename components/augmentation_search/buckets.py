"""From the table of signals to groups of transforms that are tried together.

A group has levels; a level is a set of operations of equal distance. What destroys the labels is in
no level. What is no further from the clean images than they are from themselves stays: measured,
the mirror image of natural images is such a transform, and the best of all.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from kfp_vision.components.augmentation_search.distance import Signals, equal_levels
from kfp_vision.components.shared.augmentation.policy import Operation
from kfp_vision.components.shared.augmentation.transforms import TRANSFORMS

__all__ = ["NUM_LEVELS", "Group", "Kept", "keep_levels", "make_groups"]

NUM_LEVELS = 6
_LEAST_AFFINITY = 0.8
# Levels of a group that are tried: weak and strong.
_TRIED_LEVELS = (2, 5)
_FAMILIES = {
    "geometry": (
        "rotate",
        "shear_x",
        "shear_y",
        "translate_x",
        "translate_y",
        "zoom_in",
        "zoom_out",
    ),
    "colour": (
        "brightness",
        "contrast",
        "colour",
        "hue",
        "posterize",
        "solarize",
        "auto_contrast",
        "equalize",
    ),
    "detail": ("sharpness", "blur", "erase"),
}


@dataclasses.dataclass(frozen=True)
class Kept:
    """What is left of one transform.

    Attributes:
        transform: Its name.
        levels: Magnitude at each of the levels of equal distance; None where it is refused.
        reason: Why all levels are refused; empty when some are kept.
    """

    transform: str
    levels: list[float | None]
    reason: str


@dataclasses.dataclass(frozen=True)
class Group:
    """Transforms that are decided together; `levels` from weak to strong."""

    name: str
    levels: list[list[Operation]]

    def to_json(self) -> dict[str, Any]:
        """Returns plain JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Group":
        """Returns what `to_json` wrote."""
        levels = [[Operation(**operation) for operation in level] for level in values["levels"]]
        return cls(values["name"], levels)


def keep_levels(table: Sequence[Signals]) -> list[Kept]:
    """Returns for each transform the magnitudes of equal distance that keep the labels.

    Levels are equally spaced in the root of the distance, up to the strongest that any transform
    reaches with its labels kept.

    Args:
        table: Every transform at rising magnitudes.
    """
    rows: dict[str, list[Signals]] = {}
    for signals in table:
        rows.setdefault(signals.transform, []).append(signals)
    graded = [row for row in table if not TRANSFORMS[row.transform].chance]
    strongest = max(
        (row.distance for row in graded if row.affinity >= _LEAST_AFFINITY), default=0.0
    )
    targets = strongest * (np.arange(1, NUM_LEVELS + 1) / NUM_LEVELS) ** 2
    kept = []
    for name, held in rows.items():
        broken = [row.magnitude for row in held if row.affinity < _LEAST_AFFINITY]
        limit = min(broken, default=np.inf)
        if TRANSFORMS[name].chance:
            # On or off: half of the images have it, at every level alike.
            levels: list[float | None] = [None if broken else 0.5] * NUM_LEVELS
        else:
            magnitudes = np.array([row.magnitude for row in held])
            distances = np.array([row.distance for row in held])
            levels = [
                magnitude if magnitude < limit else None
                for magnitude in equal_levels(magnitudes, distances, targets)
            ]
        refused = all(level is None for level in levels)
        kept.append(Kept(name, levels, "the labels do not survive it" if refused else ""))
    return kept


def make_groups(kept: Sequence[Kept]) -> list[Group]:
    """Returns the groups that have an operation: each on-or-off transform, then the families."""
    left = {each.transform: each.levels for each in kept if not each.reason}
    groups = [
        Group(name, [[Operation(name, 0.5, 0.5)]]) for name in left if TRANSFORMS[name].chance
    ]
    for family, names in _FAMILIES.items():
        levels: list[list[Operation]] = []
        for level in _TRIED_LEVELS:
            operations = [
                Operation(name, 0.0, magnitude)
                for name in names
                if name in left and (magnitude := _at_most(left[name], level)) is not None
            ]
            if operations and (not levels or operations != levels[-1]):
                levels.append(operations)
        if levels:
            groups.append(Group(family, levels))
    return groups


def _at_most(levels: Sequence[float | None], level: int) -> float | None:
    """Returns the magnitude of the strongest kept level up to `level`."""
    known = [magnitude for magnitude in levels[: level + 1] if magnitude is not None]
    return known[-1] if known else None
